"""Vectors of documents are read once for all models that are compared on them, and never a wrong one is taken."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tiny_collection import make_collection, make_model

from kivuko.encoders.loading import folder_fingerprint
from kivuko.evaluation import vectors as document_vectors
from kivuko.evaluation.evaluate import evaluate
from kivuko.evaluation.vectors import DocumentVectors

TEXTS = [f"document {number}" for number in range(300)]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KIVUKO_CACHE", str(tmp_path / "cache"))


class Reader:
    """Counts the texts that it encodes."""

    def __init__(self):
        self.read = 0

    def __call__(self, texts):
        self.read += len(texts)
        return np.array([[hash(text) % 997, len(text)] for text in texts], dtype=np.float32)


def test_what_was_read_is_not_read_again(tmp_path):
    first, second = Reader(), Reader()
    vectors = DocumentVectors(first, "one")(TEXTS)
    again = DocumentVectors(second, "one")
    np.testing.assert_array_equal(again(TEXTS), vectors)
    assert (first.read, second.read, again.taken) == (300, 0, 300)
    assert again.folder.is_relative_to(tmp_path / "cache")
    assert again.bytes() > vectors.nbytes


@pytest.mark.parametrize(
    ("space", "texts"),
    [("two", TEXTS), ("one", TEXTS[:-1]), ("one", TEXTS[::-1]), ("one", [*TEXTS[:-2], "document 298document 299", ""])],
    ids=["space", "fewer", "order", "cut elsewhere"],
)
def test_other_readers_and_other_texts_are_read(space, texts):
    DocumentVectors(Reader(), "one")(TEXTS)
    reader = Reader()
    remembered = DocumentVectors(reader, space)
    np.testing.assert_array_equal(remembered(texts), Reader()(texts))
    assert (reader.read, remembered.taken) == (len(texts), 0)


@pytest.mark.parametrize("damage", [lambda _: b"", lambda old: old[:-4], lambda old: old[:-1] + bytes([old[-1] ^ 1])])
def test_a_damaged_file_is_passed_over_and_written_again(damage):
    remembered = DocumentVectors(Reader(), "one")
    vectors = remembered(TEXTS)
    (file,) = remembered.folder.rglob("*.safetensors")
    file.write_bytes(damage(file.read_bytes()))
    reader = Reader()
    np.testing.assert_array_equal(DocumentVectors(reader, "one")(TEXTS), vectors)
    assert reader.read == 300
    DocumentVectors(reader, "one")(TEXTS)
    assert reader.read == 300


def test_nothing_is_kept_where_it_cannot_or_must_not_be(tmp_path, monkeypatch):
    few, broken = DocumentVectors(Reader(), "one"), DocumentVectors(lambda texts: np.full((len(texts), 2), np.nan), "x")
    few(TEXTS[:20])
    assert np.isnan(broken(TEXTS)).all()  # who scores them tells
    monkeypatch.setattr(document_vectors.shutil, "disk_usage", lambda _: SimpleNamespace(free=1 << 30))
    full = DocumentVectors(Reader(), "full")
    full(TEXTS)
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("KIVUKO_CACHE", str(tmp_path / "file"))
    unwritable = DocumentVectors(Reader(), "one")
    assert unwritable(TEXTS).shape == (300, 2)
    assert [one.bytes() for one in (few, broken, full, unwritable)] == [0, 0, 0, 0]


def test_figures_are_the_same_with_remembered_vectors(tmp_path, monkeypatch):
    monkeypatch.setattr(document_vectors, "_FEW", 1)
    model, folder = make_model(tmp_path), make_collection(tmp_path / "c")
    first, second = (evaluate(model, f"trec:{folder}", records=False) for _ in range(2))
    taken = [line for line in second.notes if line.startswith("vectors of 6 documents were taken from")]
    assert len(taken) == 1
    assert not any("were taken from" in line for line in first.notes)
    assert first.records == second.records


def test_a_folders_fingerprint_is_of_what_decides_its_vectors(tmp_path):
    folder = make_model(tmp_path)
    before = folder_fingerprint(folder)
    (folder / "README.md").write_text("another card")
    (folder / "evaluation").mkdir()
    (folder / "evaluation" / "emoji.jsonl").write_text("{}")
    assert folder_fingerprint(folder) == before
    Path(folder / "spelling.json").write_text("{}")
    assert folder_fingerprint(folder) != before
