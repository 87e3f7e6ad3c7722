"""Measuring each pattern of ranks once gives, bit for bit, what measuring every query gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kivuko.evaluation import measures as rank_values
from kivuko.evaluation.measures import MEASURES, measure_run, per_query

OTHERS = ("P@3", "Rprec", "NumRet", "Success@2", "R@100", "Bpref")  # the length of the ranking counts in some


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch):
    monkeypatch.setattr(rank_values, "_known", {})


def random_case(seed, queries, documents, levels, relevant):
    """Scores with ties and up to ``relevant`` relevant documents per query, some outside the gallery."""
    random = np.random.default_rng(seed)
    scores = random.integers(0, levels, (queries, documents)).astype(np.float32)
    scores[random.random(scores.shape) < 0.02] = -np.inf
    ids, names = [f"q{row}" for row in range(queries)], [f"d{column}" for column in range(documents)]
    qrels = {}
    for query in ids:
        count = int(random.integers(1, relevant + 1))
        qrels[query] = [f"d{column}" for column in random.integers(0, documents, count)]  # one may come twice
        if random.random() < 0.3:
            qrels[query].append("elsewhere")
    return scores, ids, names, qrels


def same_as_one_by_one(case, measures):
    scores, ids, names, qrels = case
    fast = per_query(scores, ids, names, qrels, measures)
    run = {query: dict(zip(names, row, strict=True)) for query, row in zip(ids, scores.tolist(), strict=True)}
    judgments = {query: dict.fromkeys(relevant, 1) for query, relevant in qrels.items()}
    slow = measure_run(run, judgments, ids, measures, ties="pessimistic")
    assert list(fast) == list(measures)
    for name in measures:
        np.testing.assert_array_equal(fast[name], slow[name], err_msg=name)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 9), st.integers(1, 60), st.sampled_from([1, 3, 10**6]), st.integers(1, 7))
def test_random_scores_with_ties_and_several_relevant_documents(seed, queries, documents, levels, relevant):
    case = random_case(seed, queries, documents, levels, relevant)
    for measures in (MEASURES, OTHERS, MEASURES):  # the second time from memory
        same_as_one_by_one(case, measures)


@pytest.mark.parametrize("measures", [MEASURES, OTHERS])
def test_many_queries_in_small_parts(monkeypatch, measures):
    case = random_case(1, 200, 90, 40, 3)
    monkeypatch.setattr(rank_values, "_CHUNK_CELLS", 500)
    monkeypatch.setattr(rank_values, "_MOST_KNOWN", 30)
    same_as_one_by_one(case, measures)
    assert 0 < len(rank_values._known) <= 30


def test_each_pattern_is_measured_once(monkeypatch):
    measured = []

    def counted(ranked, *rest):
        measured.append(len(ranked))
        return evaluate(ranked, *rest)

    evaluate = rank_values.measure_rankings
    monkeypatch.setattr(rank_values, "measure_rankings", counted)
    scores = np.array([[3.0, 2, 1], [1, 3, 2], [3, 2, 1], [2, 3, 1]])
    qrels = {"a": {"x"}, "b": {"y"}, "c": {"x"}, "d": {"x"}}
    first = per_query(scores, list("abcd"), list("xyz"), qrels)
    assert measured == [2], "ranks 1 and 2"
    assert first["MRR"].tolist() == [1, 1, 1, 0.5]
    wider = np.hstack([scores, np.zeros((4, 5))])
    assert per_query(wider, list("abcd"), list("xyzstuvw"), qrels)["MRR"].tolist() == [1, 1, 1, 0.5]
    assert measured == [2], "what ranks below the last relevant document changes nothing"
    per_query(scores, list("abcd"), list("xyz"), qrels, ["NumRet"])
    assert measured == [2, 2], "other measures are other values"
    assert per_query(wider, list("abcd"), list("xyzstuvw"), qrels, ["NumRet"])["NumRet"].tolist() == [8] * 4


def test_what_is_returned_is_the_callers_own():
    scores, ids, names, qrels = random_case(2, 5, 9, 4, 2)
    first = per_query(scores, ids, names, qrels)
    kept = first["MAP"].copy()
    first["MAP"][:] = -1
    np.testing.assert_array_equal(per_query(scores, ids, names, qrels)["MAP"], kept)
