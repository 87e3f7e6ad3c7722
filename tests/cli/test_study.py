"""``kivuko study low-resource``: what it refuses, and what it leaves behind."""

from __future__ import annotations

import io
import json

import pytest
from command_checks import help_without_heavy_imports, refused
from rich.console import Console

from kivuko.cli.study import attacked_table, means_table
from kivuko.evaluation.records import Record
from kivuko.studies.engine import run_study
from kivuko.studies.grid import read_sizes
from kivuko.studies.low_resource import LOW_RESOURCE
from kivuko.studies.runs import save_run

WORDS = ("study", "low-resource")


def test_help_has_examples_and_imports_nothing_heavy():
    message = help_without_heavy_imports(*WORDS)
    assert "kivuko study low-resource --quick" in message.split("Examples", 1)[1]


@pytest.fixture
def no_work(monkeypatch, tmp_path):
    """Fail if any work is begun; the records would lie in a folder of the test's own."""

    def never(*_: object, **__: object) -> None:
        raise AssertionError("work was begun")

    monkeypatch.setattr("kivuko.studies.data.emoji_world", never)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--recipe", "nosuch"], "no recipe 'nosuch'"),
        (["--seeds", "0"], "--seeds"),
        (["--sizes", "100", "many"], "--sizes many"),
        (["--sizes", "0"], "at least 1"),
        (["--steps", "0"], "--steps"),
        (["--workers", "0"], "--workers"),
        (["--languages", "fi", "de"], "low-resource"),
        (["--quick", "--larger"], "contradict"),
        (["--translator", "x", "--no-translation"], "contradict"),
        (["--translator", "./nosuch"], "no such model folder"),
        (["--fraction", "0.2"], "--fraction"),
        (["--recipe", "mse", "mse.toml"], "of one name"),
        (["--recipe", "lexical.toml"], "another name"),
        (["--records", "folder"], "there is a folder"),
        (["--records", "mse.toml/r.jsonl"], "there is a file"),
        (["--records", "mse.toml"], "nothing was replaced"),
        (["--records", "other.jsonl"], "nothing was replaced"),
        (["--records", "busy.jsonl"], "busy.jsonl.runs"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_before_the_work(run_here, no_work, words, message):
    for name in ("mse.toml", "lexical.toml"):
        (no_work / name).write_text('[[objective]]\nkind = "mse"\n')
    (no_work / "folder").mkdir()
    (no_work / "busy.jsonl.runs").write_text("")
    (no_work / "other.jsonl").write_text(json.dumps({"kind": "header", "protocol": {"dataset": "emoji"}}) + "\n")
    refused(run_here(*WORDS, *words), message)


def test_a_size_larger_than_a_language_has_is_refused(run_here, tiny_cldr, few_test_concepts, tmp_path, monkeypatch):
    monkeypatch.setattr("kivuko.studies.inputs.study_inputs", lambda *_, **__: pytest.fail("work was begun"))
    monkeypatch.setenv("KIVUKO_CACHE", str(tmp_path / "cache"))
    words = ("--languages", "sw", "mr", "--cldr", str(tiny_cldr), "--records", str(tmp_path / "r.jsonl"))
    refused(run_here(*WORDS, *words, "--sizes", "5", "1000"), "--sizes 1000", "training pairs")


def test_sizes_are_read_with_spaces_or_commas_and_once_each():
    assert read_sizes(("100", "300,all", "100")) == (100, 300, None)
    assert read_sizes((100, None)) == (100, None)


def test_the_table_has_the_mean_over_seeds_of_each_objective_and_size():
    def record(objective, size, seed, value, split="test"):
        return Record(
            dataset="emoji", split=split, model="static", objective=objective, bitext_size=size, seed=seed,
            subset="headline", language="low-resource", measure="MAP", value=value, low=value, high=value, queries=3,
        )  # fmt: skip

    records = [record("teacher", None, None, 0.1), record("mse", 100, 0, 0.2), record("mse", 100, 1, 0.4),
               record("mse", 100, 2, 0.9, "validation")]  # fmt: skip
    table = means_table(records, "emoji", "cosine")
    assert [list(column.cells) for column in table.columns] == [["teacher", "mse"], ["0.100", ""], ["", "0.300"]]


def test_the_command_and_the_call_give_the_same_records_and_what_is_next_is_printed(
    run_here, tiny_cldr, few_test_concepts, tmp_path, monkeypatch
):
    """The command's runs are made by a worker, those of the call in this process."""
    records, optical = tmp_path / "r.jsonl", tmp_path / "optical.toml"
    optical.write_text('[[objective]]\nkind = "transport"\nregularization = 0.1\n')
    words = (*WORDS, "--recipe", "mse", str(optical), "--sizes", "8", "--seeds", "1", "--steps", "2",
             "--no-translation",
             "--languages", "sw", "mr", "--cldr", str(tiny_cldr), "--workers", "1",
             "--records", str(records))  # fmt: skip
    status, out, err = run_here(*words)
    assert status == 0, err
    assert "optical, 8 pairs, seed 0" in err
    assert out.count("mse ") == 2
    assert any(line.startswith("optical ") for line in out.splitlines()), "a recipe file is a row as others are"
    assert f"Next: kivuko report {records}" in out.replace("\n", " ")
    first = records.read_text("utf-8").splitlines()[1:]
    status, out, err = run_here(*words)
    assert status == 0, err
    assert "0 to go" in err
    assert records.read_text("utf-8").splitlines()[1:] == first

    def run_all_here(todo, inputs, prepare, scratch, workers, watch):
        perform = prepare(inputs)
        for file in todo:
            save_run(file, perform(file))

    monkeypatch.setattr("kivuko.studies.engine.run_all", run_all_here)
    recipes = ["mse", str(optical)]
    run_study(LOW_RESOURCE, tmp_path / "call.jsonl", recipes=recipes, sizes=[8], seeds=1, steps=2, translation=False,
              languages=["sw", "mr"], cldr=tiny_cldr, workers=1)  # fmt: skip
    assert (tmp_path / "call.jsonl").read_text("utf-8").splitlines()[1:] == first
    status, out, _ = run_here("report", str(records), "--out", str(tmp_path / "page.html"))
    assert status == 0


def test_the_table_under_attack_fits_80_columns_with_every_heading_whole():
    attacks = {"typo": 2.0, "greedy:candidates=8,kinds=typo": 1.0, "gaussian-noise": 3.0,
               "apgd:steps=5,warm_start=true,crafted=english": 8 / 255, "apgd:steps=3": 8 / 255}  # fmt: skip
    records = [
        Record(
            dataset="emoji", split="test", model="static+emoji", objective="translate-test", bitext_size=1000, seed=0,
            attack=attack, budget=budget, subset="headline", language="low-resource", measure="MAP", value=0.5,
            low=0.4, high=0.6, queries=3,
        )
        for attack, budget in attacks.items()
    ]  # fmt: skip
    printed = io.StringIO()
    Console(file=printed, width=80).print(attacked_table(records))
    lines = printed.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[1].split() == ["typo", "greedy", "gaussian-noise", "apgd", "english", "apgd", "own"]
    assert lines[2].split() == ["objective", "clean", *["2", "edits", "1", "edit", "severity", "3", "8/255", "8/255"]]
