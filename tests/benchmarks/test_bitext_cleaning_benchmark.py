"""The benchmark of cleaning on a few pairs: both files come out, and the answer says what the rows say."""

from __future__ import annotations

import json

from benchmarks.bitext_cleaning import clean_once, report, run, write_sentences


def test_a_small_run_writes_what_it_measured(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.bitext_cleaning.MODES", ("off",))
    results = run(300, 1, [200], tmp_path / "results")
    plain, captions = results["speed"]
    assert (plain["pairs"], plain["captions"], captions["captions"]) == (300, 0, 20_000)
    assert min(plain["wall"], plain["cpu"], captions["wall"]) > 0
    assert results["memory"][0]["pairs"] == 200
    assert json.loads((tmp_path / "results" / "bitext_cleaning.json").read_text())["pairs"] == 300
    assert "Peak memory" in (tmp_path / "results" / "bitext_cleaning.md").read_text()


def test_every_way_of_spoiling_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr("os.sched_setaffinity", lambda *_: None)
    write_sentences(tmp_path / "sw.tsv", 400)
    found = clean_once(tmp_path / "sw.tsv", "off", None)
    assert found["pairs"] == 400
    expected = {
        "duplicate", "untranslated copy", "length ratio", "empty side", "boilerplate: markup",
        "boilerplate: web address", "wrong script",
    }  # fmt: skip
    assert set(found["dropped"]) == expected
    assert found["kept"] > 340


def test_the_verdict_follows_the_best_round():
    row = {"mode": "off", "captions": 0, "pairs": 100_000, "cpu": 1.0, "identified": 0, "interference": None}
    results = {"date": "d", "machine": {"processor": "p"}, "pairs": 100_000, "memory": []}
    assert "**met**" in report({**results, "speed": [{**row, "wall": 3.0}, {**row, "wall": 1.9}]})
    assert "**not met**" in report({**results, "speed": [{**row, "wall": 3.0}]})
