"""``kivuko evaluate --dataset`` on image-caption sets and ``kivuko data fetch``, as a user meets them."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from command_checks import help_without_heavy_imports, refused

import caption_scene as scene
from kivuko.evaluation.records import read_per_query, read_records

sys.path.insert(0, str(Path(__file__).parents[1] / "search"))  # for tiny_model


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with "model", its "teacher", and Crossmodal-3600 in "xm"; read only."""
    from tiny_model import make_model, make_teacher

    place = tmp_path_factory.mktemp("evaluate-captions")
    make_model(place / "model", make_teacher(place / "teacher"))
    scene.write_xm3600(place / "xm")
    return place


@pytest.fixture
def evaluate(run_here, place, monkeypatch):
    """Run ``kivuko evaluate`` on the model."""
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("KIVUKO_CACHE", str(place / "cache"))

    def run(*words: object, model: object = None) -> tuple[int, str, str]:
        return run_here("evaluate", str(model or place / "model"), *map(str, words))

    return run


def measured(records, **wanted):
    return [one for one in records if all(getattr(one, name) == value for name, value in wanted.items())]


def test_both_directions_beside_ceiling_and_floor(evaluate, place, tmp_path):
    file = tmp_path / "records.jsonl"
    status, out, err = evaluate("--dataset", f"xm3600:{place / 'xm'}", "-l", "sw", "quz", "--records", file)
    assert status == 0, err
    assert "xm3600/every-caption/text-to-image, test; 3 images" in out
    assert "xm3600/every-caption/image-to-text, test; 3 images" in out
    assert "Success@1" in out
    assert "quy (Ayacucho)" in err
    assert "was not trained on quz" in err
    header, records = read_records(file)
    assert {one.objective for one in records} == {"optical", "teacher", "untrained"}
    assert {one.dataset for one in records} == {
        "xm3600/every-caption/text-to-image",
        "xm3600/every-caption/image-to-text",
    }
    forth = measured(records, objective="optical", measure="R@1", language="sw", subset="all")
    assert {one.queries for one in forth} == {6, 3}, "six captions, three images"
    ceiling = measured(records, objective="teacher", language="en", measure="MAP")
    assert [one.queries for one in ceiling] == [6, 3]
    parity = measured(records, objective="optical", language="sw", measure="parity", dataset=forth[0].dataset)
    own = measured(records, objective="optical", language="sw", measure="MAP", dataset=forth[0].dataset)
    assert parity[0].value == pytest.approx(own[0].value / ceiling[0].value)
    assert measured(records, language="low-resource", measure="MAP", objective="optical")
    assert header.protocol["languages"] == ["sw", "quz"]
    assert header.protocol["captions per image"] == {"sw": 2.0, "quz": 2.0}
    assert set(header.protocol["files"]) == {"captions.jsonl"}
    assert header.protocol["images"]["number"] == 3
    assert header.command.startswith("kivuko evaluate")
    queries = [one for one in read_per_query(file) if one.language == "sw" and one.measure == "R@1"]
    assert {len(one.values) for one in queries} == {3, 6}


def test_the_first_caption_alone_goes_to_another_file(evaluate, place, tmp_path):
    model = shutil.copytree(place / "model", tmp_path / "model")
    spec = f"xm3600:{place / 'xm'}"
    for captions in ("every", "first"):
        words = ("--dataset", spec, "--captions", captions, "--alone", "-l", "sw,en")
        status, _, err = evaluate(*words, model=model)
        assert status == 0, err
    files = sorted(file.name for file in (model / "evaluation").glob("*.jsonl"))
    assert files == ["xm3600-test-every-caption.jsonl", "xm3600-test-first-caption.jsonl"]
    header, records = read_records(model / "evaluation" / files[1])
    assert header.protocol["captions"].startswith("first-caption")
    assert {one.queries for one in measured(records, language="sw", subset="all", measure="R@1")} == {3}
    assert {one.objective for one in records} == {"optical"}
    assert "en" in {one.language for one in records}, "English captions are measured where they are asked for"


def test_the_models_own_languages_unless_some_are_named(evaluate, place, tmp_path):
    file = tmp_path / "records.jsonl"
    status, _, err = evaluate("--dataset", f"xm3600:{place / 'xm'}", "--alone", "--records", file)
    assert status == 0, err
    assert {one.language for one in read_records(file)[1]} == {"sw", "low-resource"}
    about = json.loads((place / "model" / "kivuko.json").read_text("utf-8"))
    other = shutil.copytree(place / "model", tmp_path / "model")
    (other / "kivuko.json").write_text(json.dumps({**about, "bitext_sizes": {"so": 9}}), "utf-8")
    refused(evaluate("--dataset", f"xm3600:{place / 'xm'}", model=other), "trained on (so)", "en sw bn mi quz")


def test_all_languages_of_the_set_for_a_model_that_does_not_say(evaluate, place, tmp_path):
    model = shutil.copytree(place / "model", tmp_path / "model")
    (model / "kivuko.json").unlink()
    file = tmp_path / "records.jsonl"
    status, _, err = evaluate("--dataset", f"xm3600:{place / 'xm'}", "--alone", "--records", file, model=model)
    assert status == 0, err
    assert {"en", "sw", "bn", "mi", "quz"} <= {one.language for one in read_records(file)[1]}


def test_the_same_command_gives_the_same_records(evaluate, place, tmp_path):
    lines = []
    for name in ("a", "b"):
        file = tmp_path / f"{name}.jsonl"
        status, _, err = evaluate("--dataset", f"xm3600:{place / 'xm'}", "-l", "sw", "--records", file)
        assert status == 0, err
        lines.append(file.read_text("utf-8").splitlines()[1:])
    assert lines[0] == lines[1]


def test_a_model_that_kivuko_did_not_make(evaluate, place, tmp_path):
    model = shutil.copytree(place / "model", tmp_path / "model")
    (model / "kivuko.json").unlink()
    status, _, err = evaluate("--dataset", f"xm3600:{place / 'xm'}", "-l", "sw", model=model)
    assert status == 0, err
    assert "no kivuko.json" in err
    (file,) = (model / "evaluation").glob("*.jsonl")
    assert {one.objective for one in read_records(file)[1]} == {"model"}


def test_a_teacher_that_is_gone_is_said_and_the_model_measured(evaluate, place, tmp_path):
    model = shutil.copytree(place / "model", tmp_path / "model")
    about = json.loads((model / "kivuko.json").read_text("utf-8"))
    (model / "kivuko.json").write_text(json.dumps({**about, "teacher_source": str(tmp_path / "gone")}), "utf-8")
    status, _, err = evaluate("--dataset", f"xm3600:{place / 'xm'}", "-l", "sw", model=model)
    assert status == 0, err
    assert "no ceiling" in err
    (file,) = (model / "evaluation").glob("*.jsonl")
    assert {one.objective for one in read_records(file)[1]} == {"optical", "untrained"}


def test_missing_images_are_refused_or_counted(evaluate, place, tmp_path):
    shutil.copytree(place / "xm", tmp_path / "xm")
    (tmp_path / "xm" / "images" / "00161a9ab9e5a3c1.jpg").unlink()
    spec, file = f"xm3600:{tmp_path / 'xm'}", tmp_path / "records.jsonl"
    refused(evaluate("--dataset", spec, "--records", file), "1 of its 3 images", "captions.jsonl:2", "--skip-missing")
    assert not file.exists()
    status, out, err = evaluate("--dataset", spec, "-l", "sw", "--skip-missing", "--alone", "--records", file)
    assert status == 0, err
    assert "1 x image: missing. Figures with images left out are not those of the whole set." in out
    header, _ = read_records(file)
    assert header.protocol["left out"] == {"image: missing": 1}
    assert header.protocol["images"]["number"] == 2


def test_a_captions_file_whose_language_is_named(evaluate, tmp_path):
    scene.write_images(tmp_path / "photos", ["a.jpg", "b.jpg"])
    file = scene.write_table(tmp_path / "c.tsv", [("image", "caption"), ("a.jpg", "paka"), ("b.jpg", "samaki")])
    records = tmp_path / "records.jsonl"
    words = ("--dataset", f"captions:{file},{tmp_path / 'photos'}", "--alone", "--records", records)
    refused(evaluate(*words), "c.tsv:2", "-l sw")
    status, _, err = evaluate(*words, "-l", "sw")
    assert status == 0, err
    assert {one.language for one in read_records(records)[1]} == {"sw", "low-resource"}


def test_sets_of_ones_own_have_records_of_their_own(evaluate, place, tmp_path):
    model = shutil.copytree(place / "model", tmp_path / "model")
    rows = [("image", "caption", "split"), ("a.jpg", "paka", "test"), ("b.jpg", "mbwa", "train")]
    for file in ("one/captions.tsv", "two/captions.tsv", "two/b.v1.csv"):
        scene.write_images((tmp_path / file).parent, ["a.jpg"])
        status, out, err = evaluate(
            "--dataset", f"captions:{scene.write_table(tmp_path / file, rows)}", "--alone", "-l", "sw", model=model
        )
        assert status == 0, err
        assert "test; 1 image" in out
        assert "left out: 1 x line of another split." in out
        assert "whole set" not in out, "the split is whole"
    assert sorted(file.name for file in (model / "evaluation").glob("*.jsonl")) == [
        "captions-one-captions-test-every-caption.jsonl",
        "captions-two-b.v1-test-every-caption.jsonl",
        "captions-two-captions-test-every-caption.jsonl",
    ]


def test_what_cannot_be_measured_is_one_line(evaluate, place, tmp_path):
    refused(evaluate("--dataset", "nosuch:a/b"), "nosuch", "xm3600")
    refused(evaluate("--dataset", "nosuch:a"), "no module 'nosuch' for the data set")
    refused(evaluate("--dataset", f"xm3600:{tmp_path / 'nosuch'}"), "nosuch")
    refused(evaluate("--dataset", f"xm3600:{place / 'xm'}", "-l", "de"), "'de'", "en sw bn mi quz")
    refused(evaluate("--dataset", f"xm3600:{place / 'xm'}", "-l", "quy"), "'quy'")
    refused(evaluate("--dataset", f"xm3600:{place / 'xm'}", "-l", ","), "none named")
    refused(evaluate("--dataset", f"xm3600:{place / 'xm'}", "--split", "validation"), "no split 'validation'")
    refused(evaluate("--dataset", f"xm3600:{place / 'xm'}", "--records", tmp_path), str(tmp_path))
    refused(evaluate("--dataset", f"xm3600:{place / 'xm'}", model=tmp_path / "none"), "no such model")
    refused(evaluate("--dataset", f"xm3600:{place / 'xm'}", model=place / "teacher"), "text only")


def test_help_names_the_sets_and_imports_little():
    told = help_without_heavy_imports("evaluate")
    for word in ("xm3600:PATH", "webdataset", "--captions", "--skip-missing", "xm3600:data/xm3600"):
        assert word in told


def test_fetching_what_cannot_be_fetched():
    from click.testing import CliRunner

    from kivuko.cli.data import fetch
    from kivuko.errors import UsageError

    told = CliRunner().invoke(fetch, ["--help"])
    assert "kivuko data fetch xm3600" in told.output
    with pytest.raises(UsageError, match="flickr30k200"):
        CliRunner().invoke(fetch, ["flickr30k200"], catch_exceptions=False)


def test_a_data_set_of_ones_own_by_the_name_of_its_class(evaluate, tmp_path, monkeypatch):
    lines = [
        "class Photos:",
        "    name, languages = 'photos', ('sw',)",
        "    def images(self):",
        "        return [('cat', 'photos/cat.jpg'), ('dog', 'photos/dog.jpg')]",
        "    def queries(self, language):",
        "        return [('paka mweusi', 'cat'), ('mbwa', 'dog')]",
    ]
    scene.write_lines(tmp_path / "own_evaluation_data.py", lines)
    scene.write_images(tmp_path / "photos", ["cat.jpg", "dog.jpg"])
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    file = tmp_path / "records.jsonl"
    status, out, err = evaluate("--dataset", "own_evaluation_data:Photos", "--alone", "--records", file)
    assert status == 0, err
    assert "2 images" in out
    _, records = read_records(file)
    assert {one.dataset.partition("/")[0] for one in records} == {"photos"}
    assert {one.queries for one in measured(records, measure="MAP", language="sw")} == {2}
    refused(evaluate("--dataset", "own_evaluation_data:Nosuch"), "has no 'Nosuch'")
