"""``kivuko.distill``: the call and the command make the same model, and what cannot work is refused at once."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from PIL import Image
from safetensors import safe_open

import kivuko
from kivuko.cli.main import main
from kivuko.encoders.model import read_about
from kivuko.errors import DataError, ModelError, UsageError
from tiny_bert import save_teacher

QUICK = {"steps": 3, "vocabulary_size": 200, "image_tower": "none"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a small bitext, sw.tsv, and a tiny teacher; read only."""
    place = tmp_path_factory.mktemp("distill")
    save_teacher(place / "teacher", ["the", "cat", "house", *(f"word{n}" for n in range(40))], 24)
    lines = [f"neno{number} paka\tword{number} cat\n" for number in range(40)]
    (place / "sw.tsv").write_text("".join(lines), encoding="utf-8")
    (place / "so.tsv").write_text("".join(line.replace("paka", "bisad") for line in lines), encoding="utf-8")
    return place


@pytest.fixture
def distill(place, monkeypatch):
    """Distill from the small bitext with the tiny teacher."""
    monkeypatch.setenv("KIVUKO_CACHE", str(place / "cache"))

    def run(out, bitext=None, **options):
        given = QUICK | {"teacher": place / "teacher", "progress": False} | options
        return kivuko.distill({"sw": place / "sw.tsv"} if bitext is None else bitext, out, **given)

    return run


def files(folder):
    """All tensors in a folder's files, and these files' metadata, whose order in a file is random."""
    contents = {}
    for file in folder.rglob("*.safetensors"):
        with safe_open(file, framework="pt") as stored:
            tensors = {key: stored.get_tensor(key).numpy().tobytes() for key in stored.keys()}  # noqa: SIM118
            contents[str(file.relative_to(folder))] = tensors, stored.metadata()
    return contents


def test_the_command_and_the_call_make_the_same_model(distill, place, tmp_path, monkeypatch):
    words = [
        "distill", "--bitext", f"sw={place / 'sw.tsv'}", f"so={place / 'so.tsv'}", "--out", str(tmp_path / "command"),
        "--teacher", str(place / "teacher"), "--steps", "3", "--vocabulary-size", "200", "--image-tower", "none",
        "--seed", "7", "--batch-size", "16", "--learning-rate", "0.01", "--validation-share", "0.1", "--device", "cpu",
    ]  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["kivuko", *words])
    main()
    sources = {"sw": place / "sw.tsv", "so": kivuko.read_bitext(place / "so.tsv", "so")}
    options = {"seed": 7, "batch_size": 16, "learning_rate": 0.01, "validation_share": 0.1, "device": "cpu"}
    model = distill(tmp_path / "call", sources, **options)
    assert files(tmp_path / "command") == files(tmp_path / "call")
    assert read_about(tmp_path / "command") == read_about(tmp_path / "call") == model.about
    assert model.languages == ("sw", "so")
    assert model.encode_text(["paka"]).shape == (1, 24)


def test_a_configuration_file_makes_the_same_model_as_options(place, tmp_path, monkeypatch):
    monkeypatch.setenv("KIVUKO_CACHE", str(place / "cache"))
    options = ["--teacher", str(place / "teacher"), "--image-tower", "none"]
    words = ["--bitext", f"sw={place / 'sw.tsv'}", "--steps", "3", "--vocabulary-size", "200", "--seed", "7"]
    config = tmp_path / "config.toml"
    lines = [f'bitext = {{sw = "{place / "sw.tsv"}"}}', "steps = 3", "vocabulary_size = 200", "seed = 7"]
    config.write_text("\n".join(lines) + "\n", encoding="utf-8")
    for name, given in (("options", words), ("config", ["--config", str(config)])):
        monkeypatch.setattr(sys, "argv", ["kivuko", "distill", "--out", str(tmp_path / name), *options, *given])
        main()
    assert files(tmp_path / "options") == files(tmp_path / "config")
    assert read_about(tmp_path / "options") == read_about(tmp_path / "config")


def test_several_sources_of_a_language_are_joined(distill, place, tmp_path):
    model = distill(tmp_path / "m", {"sw": [place / "sw.tsv", kivuko.Bitext((kivuko.Pair("sw", "a", "b", "c"),))]})
    assert sum(model.about.bitext_sizes.values()) in (38, 39, 40)


def test_options_change_the_recipe(distill, tmp_path):
    plain = distill(tmp_path / "plain")
    for name, options in (("batch", {"batch_size": 8}), ("rate", {"learning_rate": 0.1}), ("seed", {"seed": 1})):
        other = distill(tmp_path / name, **options)
        assert other.about.run != plain.about.run
        assert files(tmp_path / name) != files(tmp_path / "plain")
    epochs = distill(tmp_path / "epochs", steps=None, epochs=1.5, batch_size=10)
    steps = distill(tmp_path / "steps", steps=-(-epochs.about.bitext_sizes["sw"] * 3 // 20), batch_size=10)
    assert epochs.about.run == steps.about.run


def test_the_learning_curve_is_kept_with_the_model(distill, tmp_path, capsys):
    model = distill(tmp_path / "m", steps=60, patience=1, accumulation=2, batch_size=5, log_to="tensorboard")
    curve = [json.loads(line) for line in (model.path / "training.jsonl").read_text().splitlines()]
    scored = {one["step"]: one["validation"] for one in curve if "validation" in one}
    assert max(scored, key=scored.get) == model.about.best_step
    assert scored[model.about.best_step] == model.about.validation_score
    with Image.open(model.path / "training.png") as drawn:
        assert (drawn.format, drawn.size) == ("PNG", (1600, 640))
    assert "](training.png)" in (model.path / "README.md").read_text()
    assert [*(tmp_path / "m.log").iterdir()]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patience": -1}, "patience"),
        ({"accumulation": 0}, "accumulation"),
        ({"log_to": "aim"}, "choose one of tensorboard, trackio, wandb"),
    ],
)
def test_bad_options_of_training_are_one_line(distill, tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        distill(tmp_path / "m", **options)
    assert not (tmp_path / "m").exists()


def test_the_same_call_again_trains_nothing_and_another_one_replaces(distill, tmp_path, capsys):
    first = distill(tmp_path / "m", progress=None)
    assert "nothing to do" not in capsys.readouterr().err
    again = distill(tmp_path / "m", progress=None)
    assert "m: nothing to do: made before" in capsys.readouterr().err
    assert again.about == first.about
    distill(tmp_path / "m", seed=1, progress=None)
    told = capsys.readouterr().err
    assert "made with other settings; it and its evaluation are replaced" in told
    assert "Fewer than 1,000 pairs per language" in told
    assert "hardly distinguish one step from another" in told


def test_progress_false_prints_nothing(distill, tmp_path, capsys):
    distill(tmp_path / "m")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"steps": 3, "epochs": 2.0}, UsageError, "steps=3 and epochs=2.0 contradict each other"),
        ({"epochs": float("nan"), "steps": None}, UsageError, "epochs=nan"),
        ({"steps": 0}, UsageError, "steps=0: choose a whole number of at least 1."),
        ({"batch_size": 0}, UsageError, "batch_size=0: choose a whole number of at least 1."),
        ({"learning_rate": -1.0}, UsageError, "learning_rate=-1.0: choose a number above 0."),
        ({"learning_rate": float("inf")}, UsageError, "learning_rate=inf: choose a number above 0."),
        ({"epochs": "3", "steps": None}, UsageError, "epochs='3': choose a number above 0."),
        ({"vocabulary_size": 10}, UsageError, "vocabulary_size=10: choose a whole number from 100 to 1,000,000."),
        ({"validation_share": 0.0}, UsageError, "validation_share=0.0"),
        ({"validation_share": "0.1"}, UsageError, "validation_share='0.1': choose a number above 0, up to 0.5."),
        ({"seed": -1}, UsageError, "seed=-1"),
        ({"seed": "a"}, UsageError, "seed='a': choose a whole number from 0 to 2**63 - 1."),
        ({"teacher": 5}, UsageError, "teacher=5: give a hub id or a folder, as text or a Path."),
        ({"teacher_prompt": 5}, UsageError, "teacher_prompt=5: give text."),
        (
            {"student": None},
            UsageError,
            "student=None: give auto, static, static+ENCODER, small, a hub id or a folder, as text or a Path.",
        ),
        ({"image_tower": 5}, UsageError, "image_tower=5"),
        ({"multi_vector": 5}, UsageError, "multi_vector=5: give a folder, as text or a Path."),
        ({"progress": "yes"}, UsageError, "progress='yes': give True, False or None."),
        ({"device": 0}, UsageError, "device=0: give torch's name of a device, such as cpu."),
        ({"cldr": 5}, UsageError, "cldr=5: give a path"),
        ({"device": "tpu9"}, UsageError, "device tpu9: not available here"),
        ({"recipe": "optial"}, UsageError, "no recipe 'optial'"),
        ({"recipe": 5}, UsageError, "recipe=5: give a recipe's name, a .toml file or a Recipe, as text or a Path."),
        ({"bitext": {}}, UsageError, "no bitext"),
        ({"bitext": "sw.tsv"}, UsageError, "bitext='sw.tsv': give a file for each language, such as {'sw': 'sw.tsv'}."),
        ({"bitext": {"sw": 5}}, UsageError, "bitext['sw']=5: give a Bitext, a file or a list of these"),
        ({"bitext": {"sw": None}}, UsageError, "bitext['sw']=None: give a Bitext, a file or a list of these"),
        ({"bitext": {"sw": [("paka", "cat")]}}, UsageError, "bitext['sw']=('paka', 'cat'): give a Bitext, a file"),
        ({"bitext": {5: "sw.tsv"}}, UsageError, "language=5: give a language code, such as 'sw'."),
        ({"bitext": {"xx": "x.tsv"}}, UsageError, "xx"),
        ({"bitext": {"sw": "missing.tsv"}}, DataError, "missing.tsv: no such file"),
        ({"bitext": {"so": kivuko.Bitext((kivuko.Pair("sw", "a", "b", "c"),))}}, UsageError, "holds sentences in sw"),
    ],
)
def test_what_cannot_work_is_refused_before_training(distill, tmp_path, options, error, message):
    with pytest.raises(error) as problem:
        distill(tmp_path / "m", **options)
    assert message in str(problem.value)
    assert "\n" not in str(problem.value)
    assert not (tmp_path / "m").exists()


def test_no_folder_is_refused(distill):
    with pytest.raises(UsageError, match=r"^out=None: give a folder, as text or a Path\.$"):
        distill(None)


def test_a_foreign_folder_is_refused(distill, tmp_path):
    (tmp_path / "thesis.tex").write_text("years")
    with pytest.raises(ModelError, match="not a Kivuko model; nothing was replaced"):
        distill(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]


def test_cheap_checks_come_before_slow_imports(tmp_path):
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "note").write_text("mine")
    (tmp_path / "sw.tsv").write_text("paka\tcat\n")
    code = """
import sys, kivuko
bitext = {"sw": "sw.tsv"}
for bitext, out, options in (
    ({"sw": "no.tsv"}, "m", {}), ({"xx": "no.tsv"}, "m", {}), (bitext, "foreign", {}), (bitext, None, {}),
    (bitext, "m", {"recipe": "optial"}), (bitext, "m", {"steps": 0}), (bitext, "m", {"learning_rate": "1"}),
):
    try: kivuko.distill(bitext, out, **options)
    except kivuko.KivukoError as problem: print(problem)
assert not {"torch", "transformers"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 7
