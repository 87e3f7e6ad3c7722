"""The command line as a user meets it."""

from __future__ import annotations

import importlib
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_checks import help_without_heavy_imports
from PIL import Image

from kivuko.cli.main import COMMANDS
from kivuko.datasets.emoji.phrases import read_phrases
from kivuko.evaluation.records import read_per_query, read_records, read_results
from kivuko.studies.demo import run_demo
from once import made_once


@pytest.fixture
def kivuko(run_here):
    """Run a command in this process: (exit status, standard output, standard error)."""
    return run_here


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """One real run of the demo, in a process of its own, with few steps, two languages and few words of the teacher."""

    def run(folder):
        code = (
            "from kivuko.cli import main\n"
            "from kivuko.training import initialization\n"
            "initialization._MOST = 2_000  # as few_teacher_words has it\n"
            "main()\n"
        )
        command = [sys.executable, "-c", code]
        words = ["demo", "--out", str(folder / "out"), "--languages", "sw", "de", "--steps", "60"]
        done = subprocess.run([*command, *words], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    folder, printed = made_once(tmp_path_factory, "demo", run)
    return folder / "out", printed


def refused(result: tuple[int, str, str], *told: str) -> None:
    """Check for exit status 2 and one line on standard error that tells all of ``told``."""
    status, _, err = result
    assert status == 2
    lines = [line for line in err.splitlines() if line.startswith("kivuko: ")]
    assert len(lines) == 1, err
    assert "Traceback" not in err
    for word in told:
        assert word in lines[0]


def test_help_names_every_command_and_imports_no_torch():
    told = help_without_heavy_imports()
    for name in ("demo", "data", "distill", "evaluate", "search", "align", "study"):
        assert f"  {name} " in told


@pytest.mark.parametrize(
    "command", [["demo"], ["data", "emoji"], ["distill"], ["evaluate"], ["search"], ["study", "low-resource"]]
)
def test_every_help_has_an_example(kivuko, command):
    status, out, _ = kivuko(*command, "--help")
    assert status == 0
    assert "kivuko " + " ".join(command) in out.split("Example", 1)[1]


def test_demo_leaves_a_model_records_and_a_image(demo):
    out, printed = demo
    header, records = read_records(out / "records.jsonl")
    assert header.command.endswith("--steps 60")
    assert {record.objective for record in records} == {"teacher", "untrained", "optical-words", "mse"}
    assert {"R@1", "R@5", "R@10", "MAP", "MRR", "nDCG@10", "parity"} <= {record.measure for record in records}
    assert all(record.low <= record.value <= record.high for record in records)
    assert read_per_query(out / "records.jsonl")
    with Image.open(out / "examples.png") as image:
        assert image.width > 600
    card = (out / "model" / "README.md").read_text("utf-8")
    figure = next(
        r
        for r in records
        if (r.objective, r.language, r.subset, r.measure) == ("optical-words", "sw", "headline", "MAP")
    )
    assert f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]" in card
    assert "fertility" in card
    assert "kivuko search" in printed
    assert not list(out.glob("*.training"))


def test_the_demo_measures_everyday_phrases_beside_the_names(demo):
    out, printed = demo
    header, records = read_records(out / "records.jsonl")
    assert header.protocol["dataset"] == "emoji"
    assert "one query per everyday phrase" in header.protocol["emoji-phrases"]["task"]
    names, phrases = ([r for r in records if r.dataset == one] for one in ("emoji", "emoji-phrases"))
    assert len(names) + len(phrases) == len(records)
    assert {r.measure for r in names} == {"R@1", "R@5", "R@10", "MAP", "MRR", "nDCG@10", "parity"}
    measured = {(r.objective, r.language) for r in phrases if r.measure == "Success@5" and r.subset == "all"}
    assert {(o, c) for o in ("teacher", "untrained", "optical-words", "mse") for c in ("sw", "de")} < measured
    assert {r.queries for r in phrases if r.language == "sw"} == {len(read_phrases().of("sw"))}
    value = {(r.objective, r.language): r.value for r in phrases if r.measure == "Success@5" and r.subset == "all"}
    assert value["optical-words", "sw"] > value["teacher", "sw"]
    assert value["teacher", "en"] > 0.8 > 0.2 > value["untrained", "sw"]
    names_table, table = printed.split("optical-words: emoji-phrases, test")
    assert f"{value['optical-words', 'sw']:.3f} [" in next(
        row for row in table.splitlines() if row.startswith("sw Swahili")
    )
    assert "a right emoji is among the first five" in table
    key = ("optical-words", "sw", "headline", "MAP")
    shown = next(r for r in names if (r.objective, r.language, r.subset, r.measure) == key)
    assert f"{shown.value:.3f} [{shown.low:.3f}, {shown.high:.3f}]" in names_table
    read_results(out / "records.jsonl")  # which checks records and per-query scores against each other


def test_the_demo_command_and_the_call_give_the_same_records(demo):
    """The models of the same job are reused, so that only the measuring is repeated."""
    out, _ = demo
    records = read_records(out / "records.jsonl")[1]
    weights = {file: file.read_bytes() for file in out.glob("model/**/*.safetensors")}
    _, repeated = run_demo(out, ["sw", "de"], steps=60, progress=False)
    assert repeated == list(records)
    assert weights == {file: file.read_bytes() for file in out.glob("model/**/*.safetensors")} != {}


def test_demo_ends_with_the_two_commands_that_open_the_page(demo):
    """They name what the demo built, and each is a command that there is, with these options."""
    out, printed = demo
    index, serve = [line.split() for line in printed.rstrip().splitlines()[-2:]]
    assert index[-6:] == ["index", f"{out}/model", "--dataset", "emoji", "--out", f"{out}/emoji.index"]
    assert serve[-2:] == ["serve", f"{out}/emoji.index"]
    assert any(" attack " in line and f"{out}/model" in line for line in printed.splitlines())
    for words in (index[-6:], serve[-2:]):
        command = importlib.import_module(COMMANDS[words[0]][0]).command
        command.make_context(words[0], words[1:])


def test_demo_teacher_is_the_ceiling_and_training_beats_the_floor(demo):
    _, records = read_records(demo[0] / "records.jsonl")
    found = {(r.objective, r.language, r.measure): r.value for r in records if r.subset == "headline"}
    assert found["teacher", "en", "R@1"] > 0.9
    assert (
        found["untrained", "sw", "R@10"] < 0.05 < found["optical-words", "sw", "R@10"] < found["teacher", "en", "R@10"]
    )
    assert found["optical-words", "sw", "parity"] == pytest.approx(
        found["optical-words", "sw", "MAP"] / found["teacher", "en", "MAP"]
    )


def test_model_loads_with_sentence_transformers_alone(demo, tmp_path):
    """In a fresh process in which kivuko cannot be imported."""
    code = (
        "import sys; sys.modules['kivuko'] = None\n"
        "from PIL import Image\n"
        "from sentence_transformers import SentenceTransformer\n"
        f"model = SentenceTransformer({str(demo[0] / 'model')!r})\n"
        "texts = model.encode(['paka mweusi', 'schwarze Katze'])\n"
        "images = model.encode([Image.new('RGB', (136, 136), 'red')])\n"
        "assert texts.shape == (2, 384) and images.shape == (1, 384), (texts.shape, images.shape)\n"
        "assert abs((texts ** 2).sum(1) - 1).max() < 1e-4\n"
        "assert model.similarity(texts, images).shape == (2, 1)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_search_prints_json_and_draws(kivuko, demo, tmp_path):
    image = tmp_path / "out.png"
    status, out, _ = kivuko(
        "search", str(demo[0] / "model"), "paka", "mweusi", "--json", "-k", "5", "--save", str(image)
    )
    assert status == 0
    hits = [json.loads(line) for line in out.splitlines()]
    assert [hit["rank"] for hit in hits] == [1, 2, 3, 4, 5]
    assert all(before["score"] >= after["score"] for before, after in itertools.pairwise(hits))
    with Image.open(image) as drawn:
        assert drawn.format == "PNG"


def test_evaluate_agrees_with_the_demo(kivuko, demo, tmp_path):
    """The same model measured again gives the same figures."""
    place = tmp_path / "again.jsonl"
    card = demo[0] / "model" / "README.md"
    before = card.read_text("utf-8")
    card.write_text("no figures", encoding="utf-8")
    status, out, err = kivuko("evaluate", str(demo[0] / "model"), "--languages", "sw", "de", "--records", str(place))
    assert status == 0, err
    assert "Swahili" in out
    assert card.read_text("utf-8") == before  # the card's figures are written anew

    def figures(path: Path) -> dict[tuple[str, str, str], float]:
        _, records = read_records(path)
        own = [r for r in records if (r.dataset, r.objective) == ("emoji", "optical-words")]
        return {(r.language, r.subset, r.measure): r.value for r in own}

    assert figures(place) == pytest.approx(figures(demo[0] / "records.jsonl"))


def test_distill_from_a_file_counts_what_it_drops(kivuko, tmp_path):
    lines = [f"neno{i} nyumba{i % 7}\tword{i} house{i % 7}" for i in range(200)] + ["hakuna safu", "\tempty"]
    (tmp_path / "sw.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    out = tmp_path / "model"
    words = ["--bitext", f"sw={tmp_path / 'sw.tsv'}", "--out", str(out), "--steps", "20", "--vocabulary-size", "300"]
    status, _, err = kivuko("distill", *words)
    assert status == 0, err
    assert "missing column" in err
    assert "empty side" in err
    assert (out / "modules.json").is_file()
    status, _, err = kivuko("distill", *words)
    assert status == 0
    assert "made before" in err


def test_bad_input_gives_one_line(kivuko, demo, tmp_path, monkeypatch):
    good = tmp_path / "good.tsv"
    good.write_text("paka\tcat\nmbwa\tdog\nndege\tbird\n", encoding="utf-8")
    latin = tmp_path / "latin.tsv"
    latin.write_bytes("mañana\ttomorrow\n".encode("latin-1"))
    columns = tmp_path / "columns.tsv"
    columns.write_text("paka,cat\nmbwa,dog\n", encoding="utf-8")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "note.txt").write_text("mine")
    out = str(tmp_path / "m")
    refused(kivuko("data", "emoji", "--languages", "xx"), "xx")
    refused(kivuko("data", "emoji", "--languages", "quz"), "quz", "annotations")
    refused(kivuko("data", "emoji", "--cldr", str(tmp_path)), str(tmp_path))
    refused(kivuko("data", "emoji", "--font", str(tmp_path / "no.ttf")), "no.ttf")
    refused(kivuko("search", str(tmp_path / "none"), "paka"), "none")
    refused(kivuko("search", str(tmp_path / "folder"), "paka"), "modules.json")
    refused(kivuko("search", str(demo[0] / "model"), " "), "empty")
    refused(kivuko("distill", "--bitext", f"sw={tmp_path / 'no.tsv'}", "--out", out), "no.tsv")
    refused(kivuko("distill", "--bitext", f"sw={latin}", "--out", out), "latin.tsv:1", "iconv")
    refused(kivuko("distill", "--bitext", f"sw={columns}", "--out", out), "columns.tsv:1")
    refused(kivuko("distill", "--bitext", f"xx={good}", "--out", out), "xx")
    refused(kivuko("distill", "--bitext", str(good), "--out", out), "CODE=FILE")
    refused(kivuko("distill", "--bitext", f"sw={good}", "--recipe", "optial", "--out", out), "optial")
    refused(
        kivuko("distill", "--bitext", f"sw={good}", "--teacher", str(tmp_path / "t"), "--out", out), str(tmp_path / "t")
    )
    refused(
        kivuko("distill", "--bitext", f"sw={good}", "--out", str(tmp_path / "folder")), "folder", "not a Kivuko model"
    )
    refused(kivuko("distill", "--bitext", f"sw={good}", "--image-tower", str(tmp_path), "--out", out), "image tower")
    assert not Path(out).exists()
    assert [entry.name for entry in (tmp_path / "folder").iterdir()] == ["note.txt"]


def test_full_disk_is_one_line_and_leaves_nothing(kivuko, tmp_path, monkeypatch):
    (tmp_path / "sw.tsv").write_text("".join(f"neno{i}\tword{i}\n" for i in range(60)), encoding="utf-8")
    out = tmp_path / "model"

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    words = ["--bitext", f"sw={tmp_path / 'sw.tsv'}", "--out", str(out), "--steps", "5", "--vocabulary-size", "200"]
    monkeypatch.setattr(os, "fsync", full)
    refused(kivuko("distill", *words), "disk is full")
    assert not out.exists()
    assert not list(tmp_path.rglob("*.tmp"))


def test_the_languages_of_the_emoji_world_are_named(kivuko):
    status, out, err = kivuko("data", "emoji", "--list")
    assert (status, err) == (0, "")
    assert "sw Swahili" in out
    assert "root" not in out
