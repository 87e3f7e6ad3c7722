"""``kivuko.evaluate`` and its result: tables, text, data frames, files."""

from __future__ import annotations

import json
import re
import shlex
import shutil

import numpy as np
import pytest
from tiny_collection import make_collection
from tiny_collection import make_model as make_text_model
from tiny_model import make_model, make_teacher

import caption_scene as scene
import kivuko
from kivuko.cli.main import main
from kivuko.errors import ModelError, UsageError
from kivuko.evaluation.records import per_query_path, read_records


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a model of images and text in "model", one of text in "text", and data sets; read only."""
    place = tmp_path_factory.mktemp("evaluate")
    make_model(place / "model", make_teacher(place / "teacher"))
    (place / "texts").mkdir()
    make_text_model(place / "texts").rename(place / "text")
    scene.write_xm3600(place / "xm")
    make_collection(place / "c")
    return place


@pytest.fixture
def model(place, tmp_path):
    """A copy of the model that a test may write into."""
    return shutil.copytree(place / "model", tmp_path / "model")


@pytest.fixture(params=["emoji", "phrases", "captions", "collection"])
def task(request, place, tiny_cldr, few_test_concepts, tmp_path):
    """A model, a data set, and options in Python and on the command line."""
    if request.param in ("emoji", "phrases"):
        model = shutil.copytree(place / "model", tmp_path / "own")
        return (
            model,
            "emoji" if request.param == "emoji" else "emoji:phrases",
            {"cldr": tiny_cldr},
            ["--cldr", str(tiny_cldr)],
        )
    if request.param == "captions":
        return place / "model", f"xm3600:{place / 'xm'}", {}, []
    return place / "text", f"trec:{place / 'c'}", {}, []


def test_the_command_and_the_call_give_the_same_records(task, tmp_path, monkeypatch):
    model, dataset, options, words = task
    kivuko.evaluate(model, dataset, records=tmp_path / "call.jsonl", progress=False, **options)
    command = ["kivuko", "evaluate", str(model), "--dataset", dataset, "--records", str(tmp_path / "c.jsonl"), *words]
    monkeypatch.setattr("sys.argv", command)
    main()
    (one, first), (other, second) = (read_records(tmp_path / name) for name in ("call.jsonl", "c.jsonl"))
    assert first == second
    assert one.protocol == other.protocol
    assert other.command == shlex.join(command)
    assert one.command.startswith("kivuko.evaluate(")
    assert {record.language for record in first} == {"sw", "en", "low-resource"}, "the model's own, and the ceiling"
    assert {record.objective for record in first} == {"optical", "teacher", "untrained"}


def test_alone_leaves_out_ceiling_and_floor_in_every_task(task):
    model, dataset, options, _ = task
    result = kivuko.evaluate(model, dataset, alone=True, records=False, progress=False, **options)
    assert {record.objective for record in result.records} == {"optical"}
    assert {record.measure for record in result.records}.isdisjoint({"parity"})
    whole = kivuko.evaluate(model, dataset, records=False, progress=False, **options)
    assert {r for r in whole.records if r.objective == "optical" and r.measure != "parity"} == set(result.records)


def test_every_table_and_summary_fits_into_80_columns(task):
    model, dataset, options, _ = task
    result = kivuko.evaluate(model, dataset, languages=["sw"], records=False, progress=False, **options)
    text = result.summary()
    tables = text.split("note:")[0]
    assert max(map(len, tables.splitlines())) <= 80
    assert "…" not in tables
    assert "sw Swahili" in text
    assert "teacher: low-resource" in text
    assert "random: low-resource" in text
    assert str(result) == text


def test_records_as_a_data_frame(place):
    pandas = pytest.importorskip("pandas")
    result = kivuko.evaluate(place / "text", f"trec:{place / 'c'}", records=False, progress=False)
    frame = result.to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert len(frame) == len(result.records)
    row = frame.query("objective == 'optical' and language == 'sw' and subset == 'all' and measure == 'MAP'")
    assert row["value"].tolist() == pytest.approx([1.0])


def test_default_files_are_named_after_the_data_set(model, place, tiny_cldr, few_test_concepts):
    kivuko.evaluate(model, "emoji", cldr=tiny_cldr, progress=False)
    kivuko.evaluate(model, "emoji", split="validation", cldr=tiny_cldr, progress=False)
    kivuko.evaluate(model, f"xm3600:{place / 'xm'}", captions="first", progress=False)
    assert sorted(file.name for file in (model / "evaluation").glob("*.jsonl")) == [
        "emoji-test.jsonl", "emoji-validation.jsonl", "xm3600-test-first-caption.jsonl",
    ]  # fmt: skip
    assert "| sw |" in (model / "README.md").read_text("utf-8"), "the card holds the figures of the test split"


def test_results_of_another_run_are_kept_beside_and_the_run_says_so(model, place, capsys):
    dataset = f"xm3600:{place / 'xm'}"
    first = kivuko.evaluate(model, dataset, alone=True)
    before = (first.path.read_bytes(), per_query_path(first.path).read_bytes())
    same = kivuko.evaluate(model, dataset, alone=True)
    assert same.path == first.path
    assert len(list(first.path.parent.glob("*.jsonl"))) == 1, "the same results replace themselves"
    assert "held the results of another run" not in capsys.readouterr().err
    before = (first.path.read_bytes(), per_query_path(first.path).read_bytes())
    other = kivuko.evaluate(model, dataset, alone=True, languages=["mi"])
    assert other.path == first.path
    assert f"{first.path} held the results of another run; they are kept as" in capsys.readouterr().err
    (kept,) = (file for file in first.path.parent.glob("*.jsonl") if file != first.path)
    assert (kept.read_bytes(), per_query_path(kept).read_bytes()) == before
    assert kivuko.Evaluation.load(kept).records == first.records


def test_trec_runs_of_another_run_are_kept_too(place, tmp_path):
    first = kivuko.evaluate(place / "text", f"trec:{place / 'c'}", records=tmp_path / "c.jsonl", progress=False)
    assert {path.name for path in first.run_paths()} == {
        "c.en.teacher.run", "c.sw.teacher.run", "c.sw.untrained.run", "c.sw.optical.run",
    }  # fmt: skip
    kivuko.evaluate(place / "text", f"trec:{place / 'c'}", alone=True, records=tmp_path / "c.jsonl", progress=False)
    assert [path.name for path in tmp_path.glob("c.*.run")] == ["c.sw.optical.run"]
    assert len(list(tmp_path.glob("c-*.run"))) == 4
    assert len(list(tmp_path.glob("c-*.per_query.parquet"))) == 1


def test_group_means_hold_languages_that_the_model_was_trained_on_or_that_are_named(model, place):
    about = json.loads((model / "kivuko.json").read_text("utf-8"))
    (model / "kivuko.json").write_text(json.dumps({**about, "bitext_sizes": {"sw": 1, "mi": 1}}), "utf-8")
    dataset = f"xm3600:{place / 'xm'}"

    def group(**options):
        result = kivuko.evaluate(model, dataset, alone=True, records=False, progress=False, **options)
        values = {
            r.language: r.value for r in result.records if r.dataset.endswith("text-to-image") and r.measure == "MAP"
        }
        return values.pop("low-resource"), values

    mean, values = group()
    assert set(values) == {"sw", "mi"}
    assert mean == pytest.approx(np.mean(list(values.values())))
    mean, values = group(languages=["sw", "mi", "quz"])
    assert mean == pytest.approx(np.mean([values[code] for code in ("sw", "mi", "quz")]))


class TwoPhotos:
    """A data set of one's own."""

    name = "two-photos"
    languages = ("sw",)
    folder = None

    def images(self):
        return [(file.name, file) for file in sorted(self.folder.glob("*.jpg"))]

    def queries(self, language):
        return [("paka", "a.jpg"), ("samaki", "b.jpg")]


def test_a_data_set_of_ones_own(model, tmp_path):
    scene.write_images(tmp_path / "photos", ["a.jpg", "b.jpg"])
    own = TwoPhotos()
    own.folder = tmp_path / "photos"
    result = kivuko.evaluate(model, own, alone=True, progress=False)
    assert {(record.language, record.queries) for record in result.records} == {("sw", 2), ("low-resource", 2)}
    assert result.path.name == "two-photos-all-every-caption.jsonl"


def test_a_model_that_kivuko_did_not_train_searches_emoji_too(model, tiny_cldr, few_test_concepts):
    (model / "kivuko.json").unlink()
    result = kivuko.evaluate(model, "emoji", languages=["sw"], cldr=tiny_cldr, records=False, progress=False)
    assert {record.objective for record in result.records} == {"model"}


def test_a_smaller_batch_gives_the_same_figures(place):
    dataset = f"xm3600:{place / 'xm'}"
    whole, small = (
        kivuko.evaluate(
            place / "model", dataset, alone=True, batch_size=size, records=False, device="cpu", progress=False
        )
        for size in (None, 2)
    )
    assert whole.records == small.records


def test_what_cannot_be_evaluated_is_one_line(place, tmp_path):
    with pytest.raises(ModelError, match="encodes text only"):
        kivuko.evaluate(place / "text", "emoji", progress=False)
    with pytest.raises(UsageError, match="captions is 'second'"):
        kivuko.evaluate(place / "model", "emoji", captions="second")
    with pytest.raises(UsageError, match="emoji has no split 'train'"):
        kivuko.evaluate(place / "model", "emoji", split="train")
    with pytest.raises(UsageError, match="unknown language code 'xx'"):
        kivuko.evaluate(place / "model", "emoji", languages=["xx"])


@pytest.mark.parametrize(
    ("call", "keywords", "message"),
    [
        (kivuko.evaluate, {"languages": [3]}, "languages=3: give language codes"),
        (kivuko.evaluate, {"languages": ()}, "languages: none named"),
        (kivuko.evaluate, {"split": 3}, "split=3: give the name of a split"),
        (kivuko.evaluate, {"batch_size": "x"}, "batch_size='x': choose a whole number"),
        (kivuko.evaluate, {"workers": 1.5}, "workers=1.5: choose a whole number"),
        (kivuko.evaluate, {"alone": "yes"}, "alone='yes': give True or False"),
        (kivuko.evaluate, {"records": 3}, "records=3: give a path"),
        (kivuko.attack, {"attacks": [3]}, "attacks=3: give attacks as text"),
        (kivuko.attack, {"attacks": "typo", "queries": 1.5}, "queries=1.5: choose a whole number"),
        (kivuko.attack, {"attacks": "typo", "languages": 3}, "languages=3: give language codes"),
    ],
)
def test_a_value_of_the_wrong_type_is_one_line(tmp_path, call, keywords, message):
    with pytest.raises(kivuko.KivukoError, match=re.escape(message)):
        call(tmp_path, **keywords)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"measure": 3}, "measure=3: give the name of a measure"),
        ({"objectives": "ab"}, "objectives='ab': give the names of two"),
        ({"trials": "many"}, "trials='many': choose a whole number"),
        ({"languages": [3]}, "languages=3: give language codes"),
        ({}, "result=3: give what evaluate or attack returned"),
    ],
)
def test_what_cannot_be_compared_is_one_line(keywords, message):
    with pytest.raises(kivuko.KivukoError, match=re.escape(message)):
        kivuko.compare(3, 4, **keywords)


def test_a_model_of_the_wrong_type_is_one_line():
    for call in (kivuko.evaluate, lambda model: kivuko.attack(model, attacks="typo")):
        with pytest.raises(kivuko.KivukoError, match="model=3: give a Model, a folder or an id"):
            call(3)


@pytest.fixture
def no_model_loads(monkeypatch):
    """Fail if a model is loaded: what is wrong must be seen before that."""
    monkeypatch.setattr("kivuko.encoders.model._load", lambda source: pytest.fail(f"{source} was loaded"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"languages": ["sw", "tlh"]}, "no annotations for language 'tlh'"),
        ({"font": "no-font.ttf"}, "no such font file"),
        ({"cldr": "no-cldr"}, "not a CLDR folder"),
        ({"records": "file/records.jsonl"}, "there is a file where a folder is needed"),
        ({"split": "tests"}, "emoji has no split 'tests'"),
    ],
)
def test_what_cannot_work_is_refused_before_a_model_is_loaded(
    place, tiny_cldr, tmp_path, monkeypatch, no_model_loads, options, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    for call in (kivuko.evaluate, lambda *given, **named: kivuko.attack(*given, attacks="typo", **named)):
        with pytest.raises(kivuko.KivukoError, match=message):
            call(place / "model", "emoji", **{"cldr": tiny_cldr, **options})


def test_a_cache_that_cannot_be_written_is_named_before_a_model_is_loaded(
    place, tiny_cldr, tmp_path, monkeypatch, no_model_loads
):
    (tmp_path / "file").touch()
    monkeypatch.setenv("KIVUKO_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(kivuko.KivukoError, match="file/cache/emoji/world: there is a file where a folder is needed"):
        kivuko.evaluate(place / "model", "emoji", cldr=tiny_cldr, records=False)


def test_a_place_of_examples_is_checked_before_a_model_is_loaded(place, tiny_cldr, tmp_path, no_model_loads):
    (tmp_path / "file").touch()
    for name in ("examples", "images"):
        with pytest.raises(kivuko.KivukoError, match="there is a file where a folder is needed"):
            kivuko.attack(place / "model", "emoji", "typo", cldr=tiny_cldr, **{name: tmp_path / "file" / "x"})


def test_a_card_that_cannot_be_written_is_a_note(model, tiny_cldr, few_test_concepts, tmp_path, capsys):
    (model / "README.md").unlink()
    (model / "README.md").mkdir()
    result = kivuko.evaluate(model, "emoji", cldr=tiny_cldr, records=tmp_path / "r.jsonl")
    assert result.path.is_file()
    assert "note: the figures are not in the model's card: " in capsys.readouterr().err
