"""Translating a collection by machine."""

from __future__ import annotations

import csv
import json
from contextlib import nullcontext
from pathlib import Path

import pytest

from kivuko.datasets.spec import open_collection
from kivuko.errors import CorruptFileError, DataError, ModelError, UsageError
from kivuko.translation.collection import Plan, suspicion, translate_collection

WORDS = {"black": "mweusi", "cat": "paka", "dog": "mbwa", "big": "mkubwa", "the": ""}


class WordByWord:
    """Translates word by word; ``stops_after`` so many calls, as a killed run does."""

    name = "word-by-word"

    def __init__(self, stops_after: int | None = None) -> None:
        self.calls: list[list[str]] = []
        self._stops_after = stops_after

    def translate(self, texts: list[str], language: str) -> list[str]:
        assert language == "en"
        if self._stops_after is not None and len(self.calls) >= self._stops_after:
            raise KeyboardInterrupt
        self.calls.append(texts)
        return [" ".join(WORDS.get(word.strip(".").lower(), word) for word in text.split()).strip() for text in texts]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "marco"
    folder.mkdir()
    (folder / "queries.en.tsv").write_text("1\tblack cat\n2\tbig dog\n3\tthe\n", encoding="utf-8")
    rows = [
        {"id": f"d{n}", "title": "Dog" if n % 2 else "", "text": f"The black cat. Big dog number {n}."}
        for n in range(7)
    ]
    rows.append({"id": "empty", "text": ""})
    (folder / "documents.en.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "qrels.txt").write_text("1 0 d1 1\n2 0 d2 3\n2 0 d3 0\n", encoding="utf-8")
    return folder


def plan(**changes: object) -> Plan:
    return Plan("en", "sw", **{"part": 3, "sample": 2, **changes})  # type: ignore[arg-type]


def test_texts_are_translated_and_judgments_stay(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    collection, reports = open_collection(f"trec:{source}"), []
    bar = nullcontext(lambda *figures: reports.append(figures))
    monkeypatch.setattr("kivuko.translation.collection.progress_bar", lambda *_: bar)
    translator = WordByWord()
    done = translate_collection(collection, translator, plan(), tmp_path / "sw")
    found = open_collection(f"trec:{tmp_path / 'sw'}")
    assert (found.name, found.document_language) == ("marco-sw", "sw")
    assert found.queries("en") == collection.queries("en")
    assert found.queries("sw") == {"1": "mweusi paka", "2": "mkubwa mbwa", "3": "the"}  # nothing came back for "the"
    documents = {document.id: document for document in found.documents()}
    assert list(documents) == [*(f"d{number}" for number in range(7)), "empty"]
    assert documents["d1"].text == "mweusi paka mkubwa mbwa number 1."
    assert (documents["d1"].title, documents["d2"].title, documents["empty"].text) == ("mbwa", "", "")
    assert found.judgments() == collection.judgments()
    assert (done.queries, done.documents) == (3, 8)
    assert reports[-1] == (8, 8)
    assert all(len(piece) <= 400 for call in translator.calls for piece in call)
    assert translator.calls[1][:2] == ["The black cat.", "Big dog number 0."]  # sentence by sentence
    assert not (tmp_path / "sw.parts").exists()


def test_a_stopped_run_goes_on_and_ends_the_same(source: Path, tmp_path: Path) -> None:
    collection = open_collection(f"trec:{source}")
    translate_collection(collection, WordByWord(), plan(), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        translate_collection(collection, WordByWord(stops_after=2), plan(), tmp_path / "again")
    assert not (tmp_path / "again").exists()
    second = WordByWord()
    translate_collection(collection, second, plan(), tmp_path / "again")
    assert len(second.calls) == 2  # of four: queries, and three parts of documents
    for file in sorted((tmp_path / "whole").iterdir()):
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes()


def test_parts_of_another_translation_are_not_mixed_in(source: Path, tmp_path: Path) -> None:
    collection = open_collection(f"trec:{source}")
    with pytest.raises(KeyboardInterrupt):
        translate_collection(collection, WordByWord(stops_after=3), plan(), tmp_path / "out")
    with pytest.raises(DataError, match=r"out.parts: holds parts of another translation \(other target\)"):
        translate_collection(collection, WordByWord(), Plan("en", "so", part=3), tmp_path / "out")
    part = tmp_path / "out.parts" / "documents-000000.jsonl.gz"
    whole = part.read_bytes()
    part.write_bytes(whole[:20])
    with pytest.raises(CorruptFileError, match=r"documents-000000.jsonl.gz: a finished part is damaged"):
        translate_collection(collection, WordByWord(), plan(), tmp_path / "out")
    part.write_bytes(whole)
    rows = (source / "documents.en.jsonl").read_text(encoding="utf-8")
    (source / "documents.en.jsonl").write_text(rows.replace('"d1"', '"new"'), encoding="utf-8")
    with pytest.raises(DataError, match="the collection changed"):
        translate_collection(collection, WordByWord(), plan(), tmp_path / "out")


def test_one_side_alone(source: Path, tmp_path: Path) -> None:
    collection = open_collection(f"trec:{source}")
    translate_collection(collection, WordByWord(), plan(documents=False), tmp_path / "q")
    found = open_collection(f"trec:{tmp_path / 'q'}")
    assert (found.document_language, set(found.query_languages)) == ("en", {"en", "sw"})
    assert list(found.documents()) == list(collection.documents())
    translate_collection(collection, WordByWord(), plan(queries=False), tmp_path / "d")
    found = open_collection(f"trec:{tmp_path / 'd'}")
    assert (found.document_language, found.query_languages) == ("sw", ("en",))


def test_the_sample_shows_both_sides_and_what_looks_wrong(source: Path, tmp_path: Path) -> None:
    done = translate_collection(open_collection(f"trec:{source}"), WordByWord(), plan(), tmp_path / "sw")
    with (tmp_path / "sw" / "sample.tsv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    assert [row["kind"] for row in rows if row["chosen"] == "random"] == ["query", "query", "document", "document"]
    assert done.suspicious == {"empty": 1}
    (wrong,) = (row for row in rows if row["chosen"] == "suspicious")
    assert (wrong["id"], wrong["original"], wrong["translation"], wrong["suspicion"]) == ("3", "the", "", "empty")
    assert all(row["adequacy"] == row["fluency"] == row["remark"] == "" for row in rows)
    about = json.loads((tmp_path / "sw" / "collection.json").read_text(encoding="utf-8"))
    assert (about["translator"], about["translated"], about["suspicious"]) == (
        "word-by-word", ["queries", "documents"], {"empty": 1},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("original", "translation", "told"),
    [
        ("", "x", None), ("a black cat runs", "paka mweusi anakimbia", None), ("12", "12", None),
        ("a black cat", "A black cat", "not translated"),
        ("a black cat runs", " ", "empty"), ("a black cat runs", "paka " * 30, "repeats itself"),
        ("a black cat runs", "x" * 200, "much longer or shorter"), ("cat", "paka mweusi sana", None),
    ],
)  # fmt: skip
def test_suspicion(original: str, translation: str, told: str | None) -> None:
    assert suspicion(original, translation) == told


def test_what_cannot_be_translated_is_said(source: Path, tmp_path: Path) -> None:
    collection = open_collection(f"trec:{source}")
    with pytest.raises(UsageError, match="both en"):
        translate_collection(collection, WordByWord(), Plan("en", "eng"), tmp_path / "out")
    with pytest.raises(UsageError, match="no queries in fr"):
        translate_collection(collection, WordByWord(), Plan("fr", "sw"), tmp_path / "out")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "x").write_text("", encoding="utf-8")
    with pytest.raises(UsageError, match="is not a collection"):
        translate_collection(collection, WordByWord(), plan(), tmp_path / "mine")

    class Short(WordByWord):
        def translate(self, texts: list[str], language: str) -> list[str]:
            return super().translate(texts, language)[1:]

    with pytest.raises(ModelError, match=r"gave 2 translations of 3 texts"):
        translate_collection(collection, Short(), plan(), tmp_path / "out")
