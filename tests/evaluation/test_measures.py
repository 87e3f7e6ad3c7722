"""Measures against hand-computed values, an independent implementation, and the tie rule."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kivuko.errors import DataError, UsageError
from kivuko.evaluation.measures import MEASURES, measure_run, parse_measures, per_query


def as_run(scores, queries, documents):
    """A matrix of scores as a run."""
    return {
        query: dict(zip(documents, row, strict=True))
        for query, row in zip(queries, np.asarray(scores).tolist(), strict=True)
    }


def measure_binary(run, qrels, queries=None, measures=MEASURES):
    """Measure a run whose relevant documents all have grade 1, ties against them."""
    judgments = {query: dict.fromkeys(relevant, 1) for query, relevant in qrels.items()}
    return measure_run(run, judgments, queries, measures, ties="pessimistic")


def reference(scores, relevant):
    """Every measure for one query, from its definition; ties against the relevant documents."""
    order = sorted(range(len(scores)), key=lambda j: (-scores[j], relevant[j]))
    hits = np.array([relevant[j] for j in order], dtype=float)
    total = hits.sum()
    places = np.flatnonzero(hits) + 1
    discounts = 1 / np.log2(np.arange(2, 12))
    gain = (hits[:10] * discounts[: len(hits[:10])]).sum()
    return {
        "R@1": hits[:1].sum() / total,
        "R@5": hits[:5].sum() / total,
        "R@10": hits[:10].sum() / total,
        "MAP": np.mean([(i + 1) / place for i, place in enumerate(places)]),
        "MRR": 1 / places[0],
        "nDCG@10": gain / discounts[: int(min(total, 10))].sum(),
    }


def ids(prefix, count):
    return [f"{prefix}{index}" for index in range(count)]


def test_values_computed_by_hand():
    scores = [[0.9, 0.8, 0.7, 0.6], [0.1, 0.2, 0.3, 0.4]]
    measured = per_query(scores, ["a", "b"], ["w", "x", "y", "z"], {"a": {"x"}, "b": {"z", "x"}})
    assert list(measured) == list(MEASURES)
    assert measured["R@1"].tolist() == [0, 0.5]
    assert measured["R@5"].tolist() == [1, 1]
    assert measured["MRR"].tolist() == [0.5, 1]
    np.testing.assert_allclose(measured["MAP"], [0.5, (1 + 2 / 3) / 2])
    ideal = 1 + 1 / np.log2(3)
    np.testing.assert_allclose(measured["nDCG@10"], [1 / np.log2(3), (1 + 1 / np.log2(4)) / ideal])


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_agrees_with_the_definitions_with_and_without_ties(data):
    shape = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 25)))
    # Few distinct values, so that ties abound.
    scores = data.draw(hnp.arrays(np.float32, shape, elements=st.sampled_from([-1.0, 0.0, 0.5, 2.0])))
    if data.draw(st.booleans()):
        scores = np.random.default_rng(data.draw(st.integers(0, 99))).standard_normal(shape)
    relevant = data.draw(hnp.arrays(np.bool_, shape))
    relevant[:, 0] |= ~relevant.any(axis=1)
    queries, documents = ids("q", shape[0]), ids("d", shape[1])
    qrels = {
        q: {d for d, hit in zip(documents, row, strict=True) if hit} for q, row in zip(queries, relevant, strict=True)
    }
    measured = per_query(scores, queries, documents, qrels)
    again = measure_binary(as_run(scores, queries, documents), qrels, queries)
    for row in range(shape[0]):
        for name, value in reference(scores[row], relevant[row]).items():
            assert measured[name][row] == pytest.approx(value, abs=1e-12), name
            assert again[name][row] == pytest.approx(value, abs=1e-12), name


def test_many_queries_are_measured_in_chunks_as_one_by_one(monkeypatch):
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((30, 40))
    queries, documents = ids("q", 30), ids("d", 40)
    qrels = {query: {documents[index]} for index, query in enumerate(queries)}
    whole = per_query(scores, queries, documents, qrels)
    monkeypatch.setattr("kivuko.evaluation.measures._CHUNK_CELLS", 40 * 7)
    for name, values in per_query(scores, queries, documents, qrels).items():
        np.testing.assert_array_equal(values, whole[name])


@pytest.mark.parametrize("names", [["a", "b", "c", "d"], ["d", "c", "b", "a"], ["é", "😀", "木", "z z"]])
def test_a_constant_encoder_finds_nothing_whatever_the_names(names):
    for relevant in names:
        measured = per_query(np.full((1, 4), 0.5), ["q"], names, {"q": {relevant}})
        assert measured["R@1"] == 0
        assert measured["MRR"] == 1 / 4
        assert measure_binary({"q": dict.fromkeys(names, 0.5)}, {"q": {relevant}})["R@1"] == 0


def test_scores_that_are_equal_as_32_bit_floats_are_ties_everywhere():
    scores = [[1.0 + 1e-12, 1.0]]
    assert per_query(np.array(scores), ["q"], ["a", "z"], {"q": {"a"}})["R@1"] == 0
    assert measure_binary(as_run(scores, ["q"], ["a", "z"]), {"q": {"a"}})["R@1"] == 0


def test_equals_ir_measures_own_run_where_nothing_is_tied():
    import ir_measures

    scores = np.random.default_rng(1).permuted(np.tile(np.arange(50.0), (8, 1)), axis=1)
    queries, documents = ids("q", 8), ids("d", 50)
    qrels = {query: {documents[index], documents[index + 9]} for index, query in enumerate(queries)}
    judged = [ir_measures.Qrel(query, document, 1) for query, own in qrels.items() for document in own]
    theirs = ir_measures.calc_aggregate([ir_measures.AP], judged, as_run(scores, queries, documents))
    assert per_query(scores, queries, documents, qrels)["MAP"].mean() == pytest.approx(theirs[ir_measures.AP])


def test_infinite_scores_rank_first_and_last():
    measured = per_query([[-np.inf, 0.0, np.inf]], ["q"], ["a", "b", "c"], {"q": {"a"}})
    assert measured["MRR"] == pytest.approx(1 / 3)


def test_what_a_run_does_not_hold_scores_zero_and_stays_in_the_mean():
    measured = measure_binary({"a": {"x": 1.0}}, {"a": {"x", "y"}, "b": {"x"}, "c": {"x"}}, ["b", "a"])
    assert measured["MAP"].tolist() == [0, 0.5]
    assert measure_binary({}, {"a": {"x"}})["MAP"].tolist() == [0]


def test_a_relevant_document_outside_the_gallery_counts_as_never_retrieved():
    assert per_query([[1.0, 0.0]], ["q"], ["a", "b"], {"q": {"a", "elsewhere"}})["MAP"] == 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": [[1.0, np.nan]]}, "query 'q' against document 'b' is NaN"),
        ({"scores": [[1.0]]}, "shape"),
        ({"scores": [1.0, 2.0]}, "shape"),
        ({"document_ids": ["a", "a"]}, "'a' occurs twice"),
        ({"scores": np.zeros((0, 2)), "query_ids": []}, "no query"),
        ({"scores": np.zeros((1, 0)), "document_ids": []}, "no document"),
        ({"qrels": {}}, "no relevant document in the qrels"),
        ({"qrels": {"q": set()}}, "no relevant document in the qrels"),
        ({"qrels": {"q": {"elsewhere"}}}, "'q': none of its relevant documents is in the gallery"),
        ({"qrels": {"q": "a"}}, "give a set"),
    ],
)
def test_what_cannot_be_measured_is_an_error_of_one_line(change, message):
    given = {"scores": [[1.0, 0.0]], "query_ids": ["q"], "document_ids": ["a", "b"], "qrels": {"q": {"a"}}}
    with pytest.raises(DataError, match=message) as caught:
        per_query(**{**given, **change})
    assert "\n" not in str(caught.value)


def test_a_run_with_nan_or_unjudged_queries_is_refused():
    with pytest.raises(DataError, match="NaN"):
        measure_binary({"q": {"a": float("nan")}}, {"q": {"a"}})
    with pytest.raises(DataError, match="'unjudged' has no judgment"):
        measure_binary({"q": {"a": 1.0}}, {"q": {"a"}}, ["q", "unjudged"])


@pytest.mark.parametrize("names", [[], ["foo"], ["MAP", "AP"], ["MAP", "MAP"], ["ERR@10"], ["R@"], ["R"], ["P@1.5"]])
def test_measures_that_cannot_be_taken(names):
    with pytest.raises(UsageError):
        parse_measures(names)


@pytest.mark.parametrize(
    "name", ["P@0", "nDCG@0", "R@0", "AP@0", "P@1000001", "P@99999999999999999999", "P@True", "P(rel=0)@5"]
)
def test_a_cutoff_or_level_out_of_range_is_refused(name):
    """trec_eval would end the process on some of them."""
    with pytest.raises(UsageError, match="give a whole number from 1 to 1,000,000"):
        parse_measures([name])


@pytest.mark.parametrize("name", ["IPrec@0.101", "IPrec@1.5", "IPrec@-0.1"])
def test_recall_levels_that_trec_eval_takes_for_others_are_refused(name):
    """Measured next to IPrec@0.1, IPrec@0.101 made it zero."""
    with pytest.raises(UsageError):
        parse_measures([name])
    scores = [[2.0, 1.0, 0.0]]
    both = per_query(scores, ["q"], ["a", "b", "c"], {"q": {"a", "b"}}, ["IPrec@0.1", "IPrec@0.11"])
    assert {measure: value.tolist() for measure, value in both.items()} == {"IPrec@0.1": [1], "IPrec@0.11": [1]}


def test_any_measure_of_ir_measures_can_be_requested():
    measured = per_query([[2.0, 1.0, 0.0]], ["q"], ["a", "b", "c"], {"q": {"a", "b"}}, ["Success@1", "R@1"])
    assert {name: value.tolist() for name, value in measured.items()} == {"Success@1": [1], "R@1": [0.5]}
