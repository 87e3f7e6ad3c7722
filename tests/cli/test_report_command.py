"""``kivuko report`` as a user meets it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from command_checks import help_without_heavy_imports, refused

sys.path.append(str(Path(__file__).parent.parent / "report"))  # for study_records
from study_records import Plan, made_up, page_of, written

import kivuko
from kivuko.evaluation.records import per_query_path, write_records

SMALL = Plan(languages=("sw", "fi"), seeds=(0, 1), concepts=12)


@pytest.fixture
def records(tmp_path):
    return written(tmp_path / "low-resource.jsonl", SMALL)


def test_help_has_an_example_and_imports_nothing_heavy():
    message = help_without_heavy_imports("report")
    assert "kivuko report low-resource.jsonl" in message.split("Example", 1)[1]


def test_help_does_not_import_what_draws():
    assert "report" in help_without_heavy_imports()


def test_page_answer_and_path(run_here, records):
    status, out, err = run_here("report", str(records))
    assert (status, err) == (0, "")
    page = records.with_suffix(".html")
    assert page.read_text("utf-8") == page_of(*made_up(SMALL))
    sentence, place = out.splitlines()
    assert sentence.startswith("Optimal transport ")
    assert place == f"page: {page}"
    assert sorted(path.name for path in records.parent.iterdir()) == [
        "low-resource.html",
        "low-resource.jsonl",
        "low-resource.per_query.parquet",
    ]


def test_the_command_and_the_call_write_the_same_page(run_here, records, tmp_path):
    run_here("report", str(records))
    page = kivuko.write_report(records, tmp_path / "call.html")
    assert page == tmp_path / "call.html"
    assert page.read_bytes() == records.with_suffix(".html").read_bytes()


def test_out_names_the_page_and_folders_are_made(run_here, records, tmp_path):
    page = tmp_path / "new" / "folder" / "page.html"
    status, _, err = run_here("report", str(records), "--out", str(page))
    assert (status, err) == (0, "")
    assert page.read_bytes().startswith(b"<!DOCTYPE html>")
    assert not records.with_suffix(".html").exists()


def test_the_page_never_takes_the_place_of_the_records(run_here, records):
    before = records.read_bytes()
    refused(run_here("report", str(records), "--out", str(records)), "place of the records")
    refused(run_here("report", str(records), "--out", str(per_query_path(records))), "place of the records")
    renamed = records.rename(records.with_suffix(".html"))
    refused(run_here("report", str(renamed)), "place of the records", "--out")
    assert renamed.read_bytes() == before


def test_missing_records(run_here, tmp_path):
    refused(run_here("report", str(tmp_path / "nothing.jsonl")), "nothing.jsonl", "no such file")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:-1], "cut short"),
        (lambda content: content[:-40], "not a line of JSON"),
        (lambda content: content[: content.rindex(b"\n", 0, -1) + 1], "promises"),
        (lambda content: content.replace(b'"value"', b'"worth"', 1), "'value' is missing"),
        (lambda content: b"", "empty"),
        (lambda content: b"\x00\xff" + content, ":1: not a line of JSON"),
    ],
)
def test_damaged_records(run_here, records, damage, message):
    records.write_bytes(damage(records.read_bytes()))
    refused(run_here("report", str(records)), str(records), message)
    assert not records.with_suffix(".html").exists()


def edited(records, change, language="sw"):
    """Change the first record of a language and of MAP on headline test queries of "optical"; return its line."""
    lines = records.read_text("utf-8").splitlines()
    for place, line in enumerate(lines[1:], start=1):
        one = json.loads(line)
        if [one[name] for name in ("objective", "language", "measure", "subset", "split")] == [
            "optical", language, "MAP", "headline", "test"
        ]:  # fmt: skip
            lines[place] = json.dumps({**one, **change(one)})
            records.write_text("\n".join(lines) + "\n", "utf-8")
            return f"{records.name}:{place + 1}: "
    raise AssertionError


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda one: {"value": 1.7, "high": 2.0}, "MAP is from 0 to 1"),
        (lambda one: {"low": one["high"]}, "outside its interval"),
        (lambda one: {"queries": -3}, "'queries' is -3"),
        (lambda one: {"value": float("nan")}, "not a line of JSON"),
        (lambda one: {"queries": one["queries"] + 1}, "13 queries, but low-resource.per_query.parquet holds"),
        (lambda one: {"value": one["value"] * 1.01}, "the mean of its scores"),
        (lambda one: {"attack": "gremlins", "budget": 1.0}, "attack 'gremlins' is unknown"),
        (lambda one: {"language": "fi"}, "contradicts line"),
    ],
)  # fmt: skip
def test_records_that_cannot_be_are_refused_with_their_line(run_here, records, change, problem):
    where = edited(records, change)
    refused(run_here("report", str(records)), problem, *([] if "contradicts" in problem else [where]))
    assert not records.with_suffix(".html").exists()


def test_an_attack_that_the_header_describes_is_reported(run_here, records):
    edited(records, lambda one: {"attack": "gremlins", "budget": 1.0})
    header, *lines = records.read_text("utf-8").splitlines()
    described = json.loads(header)
    described["protocol"]["attacks"] = {"gremlins": {"kind": "text noise", "unit": "edits"}}
    records.write_text("\n".join([json.dumps(described), *lines]) + "\n", "utf-8")
    assert run_here("report", str(records))[0] == 0


def test_missing_or_damaged_per_query_scores(run_here, records):
    scores = per_query_path(records)
    content = scores.read_bytes()
    scores.write_bytes(content[: len(content) // 2])
    refused(run_here("report", str(records)), scores.name, "damaged")
    scores.unlink()
    refused(run_here("report", str(records)), scores.name, "no per-query scores")


def test_records_without_anything_to_report(run_here, tmp_path):
    header, _, _ = made_up(SMALL)
    write_records(tmp_path / "empty.jsonl", header, [], [])
    refused(run_here("report", str(tmp_path / "empty.jsonl")), "nothing to report")


def test_a_place_that_cannot_be_written_is_refused_before_the_records_are_read(run_here, records, tmp_path):
    records.write_bytes(b"")  # would be complained of if it were read first
    refused(run_here("report", str(records), "--out", str(tmp_path)), "folder")
    refused(run_here("report", str(records), "--out", str(records / "page.html")), "there is a file")
    if os.geteuid() != 0:  # root may write anywhere
        locked = tmp_path / "locked"
        locked.mkdir(mode=0o500)
        refused(run_here("report", str(records), "--out", str(locked / "page.html")), "no permission")


def test_a_missing_matplotlib_is_one_line(run_here, records, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    refused(run_here("report", str(records)), "pip install 'kivuko[report]'")
