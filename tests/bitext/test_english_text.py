"""English text without translations: what is read, and what is refused."""

from __future__ import annotations

import gzip

import pytest

from kivuko.bitext.english_text import read_english
from kivuko.errors import DataError

LICENSE = "  1 This software and database is being provided to you, the LICENSEE\n"
CAT = (
    '02121620 05 n 01 cat 0 001 @ 02120997 n 0000 | a small animal with soft fur; "the cat sat on a warm mat"; "cats"\n'
)
RUN = "01926311 38 v 01 run 0 000 | move fast by using one's feet, with one foot off the ground  \n"


def test_a_file_gives_its_distinct_sentences_in_order_compressed_or_not(tmp_path):
    text = "The cat sleeps.\n\n  It is\u200b raining.\nThe cat sleeps.\n"
    (tmp_path / "plain.txt").write_text(text, encoding="utf-8")
    (tmp_path / "packed.txt.gz").write_bytes(gzip.compress(text.encode()))
    for name in ("plain.txt", "packed.txt.gz"):
        assert read_english(tmp_path / name) == ["The cat sleeps.", "It is raining."]


def test_a_wordnet_folder_gives_definitions_and_examples_that_are_sentences(tmp_path):
    (tmp_path / "data.noun").write_text(LICENSE + CAT)
    (tmp_path / "data.verb").write_text(LICENSE + RUN)
    (tmp_path / "index.noun").write_text("cat n 1 1 @ 1 1 02121620\n")
    assert read_english(tmp_path) == [
        "a small animal with soft fur", "the cat sat on a warm mat",
        "move fast by using one's feet, with one foot off the ground",
    ]  # fmt: skip


def test_what_cannot_be_read_is_one_line(tmp_path):
    (tmp_path / "empty.txt").write_text(" \n\n")
    (tmp_path / "folder").mkdir()
    for name, message in (
        ("missing.txt", "no such file; give a file with one English sentence per line, or a WordNet folder"),
        ("empty.txt", "no sentence in it; give one English sentence per line"),
        ("folder", "not a WordNet folder (data.noun, data.verb, data.adj, data.adv); give a file of English sentences"),
    ):
        with pytest.raises(DataError) as raised:
            read_english(tmp_path / name)
        assert str(raised.value) == f"{tmp_path / name}: {message}"
