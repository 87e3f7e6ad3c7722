"""Measures of TREC runs agree with ir_measures on the same runs, ties included, and with values worked out by hand."""

from __future__ import annotations

import math
import random
from pathlib import Path

import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kivuko.errors import DataError, KivukoError, UsageError
from kivuko.evaluation.measures import answerable, measure_run, read_run, trec_order, write_run

NAMES = ("MAP", "MRR", "nDCG@10", "nDCG", "R@1", "R@5", "R@100", "P@5", "Success@3", "Bpref")


def reference(run: dict, judgments: dict, measures: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """What ir_measures itself says: measure to query to value."""
    named = {"MAP": "AP", "MRR": "RR"}
    parsed = {ir_measures.parse_measure(named.get(name, name)): name for name in measures}
    qrels = [ir_measures.Qrel(q, d, grade) for q, grades in judgments.items() for d, grade in grades.items()]
    scored = [ir_measures.ScoredDoc(q, d, score) for q, own in run.items() for d, score in own.items()]
    values: dict[str, dict[str, float]] = {name: {} for name in measures}
    for metric in ir_measures.iter_calc(list(parsed), qrels, scored):
        values[parsed[metric.measure]][metric.query_id] = metric.value
    return values


def made_up(seed: int, levels: int) -> tuple[dict, dict]:
    """A run with many ties (``levels`` different scores) and judgments with grades from -1 to 3."""
    draw = random.Random(seed)
    names = [f"d{number}" for number in range(60)] + ["é", "Z9", "a-b", "10", "9", "中文", "😀"]
    run, judgments = {}, {}
    for number in range(12):
        query = f"q{number}"
        judgments[query] = {name: draw.choice([-1, 0, 0, 1, 1, 2, 3]) for name in draw.sample(names, 20)}
        run[query] = {name: draw.randrange(levels) / 7 for name in draw.sample(names, 40)}
    del run["q3"]  # a query without a result
    run["extra"] = {"d1": 1.0}  # never judged
    judgments["q4"] = dict.fromkeys(judgments["q4"], 0)
    return run, judgments


@pytest.mark.parametrize("levels", [1, 2, 5, 1000])
@pytest.mark.parametrize("seed", range(5))
def test_agreement_to_a_millionth_with_ties(seed: int, levels: int) -> None:
    run, judgments = made_up(seed, levels)
    ours = measure_run(run, judgments, measures=NAMES)
    theirs = reference(run, judgments, NAMES)
    for name in NAMES:
        for row, query in enumerate(judgments):
            assert ours[name][row] == pytest.approx(theirs[name].get(query, 0.0), abs=1e-6), (name, query)


def test_means_are_those_of_ir_measures() -> None:
    run, judgments = made_up(7, 3)
    qrels = [ir_measures.Qrel(q, d, grade) for q, grades in judgments.items() for d, grade in grades.items()]
    scored = [ir_measures.ScoredDoc(q, d, score) for q, own in run.items() for d, score in own.items()]
    theirs = ir_measures.calc_aggregate([ir_measures.AP, ir_measures.nDCG @ 10], qrels, scored)
    ours = measure_run(run, judgments, measures=("MAP", "nDCG@10"))
    assert ours["MAP"].mean() == pytest.approx(theirs[ir_measures.AP], abs=1e-6)
    assert ours["nDCG@10"].mean() == pytest.approx(theirs[ir_measures.nDCG @ 10], abs=1e-6)


def test_scores_that_differ_beyond_32_bits_are_ties_to_trec_eval() -> None:
    run = {"q": {"a": 1.0 + 1e-12, "b": 1.0}}
    judgments = {"q": {"a": 1}}
    theirs = reference(run, judgments, ("MRR",))["MRR"]["q"]
    assert theirs == 0.5  # b stands first: its name is the greater one
    assert measure_run(run, judgments, measures=("MRR",))["MRR"].tolist() == [0.5]
    assert measure_run(run, judgments, measures=("MRR",), ties="pessimistic")["MRR"].tolist() == [0.5]


def test_both_rules_by_hand() -> None:
    # Ranking b (grade 0) | c, a tied (grades 2, 1) | d (not judged); e is relevant and not retrieved.
    run = {"q": {"a": 0.5, "b": 0.9, "c": 0.5, "d": 0.1}}
    judgments = {"q": {"a": 1, "b": 0, "c": 2, "e": 1}}
    names = ("MAP", "MRR", "nDCG@10", "R@5")
    trec = measure_run(run, judgments, measures=names)
    ideal = 2 + 1 / math.log2(3) + 1 / math.log2(4)
    assert trec["MAP"][0] == pytest.approx((1 / 2 + 2 / 3) / 3)
    assert trec["MRR"][0] == pytest.approx(1 / 2)
    assert trec["R@5"][0] == pytest.approx(2 / 3)
    assert trec["nDCG@10"][0] == pytest.approx((2 / math.log2(3) + 1 / math.log2(4)) / ideal)  # c, a
    worst = measure_run(run, judgments, measures=names, ties="pessimistic")
    assert worst["nDCG@10"][0] == pytest.approx((1 / math.log2(3) + 2 / math.log2(4)) / ideal)  # a, c
    assert worst["MAP"][0] == trec["MAP"][0]


def test_pessimistic_is_not_above_trec_eval_where_scores_differ_beyond_32_bits() -> None:
    run = {"q": {"right": 17.123456789, "z": 17.123456780, "y": 17.123456770}}
    judgments = {"q": {"right": 1}}
    for ties in ("trec_eval", "pessimistic"):
        assert measure_run(run, judgments, measures=("MAP",), ties=ties)["MAP"] == pytest.approx(1 / 3)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 10**6), levels=st.integers(1, 6), step=st.sampled_from([0.0, 1e-9, 1e-12]))
def test_pessimistic_is_a_lower_bound(seed: int, levels: int, step: float) -> None:
    run, judgments = made_up(seed, levels)
    run = {q: {name: score + step * n for n, (name, score) in enumerate(own.items())} for q, own in run.items()}
    names = (*NAMES, "P(rel=2)@5", "Rprec")
    trec, worst = (measure_run(run, judgments, measures=names, ties=ties) for ties in ("trec_eval", "pessimistic"))
    for name in names:
        assert (worst[name] <= trec[name] + 1e-6).all(), name


def test_queries_that_cannot_be_answered_are_named() -> None:
    judgments = {"a": {"x": 0}, "b": {"x": 1, "y": -1}, "c": {}}
    assert answerable(judgments) == ["b"]
    assert measure_run({}, judgments, ["b"], ("MAP",))["MAP"].tolist() == [0.0]
    with pytest.raises(DataError, match="'z' has no judgment"):
        measure_run({}, judgments, ["z"])
    with pytest.raises(DataError, match="no query"):
        measure_run({}, {})
    with pytest.raises(DataError, match="NaN"):
        measure_run({"b": {"x": math.nan}}, judgments, ["b"])


def test_a_run_reads_back_as_it_was_written(tmp_path: Path) -> None:
    scores = np.random.default_rng(0).standard_normal(50).astype(np.float32)
    run = {"q1": {f"d{number}": float(score) for number, score in enumerate(scores)}, "q2": {"x": 1.0, "é": 1.0}}
    write_run(tmp_path / "a.run", run, "my run")
    assert read_run(tmp_path / "a.run") == run
    lines = (tmp_path / "a.run").read_text(encoding="utf-8").splitlines()
    assert lines[-2].split() == ["q2", "Q0", "é", "1", "1.0", "my-run"]  # the greater name first, as trec_eval has it
    assert [line.split()[2] for line in lines[:50]] == trec_order(run["q1"])
    assert [int(line.split()[3]) for line in lines[:50]] == list(range(1, 51))


def test_only_ascii_white_space_parts_columns(tmp_path: Path) -> None:
    run = {"q\u00a01": {"d\u30001": 2.0, "d2": 1.0}, "q2": {"\u2028": 0.5}}
    write_run(tmp_path / "a.run", run, "x")
    assert read_run(tmp_path / "a.run") == run
    (tmp_path / "b.run").write_bytes("# by us\r\n\u00e9\tQ0 \td\u00a01 1\v2.0 x\r\n#é Q0 d2 1 1 x\n \n".encode())
    assert read_run(tmp_path / "b.run") == {"\u00e9": {"d\u00a01": 2.0}}
    with pytest.raises(UsageError, match="begins with #"):
        write_run(tmp_path / "c.run", {"#1": {"d": 1.0}}, "x")


def test_ir_measures_reads_our_run_files(tmp_path: Path) -> None:
    run, _ = made_up(1, 2)
    write_run(tmp_path / "a.run", run, "x")
    read = list(ir_measures.read_trec_run(str(tmp_path / "a.run")))
    assert {(one.query_id, one.doc_id): one.score for one in read} == {
        (q, d): score for q, own in run.items() for d, score in own.items()
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no line in it"),
        ("q Q0 d 1 0.5\n", "a.run:1: 5 columns, but a run has 6"),
        ("q Q0 d 1 0.5 x\nq Q0 e 2 high x\n", "a.run:2: score 'high' is no number"),
        ("q Q0 d 1 nan x\n", "score 'nan' is no number"),
        ("q Q0 d 1 1_0 x\n", "a.run:1: score '1_0' is no number"),
        ("q Q0 d 1 2 x\nq Q0 d 2 1 x\n", "a.run:2: document d occurs twice under query q"),
        (b"q Q0 \xff 1 1 x\n", "byte 0xFF is not UTF-8"),
        (b"\x1f\x8b\x08\x00\x00\x00", "damaged or cut short"),
    ],
)
def test_a_bad_run_is_one_line(tmp_path: Path, content: str | bytes, message: str) -> None:
    (tmp_path / "a.run").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as caught:
        read_run(tmp_path / "a.run")
    assert message in str(caught.value)


def test_ids_that_columns_cannot_carry_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'a b' is empty or holds white space"):
        write_run(tmp_path / "a.run", {"q": {"a b": 1.0}}, "x")
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=100, deadline=None)
@given(st.one_of(st.binary(max_size=80), st.text(alphabet="qd01 .\t\n-einfx", max_size=80).map(str.encode)))
def test_no_bytes_crash_the_run_reader(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("run") / "any.run"
    path.write_bytes(content)
    try:
        run = read_run(path)
    except KivukoError:
        return
    assert all(math.isfinite(score) or math.isinf(score) for own in run.values() for score in own.values())
