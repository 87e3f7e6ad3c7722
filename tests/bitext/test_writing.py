"""Pairs written to files: compressed by name, read again as they were, and never half there."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from kivuko.bitext import read_bitext
from kivuko.bitext.writing import RejectedWriter, pair_writer, text_stream
from kivuko.errors import KivukoError, MissingDependencyError

TEXTS, ENGLISH = ["paka mweusi", "text", "sw"], ["black cat", "english", "en"]


@pytest.mark.parametrize("suffix", ["", ".gz", ".bz2", ".xz"])
def test_what_is_written_is_read_again(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"new/sw.tsv{suffix}"
    with pair_writer(path, "sw") as writer:
        writer.write(TEXTS[:1], ENGLISH[:1])
        writer.write(TEXTS[1:], ENGLISH[1:])
    assert writer.written == 3
    bitext = read_bitext(path, "sw")
    assert [(pair.text, pair.english) for pair in bitext] == list(zip(TEXTS, ENGLISH, strict=True))
    first = path.read_bytes()
    with pair_writer(path, "sw") as writer:
        writer.write(TEXTS, ENGLISH)
    assert path.read_bytes() == first, "neither dates nor names are in it"


def test_zstandard(tmp_path: Path) -> None:
    zstandard = pytest.importorskip("zstandard")
    path = tmp_path / "sw.tsv.zst"
    with pair_writer(path, "sw") as writer:
        writer.write(TEXTS, ENGLISH)
    with path.open("rb") as stream:
        content = zstandard.ZstdDecompressor().stream_reader(stream).read().decode()
    assert content == "sw\ten\npaka mweusi\tblack cat\ntext\tenglish\nsw\ten\n"


def test_without_zstandard_the_message_names_what_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with (
        pytest.raises(MissingDependencyError, match=r"pip install 'kivuko\[data\]'"),
        pair_writer(tmp_path / "sw.tsv.zst", "sw"),
    ):
        raise AssertionError("must not be reached")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_failure_leaves_what_was_there(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"sw.tsv{suffix}"
    path.write_bytes(b"before")

    def fail() -> None:
        with pair_writer(path, "sw") as writer:
            writer.write(TEXTS, ENGLISH)
            raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        fail()
    assert path.read_bytes() == b"before"
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_a_folder_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(KivukoError, match="there is a folder"), text_stream(tmp_path):
        raise AssertionError("must not be reached")


def test_rejected_pairs_keep_to_their_columns(tmp_path: Path) -> None:
    path = tmp_path / "rejected.tsv"
    with text_stream(path) as stream:
        writer = RejectedWriter(stream)
        writer.write("too long", "f.tsv:3", "a\tb\nc", "\ud800")
        writer.write("blank line", "f.tsv:4", None, None)
    assert path.read_text("utf-8").split("\n") == [
        "reason\tplace\ttext\tenglish", "too long\tf.tsv:3\ta b c\t\\ud800", "blank line\tf.tsv:4\t\t", "",
    ]  # fmt: skip
