"""Sets of sentences as published: languages, splits, misaligned sentences, and every kind of file that is not one."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from kivuko.bitext.misaligned import aligned_english
from kivuko.bitext.prepare import check_bitext, clean_bitext
from kivuko.bitext.reading import open_source, read_bitext
from kivuko.bitext.sentence_sets import open_set, sentence_key
from kivuko.errors import DataError, KivukoError, UsageError
from sentence_files import DOCUMENTS, LENGTH, sentence, tmx, units, write_tico


def test_a_folder_of_zip_archives_is_split_by_document_alike_in_every_language(tmp_path: Path) -> None:
    sentences = open_set(f"tico19:{write_tico(tmp_path, 'sw', 'tl')}")
    assert sentences.languages == ("fil", "sw")
    sides = {split: {row.document for row in sentences.split("sw", split)} for split in ("train", "validation", "test")}
    assert sum(map(len, sides.values())) == DOCUMENTS == len(set().union(*sides.values()))
    assert all(sides.values())
    for split, documents in sides.items():
        assert {row.document for row in sentences.split("fil", split)} == documents
        assert len(sentences.split("sw", split)) == len(documents) * LENGTH
    alone = open_set(f"tico19:{tmp_path / 'all.en-tl.tmx.zip'}")
    assert alone.languages == ("fil",)
    assert alone.split("fil", "test") == sentences.split("fil", "test"), "a file alone is split as in its folder"


def test_the_split_of_documents_is_the_same_everywhere(tmp_path: Path) -> None:
    """A changed rule would move sentences from test to train between versions."""
    sentences = open_set(f"tico19:{write_tico(tmp_path, 'sw')}")
    split = {row.document: side for row, side in sentences.placed("sw")}
    assert {name for name, side in split.items() if side == "test"} == TEST
    assert {name for name, side in split.items() if side == "validation"} == VALIDATION


TEST = {f"Doc_{number}" for number in (2, 3, 4, 8, 9)}
VALIDATION = {"Doc_6", "Doc_7"}


def test_bitext_is_the_training_split(tmp_path: Path) -> None:
    spec = f"tico19:{write_tico(tmp_path, 'sw')}"
    source = open_source(spec, "swh")
    bitext = read_bitext(spec, "sw")
    rows = open_set(spec).split("sw", "train")
    assert [(pair.text, pair.english) for pair in bitext] == [(row.text, row.english) for row in rows]
    assert [raw.text for raw in source] == [row.text for row in rows]
    assert bitext.pairs[0].origin == f"{tmp_path / 'all.en-sw.tmx.zip'}:{rows[0].number}"
    assert check_bitext(spec, "sw").account.seen == len(rows)
    result = clean_bitext(spec, "sw", tmp_path / "clean.tsv")
    assert len(read_bitext(tmp_path / "clean.tsv", "sw")) == result.account.kept > 0.9 * len(rows)
    with pytest.raises(UsageError, match="has its own format; leave format and columns out"):
        open_source(spec, "sw", format="tmx")


def test_no_sentence_is_on_two_sides(tmp_path: Path) -> None:
    rows = units("sw")
    placed = open_set(f"tico19:{write_tico(tmp_path / 'a', 'sw')}").placed("sw")
    test = next(place for place, (_, side) in enumerate(placed) if side == "test")
    train = [place for place, (_, side) in enumerate(placed) if side == "train"]
    rows[train[0]] = (rows[train[0]][0], "another text altogether", f"“{rows[test][2].upper()}”!")
    rows[train[1]] = (rows[train[1]][0], rows[test][1], rows[train[1]][2])
    (tmp_path / "all.en-sw.tmx").write_text(tmx("sw", rows))
    sentences = open_set(f"tico19:{tmp_path}")
    changed = dict(enumerate(side for _, side in sentences.placed("sw")))
    assert changed[test] == "test"
    assert changed[train[0]] == changed[train[1]] == "same sentence in another split"
    assert read_bitext(sentences.spec, "sw").dropped == {"same sentence in another split": 2}
    assert sentences.english[sentence_key(rows[test][2])].split == "test"


def test_misaligned_documents_are_left_out_in_every_split(tmp_path: Path) -> None:
    slipped = (3, 4, 5, 9, 10)
    sentences = open_set(f"tico19:{write_tico(tmp_path, 'sw', 'so', slip=slipped)}")
    out = [number for number, (_, side) in enumerate(sentences.placed("so")) if side == "misaligned"]
    expected = [number for number in range(DOCUMENTS * LENGTH) if number // LENGTH in slipped]
    assert len(set(out) ^ set(expected)) <= 6, "a sentence or two at the edge of a run fits by chance"
    assert sentences.left_out("sw") == {}
    assert len(sentences.english) == DOCUMENTS * LENGTH, "their English is searched all the same"
    with pytest.raises(DataError, match=r"hardly any of 192 sentences belong to the English beside it"):
        open_set(f"tico19:{write_tico(tmp_path / 'all', 'so', slip=range(DOCUMENTS))}").placed("so")


@pytest.mark.parametrize("lines", [1, -1])
def test_documents_one_line_early_or_late_are_moved_to_their_english(tmp_path: Path, lines: int) -> None:
    slipped = (2, 3, 4, 5, 9, 10, 11)
    rows = units("so", slipped, lines)
    (tmp_path / "all.en-so.tmx").write_text(tmx("so", rows))
    sentences = open_set(f"tico19:{tmp_path}")
    kept = [row for row, side in sentences.placed("so") if side != "misaligned"]
    right = [row for row in kept if row.text == sentence("so", int(row.english.split()[0])) and row.id.endswith(
        f":{int(row.english.split()[0])}")]  # fmt: skip
    assert len(kept) - len(right) <= 2, "but for one or two at the edges of runs, which fit by chance"
    assert len(right) >= DOCUMENTS * LENGTH - 10
    assert sentences.moved("so") == pytest.approx(len(slipped) * LENGTH, abs=5)
    placed = [row for row, _ in sentences.placed("so")]
    assert [row.text for row in placed] == [text for _, text, _ in rows]
    assert [row.number for row in placed] == [row.number for row in sentences.rows("so")], "its own line in the file"


def test_a_sentence_is_not_moved_over_a_line_that_was_left_out(tmp_path: Path) -> None:
    rows = units("so", (4, 5, 6, 7, 8, 9), -1)  # sentences one line early
    empty = 80
    rows[empty] = (rows[empty][0], rows[empty][1], " ")
    (tmp_path / "all.en-so.tmx").write_text(tmx("so", rows))
    placed = open_set(f"tico19:{tmp_path}").placed("so")
    assert len(placed) == len(rows) - 1
    assert dict(placed)[placed[empty - 1][0]] == "misaligned", "its English is on the line that was left out"
    moved = [row for row, side in placed[60:100] if side != "misaligned"]
    assert len(moved) >= 35
    assert all(row.text == sentence("so", int(row.english.split()[0])) for row in moved)


def test_lengths_show_what_is_misaligned() -> None:
    """Three odd translations in a row are no run; thirty other sentences are; few or equal lengths show nothing."""
    english = [sentence("en", number) for number in range(300)]
    texts = [sentence("sw", number) for number in range(300)]
    own = list(range(300))
    assert aligned_english(texts, english).tolist() == own
    texts[50:53] = ["x" * 300, "y", "z" * 400]
    assert aligned_english(texts, english).tolist() == own
    texts[100:130] = texts[107:137]
    left = np.flatnonzero(aligned_english(texts, english) < 0)
    assert left.min() in range(99, 103)
    assert left.max() in range(127, 131)
    assert len(left) >= 26
    assert aligned_english(texts[100:115], english[100:115]).tolist() == own[:15]
    assert aligned_english(["neno moja"] * 40, ["one word"] * 40).tolist() == own[:40]
    assert len(aligned_english([], [])) == 0


@pytest.mark.parametrize("offset", [1, -1])
def test_a_run_beside_the_next_or_previous_english_is_moved(offset: int) -> None:
    """No English is taken twice, and no sentence far from an edge is moved wrongly."""
    english = [sentence("en", number) for number in range(300)]
    texts = [sentence("sw", number) for number in range(300)]
    texts[100:160] = [sentence("sw", number + offset) for number in range(100, 160)]
    rows = aligned_english(texts, english)
    assert rows[104:156].tolist() == list(range(104 + offset, 156 + offset))
    assert rows[:97].tolist() == list(range(97))
    assert rows[163:].tolist() == list(range(163, 300))
    assert len(set(rows[rows >= 0])) == (rows >= 0).sum() >= 297


def test_one_tmx_file_under_any_name(tmp_path: Path) -> None:
    write_tico(tmp_path, "sw", zipped=False)
    (tmp_path / "all.en-sw.tmx").rename(tmp_path / "memory.xml")
    assert open_set(f"tico19:{tmp_path / 'memory.xml'}").languages == ("sw",)


def test_languages_of_names_with_a_country(tmp_path: Path) -> None:
    """A country is part of the code only where a folder has several of one language."""
    for tag in ("es-LA", "ti_ER", "ti_ET"):
        (tmp_path / f"all.en-{tag}.tmx").write_text("")
    assert open_set(f"tico19:{tmp_path}").languages == ("es", "ti-ER", "ti-ET")


def flores(folder: Path, code: str, split: str, lines: list[str]) -> None:
    (folder / split).mkdir(parents=True, exist_ok=True)
    (folder / split / f"{code}.{split}").write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_flores_in_its_folders(tmp_path: Path) -> None:
    for split, numbers in (("dev", range(60)), ("devtest", range(60, 90))):
        for code, short in (("eng_Latn", "en"), ("swh_Latn", "sw"), ("zho_Hant", "zh")):
            flores(tmp_path, code, split, [sentence(short, number) for number in numbers])
        urls = "".join(f"https://example.org/{number // 3}\twikinews\n" for number in numbers)
        (tmp_path / f"metadata_{split}.tsv").write_text("URL\tdomain\n" + urls)
    sentences = open_set(f"flores:{tmp_path}")
    assert sentences.languages == ("sw", "zh-Hant")
    assert [row.text for row in sentences.split("sw", "test")] == [sentence("sw", number) for number in range(60, 90)]
    sides = {side: {row.document for row in sentences.split("sw", side)} for side in ("train", "validation")}
    assert len(sentences.split("sw", "train")) + len(sentences.split("sw", "validation")) == 60
    assert sides["train"]
    assert sides["validation"]
    assert not sides["train"] & sides["validation"]
    assert [row.id for row in sentences.split("zh-Hant", "test")] == [row.id for row in sentences.split("sw", "test")]
    flores(tmp_path, "swh_Latn", "dev", ["moja"])
    with pytest.raises(DataError, match=r"swh_Latn\.dev: 1 line, but eng_Latn\.dev has 60"):
        open_set(f"flores:{tmp_path}").rows("sw")
    (tmp_path / "devtest" / "eng_Latn.devtest").unlink()
    (tmp_path / "dev" / "eng_Latn.dev").unlink()
    with pytest.raises(DataError, match="has no English"):
        open_set(f"flores:{tmp_path}")


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_flores_plus_as_json_lines_and_parquet(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "devtest").mkdir()
    for code, short in (("eng_Latn", "en"), ("mar_Deva", "mr"), ("mar_Deva_othe1234", "mr")):
        rows = [{"id": n, "text": sentence(short, n), "url": "https://example.org/1"} for n in range(4)]
        file = tmp_path / "devtest" / f"{code}.{suffix}"
        if suffix == "parquet":
            parquet.write_table(pyarrow.Table.from_pylist(rows), file)
        else:
            file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    sentences = open_set(f"flores:{tmp_path}")
    assert [(row.document, row.english) for row in sentences.split("mr", "test")] == [
        ("https://example.org/1", sentence("en", number)) for number in range(4)
    ]
    with pytest.raises(DataError, match="no sentence in mr is in the training split"):
        read_bitext(sentences.spec, "mr")
    (tmp_path / "devtest" / f"mar_Deva.{suffix}").write_bytes(b"{")
    with pytest.raises(DataError, match=r"mar_Deva\.\w+(:1)?: not "):
        open_set(f"flores:{tmp_path}").rows("mr")


@pytest.mark.parametrize("name", ["Sentence pairs in English-Swahili - 2024-05-01.tsv", "en-sw.tsv"])
def test_tatoeba_pairs_are_split_by_english_sentence(tmp_path: Path, name: str) -> None:
    rows = [f"{n}\t{sentence('en', n)}\t{1000 + n}\t{sentence('sw', n)}" for n in range(200)]
    rows.append(f"500\t{sentence('en', 3)}\t1500\tnyingine kabisa")  # the same English sentence once more
    (tmp_path / name).write_text("\n".join(rows) + "\n", encoding="utf-8")
    sentences = open_set(f"tatoeba:{tmp_path}")
    sides = {side: sentences.split("sw", side) for side in ("train", "validation", "test")}
    assert sum(map(len, sides.values())) == 201
    assert len(sides["train"]) > 150
    assert sides["validation"]
    assert sides["test"]
    again = [side for side, own in sides.items() for row in own if row.english == sentence("en", 3)]
    assert len(again) == 2
    assert len(set(again)) == 1
    swapped = [f"{1000 + n}\t{sentence('sw', n)}\t{n}\t{sentence('en', n)}" for n in range(3)]
    (tmp_path / "sw-en.tsv").write_text("\n".join(swapped), encoding="utf-8")
    assert open_set(f"tatoeba:{tmp_path / 'sw-en.tsv'}").rows("sw")[1].english == sentence("en", 1)


def _empty(folder: Path) -> None:
    (folder / "all.en-sw.tmx").write_bytes(b"")


def _other_pair(folder: Path) -> None:
    (folder / "all.en-sw.tmx").write_text(tmx("so", units("so")))


def _no_zip(folder: Path) -> None:
    (folder / "all.en-sw.tmx.zip").write_text("<!DOCTYPE html><title>Not found</title>")


def _wrong_zip(folder: Path) -> None:
    with zipfile.ZipFile(folder / "all.en-sw.tmx.zip", "w") as archive:
        archive.writestr("readme.txt", "no sentences here")


def _many_in_zip(folder: Path) -> None:
    with zipfile.ZipFile(folder / "all.en-sw.tmx.zip", "w") as archive:
        archive.writestr("a.tmx", tmx("sw", units("sw")))
        archive.writestr("b.tmx", tmx("so", units("so")))


def _no_units(folder: Path) -> None:
    (folder / "all.en-sw.tmx").write_text('<tmx version="1.4"><header/><body></body></tmx>')


BAD: list[tuple[Callable[[Path], None], str]] = [
    (lambda folder: None, "the folder holds no file of TICO-19; give the TMX files of tico-19.github.io"),
    (_empty, r"all\.en-sw\.tmx: is empty; fetch it again from tico-19\.github\.io"),
    (_other_pair, r"all\.en-sw\.tmx: none of its 192 units is in sw; it holds: en, so"),
    (_no_zip, r"all\.en-sw\.tmx\.zip: not a TMX file, nor a zip archive of one"),
    (_wrong_zip, r"all\.en-sw\.tmx\.zip: not a TMX file, nor a zip archive of one"),
    (_many_in_zip, r"all\.en-sw\.tmx\.zip: a zip archive of 2 files, where one is read"),
    (_no_units, r"all\.en-sw\.tmx: holds no translation unit"),
]


@pytest.mark.parametrize(("write", "message"), BAD)
def test_bad_files_are_named_in_one_line(tmp_path: Path, write: Callable[[Path], None], message: str) -> None:
    write(tmp_path)
    with pytest.raises(DataError, match=message) as caught:
        read_bitext(f"tico19:{tmp_path}", "sw")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "language", "message"),
    [
        ("tico19:", "sw", "not a set of sentences; give tico19:PATH, flores:PATH, tatoeba:PATH"),
        ("tico19:{folder}/nowhere", "sw", "nowhere: no such file or folder; give the TMX files"),
        ("tico19:{folder}", "yo", "has no sentences in yo; it has so, sw"),
        ("tico19:{folder}", "en", "has no sentences in en; it has so, sw"),
        ("flores:{folder}", "sw", "the folder holds no file of FLORES; give FLORES-200"),
        ("tatoeba:{folder}", "sw", "the folder holds no file of Tatoeba; give the sentence pairs"),
        ("tatoeba:{folder}/all.en-sw.tmx.zip", "sw", "this is no file of Tatoeba"),
    ],
)
def test_wrong_names_are_answered_in_one_line(tmp_path: Path, spec: str, language: str, message: str) -> None:
    write_tico(tmp_path, "sw", "so")
    with pytest.raises(KivukoError, match=message) as caught:
        read_bitext(spec.format(folder=tmp_path), language)
    assert "\n" not in str(caught.value)


def test_a_file_of_two_other_languages_and_lines_that_are_no_pairs(tmp_path: Path) -> None:
    (tmp_path / "x.tmx").write_text(tmx("sw", units("sw")[:1], english="so"))
    with pytest.raises(DataError, match="holds so and sw; give a TMX file of English and one other language"):
        open_set(f"tico19:{tmp_path / 'x.tmx'}")
    (tmp_path / "en-sw.tsv").write_text("mbwa\tdog\n")
    with pytest.raises(DataError, match=r"en-sw\.tsv:1: not number, sentence, number, translation between tabs"):
        open_set(f"tatoeba:{tmp_path / 'en-sw.tsv'}").rows("sw")
