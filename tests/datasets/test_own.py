"""Data sets of the user's own, opened by the function that opens every data set."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import caption_scene as scene
from kivuko.datasets.captions.caption_set import CaptionSet
from kivuko.datasets.spec import check_spec, evaluation_captions, open_dataset, records_stem
from kivuko.errors import DataError, UsageError

DOCS = Path(__file__).parents[2] / "docs" / "data.md"


class Photos:
    """Two images; one query retrieves both."""

    name = "photos"
    languages = ("swh", "en")

    def images(self):
        return [("cat", "cat.jpg"), ("dog", Path("dog.jpg"))]

    def queries(self, language):
        yield from [("an  animal", "cat"), ("an animal", "dog")] if language == "en" else [("paka", "cat")]


class Texts:
    """Two documents and queries in one language."""

    name = "texts"
    languages = "sw"
    document_language = "en"

    def documents(self):
        yield from [("d1", "a black cat"), ("d2", "a dog")]

    def queries(self, language):
        yield from [("mnyama", "d1"), ("mnyama", "d2"), ("mbwa", "d2")]


def test_images_of_ones_own_become_a_caption_set(tmp_path, monkeypatch):
    scene.write_images(tmp_path, ["cat.jpg"])
    monkeypatch.chdir(tmp_path)
    photos = open_dataset(Photos())
    assert isinstance(photos, CaptionSet)
    assert (photos.name, photos.split, photos.languages) == ("photos", "all", ("sw", "en"))
    assert photos.captions["en"] == {"cat": ("an animal",), "dog": ("an animal",)}
    assert [image.path for image in photos.images] == [Path("cat.jpg"), None], "evaluation names what is missing"


def test_texts_of_ones_own_become_a_collection():
    texts = open_dataset(Texts())
    assert (texts.name, texts.query_languages, texts.document_language) == ("texts", ("sw",), "en")
    assert texts.queries("sw") == {"sw:1": "mnyama", "sw:2": "mbwa"}
    assert texts.judgments() == {"sw:1": {"d1": 1, "d2": 1}, "sw:2": {"d2": 1}}
    for _ in range(2):
        assert [(one.id, one.text) for one in texts.documents()] == [("d1", "a black cat"), ("d2", "a dog")]
    with pytest.raises(UsageError, match="not en"):
        texts.queries("en")


def test_the_example_of_the_documentation_runs(tmp_path, monkeypatch):
    code = next(
        block for block in re.findall(r"```python\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL) if "images" in block
    )
    (tmp_path / "documented_data.py").write_text(code, "utf-8")
    scene.write_images(tmp_path / "photos", ["cat.jpg", "dog.jpg"])
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    photos = open_dataset("documented_data:Photos")
    assert photos.captions == {"sw": {"cat": ("paka mweusi",)}, "en": {"cat": ("a black cat",)}}
    assert all(image.path is not None for image in photos.images)
    assert records_stem("documented_data:Photos", photos.name) == "documented_data-Photos"


class Raising(Photos):
    """Its code fails."""

    def queries(self, language):
        raise KeyError(language)


class Strangers(Photos):
    """Its query retrieves an image that it does not have."""

    def queries(self, language):
        yield "paka", "lion"


class Triples(Photos):
    """It does not yield pairs."""

    def images(self):
        yield "cat", "cat.jpg", 3


@pytest.mark.parametrize(
    ("dataset", "kind", "message"),
    [
        (object(), UsageError, "no name, no languages, no queries, no images or documents"),
        (Raising(), DataError, "queries('swh'): KeyError: 'swh'"),
        (Strangers(), DataError, "'lion', which images does not yield"),
        (Triples(), DataError, "yield pairs"),
        (type("Unknown", (Photos,), {"languages": ("qx!",)})(), UsageError, "unknown language code"),
    ],
)
def test_what_is_wrong_with_ones_own_is_one_line(dataset, kind, message):
    with pytest.raises(kind) as caught:
        open_dataset(dataset)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_kind_of_data_set_is_opened_by_its_name(tmp_path, tiny_world):
    assert open_dataset(f"xm3600:{scene.write_xm3600(tmp_path)}").name == "xm3600"
    scene.write_lines(tmp_path / "t" / "queries.sw.tsv", ["q1\tpaka"])
    scene.write_lines(tmp_path / "t" / "documents.en.tsv", ["d1\ta cat"])
    scene.write_lines(tmp_path / "t" / "qrels.txt", ["q1 0 d1 1"])
    assert open_dataset(f"trec:{tmp_path / 't'}").query_languages == ("sw",)
    assert open_dataset(tiny_world) is tiny_world
    collection = open_dataset(Texts())
    assert open_dataset(collection) is collection


@pytest.mark.parametrize("spec", ["", "nosuch", "a.b", "photos/captions.tsv", "no such:Class"])
def test_what_names_no_data_set_lists_those_that_are_known(spec):
    with pytest.raises(UsageError, match=r"xm3600:PATH.*package\.module:Class"):
        check_spec(spec)


def test_a_module_that_is_not_there_is_named():
    with pytest.raises(UsageError, match="no module 'nosuch_module'"):
        open_dataset("nosuch_module:Data")


def test_a_mistyped_data_set_lists_those_that_are_known():
    with pytest.raises(UsageError, match=r"xm36:path: no module 'xm36' for the data set, nor a known one.*xm3600:PATH"):
        check_spec("xm36:path")


def test_the_queries_of_a_text_collection_can_be_looked_for_in_training_text(tmp_path):
    folder = tmp_path / "t"
    folder.mkdir()
    scene.write_lines(folder / "queries.sw.tsv", ["q1\tpaka mweusi"])
    scene.write_lines(folder / "queries.en.tsv", ["q1\ta black cat"])
    scene.write_lines(folder / "queries.de.tsv", ["q1\teine Katze"])
    scene.write_lines(folder / "documents.en.tsv", ["d1\ta cat"])
    scene.write_lines(folder / "qrels.txt", ["q1 0 d1 1"])
    assert sorted(evaluation_captions([f"trec:{folder}"], "sw")) == ["a black cat", "paka mweusi"]


def test_records_of_ones_own_files_are_named_after_file_and_folder(tmp_path):
    assert records_stem(f"captions:{tmp_path}/a/photos.tsv.gz", "captions") == "captions-a-photos"
    assert records_stem("xm3600:data", "xm3600") == "xm3600"
