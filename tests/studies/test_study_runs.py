"""A study from its runs to its records: complete, in order, once each, and taken up again."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import study_records
from killed_study import Watch, tiny_grid, tiny_recipes

from kivuko.errors import CorruptFileError, DataError, KivukoError, UsageError
from kivuko.evaluation.comparison import compare_scores
from kivuko.evaluation.records import read_per_query, read_records, write_records
from kivuko.report.page import render
from kivuko.report.writing import page_of, read_source
from kivuko.studies.engine import Place, perform_study, publish_study, refuse_repeats
from kivuko.studies.grid import QUICK_TRANSLATION, Run
from kivuko.studies.inputs import encode_queries, query_texts
from kivuko.studies.low_resource import LOW_RESOURCE
from kivuko.studies.runs import run_all, run_files
from kivuko.training.recipe import load_recipe


def studied(inputs, records: Path, **changes):
    """Run a tiny study and read what it wrote."""
    grid, place = tiny_grid(**changes), Place(records)
    perform_study(LOW_RESOURCE, grid, inputs, place, command="tiny", workers=1, watch=Watch())
    return read_records(records)


class OtherSpace:
    """A model in which English and the other languages are alike but for a direction of their own."""

    def encode_text(self, texts):
        rows = [np.random.default_rng(len(text)).normal(size=8) + (text[0] > "m") for text in texts]
        return np.array([row / np.linalg.norm(row) for row in rows], dtype=np.float32)


def test_a_students_own_space_is_measured_against_its_own_documents(inputs, in_process, tmp_path, monkeypatch):
    monkeypatch.setattr("kivuko.studies.low_resource.load_model", lambda name: OtherSpace())
    header, records = studied(inputs, tmp_path / "r.jsonl", own_space=True, recipes=tiny_recipes()[:1])
    own = [one for one in records if one.objective in ("zero-shot", "shift")]
    assert {(one.dataset, one.scoring) for one in own} == {("emoji-text", "cosine")}
    assert {(one.objective, one.bitext_size, one.seed) for one in own} == {
        ("zero-shot", None, None), ("shift", 8, 0), ("shift", 8, 1)}  # fmt: skip
    assert header.protocol["recipes"]["shift"]["kind"] == "own space"
    model, data = OtherSpace(), inputs.data
    queries, rows = data.queries("sw", "test"), data.rows("test")
    documents = model.encode_text(list(data.documents))[rows]
    scores = model.encode_text([query.text for query in queries]) @ documents.T
    value = data.measure(scores, "sw", "test").values["MAP"].mean()
    record = next(o for o in own if (o.objective, o.language, o.split, o.subset, o.measure)
                  == ("zero-shot", "sw", "test", "all", "MAP"))  # fmt: skip
    assert record.value == pytest.approx(float(value), abs=1e-6)


def test_records_are_complete_unique_and_in_the_grids_order(inputs, in_process, tmp_path):
    header, records = studied(inputs, tmp_path / "r.jsonl", translation=QUICK_TRANSLATION, lexical=True)
    refuse_repeats(records)
    order = list(dict.fromkeys((one.objective, one.bitext_size, one.seed) for one in records))
    trained = ("mse", "optical", "translate-test", "lexical")
    cells = [(name, 8, seed) for name in trained for seed in (0, 1)]
    assert order == [("teacher", None, None), ("untrained", None, None), *cells]
    for cell in order[1:]:
        own = [one for one in records if (one.objective, one.bitext_size, one.seed) == cell]
        assert {(one.dataset, one.scoring) for one in own} == set(inputs.data.settings)
        for setting in inputs.data.settings:
            here = [one for one in own if (one.dataset, one.scoring) == setting]
            chosen = {(o.language, o.subset, o.measure) for o in here if o.split == "validation"}
            assert chosen == {(code, "headline", "MAP") for code in ("sw", "mr", "low-resource")}
            test = {(o.subset, o.measure) for o in here if o.split == "test" and o.language == "low-resource"}
            assert {("headline", name) for name in ("MAP", "R@1", "R@10", "parity")} | {("all", "MAP")} <= test
    english = [one for one in records if one.language == "en"]
    assert {one.objective for one in english} == {"teacher"}
    assert header.seeds == (0, 1)
    blocks = read_per_query(tmp_path / "r.jsonl")
    assert {(b.condition.split, b.subset, b.measure) for b in blocks} == {("test", "headline", "MAP")}
    assert all(block.clusters for block in blocks)
    mean = {(b.condition, b.language): float(np.mean(b.values)) for b in blocks}
    for one in records:
        if (one.split, one.subset, one.measure, one.language, one.seed) == ("test", "headline", "MAP", "sw", 1):
            at = (one.objective, 1, one.dataset, one.scoring)
            means = [
                value
                for (c, code), value in mean.items()
                if code == "sw" and (c.objective, c.seed, c.dataset, c.scoring) == at
            ]
            assert means == [pytest.approx(one.value)]


def test_the_header_tells_what_a_reviewer_asks_and_the_page_reads_it(inputs, in_process, tmp_path):
    header, _ = studied(inputs, tmp_path / "r.jsonl", lexical=True)
    message = header.protocol
    assert {"study", "standard", "datasets", "ties", "queries", "splits", "languages", "groups", "sizes", "steps",
            "batch", "student", "selection in a run", "validation data", "seeds", "workers", "translation", "limits",
            "recipes", "scoring", "teacher"} <= set(message)  # fmt: skip
    assert message["standard"] is False
    assert message["steps"] == {"8": 2}
    assert (message["recipes"]["optical"]["transport"], message["recipes"]["mse"]["transport"]) == (True, False)
    assert message["recipes"]["optical"]["kind"] == "distillation"
    assert message["recipes"]["lexical"]["kind"] == "translation"
    assert message["splits"]["test"]["queries"]["sw"] == len(inputs.data.queries("sw", "test"))
    assert "optical" in render(page_of(read_source(tmp_path / "r.jsonl")))


def test_finished_runs_are_read_damaged_ones_rebuilt_others_ignored(inputs, in_process, tmp_path, capsys):
    place = Place(tmp_path / "r.jsonl")
    first = studied(inputs, place.records)[1]
    assert len(in_process) == 6
    assert studied(inputs, place.records)[1] == first
    assert len(in_process) == 6
    damaged = next(place.runs.glob("optical-8-1-*.jsonl"))
    damaged.write_bytes(damaged.read_bytes()[:-20])
    next(place.runs.glob("mse-8-0-*.parquet")).unlink()
    capsys.readouterr()
    assert studied(inputs, place.records)[1] == first
    notes = capsys.readouterr().err.splitlines()
    assert in_process[6:] == ["mse, 8 pairs, seed 0", "optical, 8 pairs, seed 1"]
    assert len(notes) == 2
    assert damaged.name in "".join(notes)
    other = studied(inputs, place.records, steps=3)[1]
    kept = list(tmp_path.glob("r-*.jsonl"))
    assert [read_records(file)[1] for file in kept] == [first], "other records are kept, not replaced"
    assert len(in_process) == 8 + 4  # the references do not depend on the steps
    assert len(other) == len(first)
    assert studied(inputs, place.records)[1] == first
    assert len(in_process) == 12


def test_two_records_of_one_condition_are_noticed(inputs, in_process, tmp_path):
    records = studied(inputs, tmp_path / "r.jsonl")[1]
    with pytest.raises(CorruptFileError, match="two records"):
        refuse_repeats([*records, records[3]])


def test_a_recipe_that_learns_beats_one_that_does_not(inputs, in_process, tmp_path):
    hardly = tmp_path / "hardly.toml"
    hardly.write_text('[[objective]]\nkind = "mse"\n[schedule]\nlearning_rate = 1e-9\n')
    recipes = (tiny_recipes()[1], load_recipe(hardly))
    _, records = studied(inputs, tmp_path / "r.jsonl", recipes=recipes, sizes=(None,), seeds=(0, 1, 2), steps=60)
    blocks = read_per_query(tmp_path / "r.jsonl")
    for dataset, scoring in inputs.data.settings:
        here = [b for b in blocks if (b.condition.dataset, b.condition.scoring) == (dataset, scoring)]
        sides = [[b for b in here if b.condition.objective == name] for name in ("optical", "hardly")]
        findings = compare_scores(*sides, ["sw", "mr"])
        assert findings.means[0] > 1.2 * findings.means[1]
        assert findings.over_seeds.mean == pytest.approx(findings.difference.mean)
        recorded = [
            o.value
            for o in records
            if (o.objective, o.dataset, o.scoring, o.split) == ("optical", dataset, scoring, "test")
            and (o.language, o.subset, o.measure) == ("low-resource", "headline", "MAP")
        ]
        assert np.mean(recorded) == pytest.approx(findings.means[0])


def test_each_query_is_translated_once(inputs):
    class Echo:
        name = "echo"

        def __init__(self):
            self.requested = []

        def translate(self, texts, language):
            self.requested += [(language, text) for text in texts]
            return ["cat" for _ in texts]

    echo, texts = Echo(), query_texts(inputs, ["sw", "mr"])
    encoded = encode_queries(inputs.teacher, texts, inputs.mean, echo)
    assert len(echo.requested) == len(set(echo.requested)) == len(encoded.rows)
    assert encoded.pooled.shape == (1, inputs.teacher.dim)


def run_one(folder: Path, watch: Watch) -> None:
    """Start a worker for one run; what it is given is small, since its start waits until it has read that."""
    run_all(run_files([Run("untrained", "untrained")], "0", folder), None, dict, folder, 1, watch)


def test_a_worker_that_the_system_ends_is_one_clear_line(tmp_path):
    class Killer(Watch):
        def began(self, run):
            for child in multiprocessing.active_children():
                os.kill(child.pid, signal.SIGKILL)

    with pytest.raises(KivukoError, match=r"ended a worker.*untrained.*resumes"):
        run_one(tmp_path, Killer())


def test_an_interrupt_ends_the_workers(tmp_path):
    class Impatient(Watch):
        def began(self, run):
            raise KeyboardInterrupt

    before = set(multiprocessing.active_children())
    with pytest.raises(KeyboardInterrupt):
        run_one(tmp_path, Impatient())
    assert set(multiprocessing.active_children()) <= before


def test_a_killed_study_goes_on_and_ends_like_one_that_was_not(inputs, in_process, tiny_cldr, tmp_path):
    script = str(Path(__file__).with_name("killed_study.py"))
    killed, whole, here = tmp_path / "killed.jsonl", tmp_path / "whole.jsonl", tmp_path / "here"
    here.mkdir()
    for name in ("torch", "struct", "pickle", "signal", "selectors", "tempfile", "random"):
        (here / f"{name}.py").write_text("open('HIJACKED', 'a').write(__name__ + ' ')\n")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}

    done = subprocess.run(
        [sys.executable, script, str(tiny_cldr), str(killed)],
        capture_output=True, text=True, timeout=300, cwd=here, env=environment,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not killed.exists()
    finished = len(list(Place(killed).runs.glob("*.jsonl")))
    assert 1 <= finished < 6
    resumed = studied(inputs, killed)[1]
    assert len(in_process) == 6 - finished, "what is finished is taken from another process"
    assert studied(inputs, whole)[1] == resumed
    assert len(in_process) == 6 - finished + 6
    for one, other in zip(read_per_query(killed), read_per_query(whole), strict=True):
        assert (one.condition, one.language, one.query_ids) == (other.condition, other.language, other.query_ids)
        assert np.array_equal(one.values, other.values)
    assert not list(Place(killed).runs.glob(".*.tmp"))
    assert not (Place(killed).runs / "teacher").exists()
    assert not (here / "HIJACKED").exists(), "workers import nothing from the current folder"


def test_a_published_study_gives_the_same_page_and_sums_that_hold(tmp_path):
    import hashlib

    records = study_records.written(tmp_path / "low.jsonl")
    place = publish_study(records, tmp_path / "studies")
    assert place == tmp_path / "studies" / "low.jsonl.gz"
    assert render(page_of(read_source(place))) == render(page_of(read_source(records)))
    lines = (place.parent / "low.sha256").read_text().splitlines()
    assert [line.split("  ")[1] for line in lines] == ["low.jsonl.gz", "low.per_query.parquet"]
    for line in lines:
        digest, name = line.split("  ")
        assert hashlib.sha256((place.parent / name).read_bytes()).hexdigest() == digest
    with pytest.raises(UsageError, match="published already"):
        publish_study(place, place.parent)


def test_only_a_study_with_its_scores_is_published(tmp_path):
    header, records, per_query = study_records.made_up()
    write_records(tmp_path / "other.jsonl", replace(header, protocol={}), records, per_query)
    with pytest.raises(UsageError, match="no records of a study"):
        publish_study(tmp_path / "other.jsonl", tmp_path)
    write_records(tmp_path / "bare.jsonl", header, records)
    with pytest.raises(DataError, match="no per-query scores"):
        publish_study(tmp_path / "bare.jsonl", tmp_path)
