"""``kivuko doctor`` as a user meets it."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from command_checks import help_without_heavy_imports, refused

from kivuko.doctor.examination import examine

sys.path.insert(0, str(Path(__file__).parents[1] / "doctor"))  # for patients, under any import mode

from patients import make_index, make_model, make_teacher, shuffle_tokenizer, write_bitext, write_cldr


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a healthy model, its teacher, a index, CLDR's names in Swahili, and a bitext; read only."""
    place = tmp_path_factory.mktemp("doctor-command")
    make_teacher(place / "teacher")
    make_model(place / "model", place / "teacher")
    make_index(place / "my.index", place / "model")
    write_cldr(place / "cldr")
    write_bitext(place / "sw.tsv")
    return place


@pytest.fixture
def doctor(run_here, place):
    return lambda *words, model="model": run_here("doctor", str(place / model), *words, "--cldr", str(place / "cldr"))


def test_a_healthy_model(doctor):
    status, out, err = doctor()
    assert status == 0, err
    assert "ok      agreement sw: 100% of 80 sentences" in out
    assert "fault" not in out
    last = out.splitlines()[-1]
    assert last.endswith("2 notes.")  # on protocol, as for every model of images


def test_with_its_index(doctor, place):
    status, out, _ = doctor("--index", str(place / "my.index"))
    assert status == 0
    assert "ok      index: " in out
    assert "→ " in out


def test_the_former_name_of_the_option_still_works(doctor, place):
    _, out, err = doctor("--gallery", str(place / "my.index"))
    assert "ok      index: " in out
    assert err == "note: --gallery is now --index; the old name works for one more release.\n"


def test_a_fault_ends_with_status_1_and_says_what_to_do(run_here, place, tmp_path):
    sick = shutil.copytree(place / "model", tmp_path / "sick")
    shuffle_tokenizer(sick)
    status, out, err = run_here("doctor", str(sick), "--cldr", str(place / "cldr"))
    assert status == 1
    assert err == ""
    lines = out.splitlines()
    (found,) = [number for number, line in enumerate(lines) if line.startswith("fault")]
    assert "no better than chance" in lines[found]
    assert lines[found + 1].strip().startswith("→ A wrong tokenizer")
    assert lines[-1].startswith(f"{sick}: 1 fault, ")


def test_json(doctor, place):
    status, out, _ = doctor(
        "--json", "-l", "sw", "--bitext", f"sw={place / 'sw.tsv'}", "--teacher", str(place / "teacher")
    )
    assert status == 0
    told = json.loads(out)
    assert told["level"] == "note"
    (agreement,) = [one for one in told["findings"] if one["check"] == "agreement"]
    assert agreement["figures"]["R@1"] == 1.0
    assert "sw.tsv" in agreement["what"]


def test_a_language_without_sentences_is_a_note(run_here, place):
    status, out, _ = run_here("doctor", str(place / "model"), "-l", "quz")
    assert status == 0
    assert "note    tokens quz: no sentences to try" in out
    assert "--bitext quz=FILE" in out
    assert "note    training quz: the model was not trained on it" in out


def test_each_thing_is_said_once(run_here, place, tmp_path):
    lines = "".join(f"z{line}" for line in (place / "sw.tsv").read_text("utf-8").splitlines(keepends=True))
    (tmp_path / "so.tsv").write_text(lines, encoding="utf-8")
    bitext = [f"so={tmp_path / 'so.tsv'}", f"mr={tmp_path / 'so.tsv'}"]
    _, out, _ = run_here("doctor", str(place / "model"), "-l", "so", "mr", "-b", *bitext)
    assert out.count("the model was not trained on it") == 2, "once for each language"
    assert "agreement so: the model was not trained on it and does not know it" in out
    said = [line for line in out.splitlines() if not line.startswith(" ")]
    assert len(said) == len(set(said))


def test_the_call_gives_what_the_command_gives(doctor, place):
    out = doctor("--json", "--index", str(place / "my.index"))[1]
    called = examine(place / "model", index=place / "my.index", cldr=place / "cldr", progress=False)
    assert json.loads(out)["findings"] == json.loads(json.dumps([asdict(one) for one in called]))


def test_refusals(doctor, run_here, place, tmp_path):
    refused(run_here("doctor", str(tmp_path / "none")), "no such model folder")
    refused(doctor("--index", str(tmp_path / "none")), "no such index")
    refused(doctor("--teacher", str(tmp_path / "none")), "no such model folder")
    refused(doctor("--bitext", "sw.tsv"), "CODE=FILE")
    refused(doctor("--bitext", f"sw={tmp_path / 'none.tsv'}"), "none.tsv")
    refused(doctor("-l", "xx"), "unknown language code")
    refused(doctor("-l", "so"), "so")  # no names in the folder that was given


def test_help_has_an_example_and_is_quick():
    assert "kivuko doctor my-model --index my.index -l sw so" in help_without_heavy_imports("doctor")
