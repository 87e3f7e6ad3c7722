"""Streaming search: the same documents as a full ranking gives, ties at the cut included."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kivuko.datasets.collections.collection import Document
from kivuko.errors import DataError, ModelError
from kivuko.evaluation import collection as module
from kivuko.evaluation.collection import TopDocuments, search_collection
from kivuko.evaluation.measures import RUN_MEASURES, measure_run, trec_order


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 10**6), depth=st.integers(1, 12), levels=st.integers(1, 20), blocks=st.integers(1, 6),
    documents=st.integers(1, 30),
)  # fmt: skip
def test_blocks_find_what_a_full_ranking_finds(seed: int, depth: int, levels: int, blocks: int, documents: int) -> None:
    rng = np.random.default_rng(seed)
    scores = (rng.integers(levels, size=(3, documents)) / 7).astype(np.float32)
    names = [f"d{number}" for number in rng.permutation(documents)]
    best = TopDocuments(["a", "b", "c"], depth)
    for columns in np.array_split(np.arange(documents), blocks):
        best.add([names[column] for column in columns], scores[:, columns])
    run = best.run()
    judgments = {query: {names[0]: 1, names[-1]: 2} for query in run}
    for row, query in enumerate(run):
        whole = dict(zip(names, scores[row].tolist(), strict=True))
        expected = trec_order(whole)[:depth]
        assert trec_order(run[query]) == expected
        limit = whole[expected[-1]]
        tied = sum(score == limit for name, score in whole.items() if name not in expected)
        assert best.tied_beyond[row] == (tied if documents > depth else 0)
    # The pessimistic figures of the cut run are not above those of the whole ranking.
    worst = measure_run(best.pessimistic_run(judgments), judgments, ties="pessimistic")
    everything = {query: dict(zip(names, scores[row].tolist(), strict=True)) for row, query in enumerate(run)}
    full = measure_run(everything, judgments, ties="pessimistic")
    assert all((worst[name] <= full[name] + 1e-6).all() for name in full)


def test_a_model_that_tells_nothing_apart_finds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DEPTH", 10)
    monkeypatch.setattr(module, "_BLOCK", 7)
    best = TopDocuments(["q"], module.DEPTH)
    documents = [Document(f"d{number:02}", "same") for number in range(50)]
    judgments = {"q": {"d49": 1}}
    searches = [(np.ones((1, 2), dtype=np.float32), best)]
    search_collection(documents, lambda texts: np.ones((len(texts), 2), np.float32), _product, searches, judgments)
    assert "d49" in best.run()["q"]  # trec_eval's order puts the greatest id first
    assert measured(best, ["q"], judgments)["R@100"].tolist() == [0.0]


def measured(best: TopDocuments, queries: list[str], judgments: dict[str, dict[str, int]]) -> dict[str, np.ndarray]:
    """Measure as the task does: ties, also at the cut, resolved against the relevant documents."""
    run = best.pessimistic_run(judgments)
    return measure_run(run, judgments, queries, RUN_MEASURES, ties="pessimistic")


def _product(queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
    return queries @ documents.T


def test_what_is_not_in_the_collection_is_counted() -> None:
    best = TopDocuments(["q", "r"], module.DEPTH)
    judgments = {"q": {"a": 1, "gone": 2, "b": 0}, "r": {"b": 1}}
    vectors = {"first": [1.0, 0.0], "T second": [0.0, 1.0]}
    documents, missing, identical = search_collection(
        [Document("a", "first"), Document("b", "second", "T")],
        lambda texts: np.array([vectors[text] for text in texts], np.float32), _product,
        [(np.eye(2, dtype=np.float32), best)], judgments,
    )  # fmt: skip
    assert (documents, missing, identical) == (2, 1, 0)
    values = measured(best, ["q", "r"], judgments)
    assert values["R@1"].tolist() == [0.5, 1.0]
    assert values["MRR"].tolist() == [1.0, 1.0]


def test_what_cannot_be_searched_is_one_line() -> None:
    searches = [(np.ones((1, 1), np.float32), TopDocuments(["q"], 5))]
    with pytest.raises(DataError, match="no document"):
        search_collection([], lambda texts: None, _product, searches, {})
    with pytest.raises(ModelError, match="NaN"):
        TopDocuments(["q"], 5).add(["a"], np.array([[np.nan]]))
    twice = TopDocuments(["q"], 5)
    twice.add(["a", "a"], np.array([[1.0, 2.0]]))
    with pytest.raises(DataError, match="two documents have the id a"):
        twice.run()


def test_a_document_with_the_querys_own_id_is_left_out_wherever_it_falls() -> None:
    names = ["r", "d1", "q", "d2", "d3"]
    scores = np.array([[0.5, 0.4, 0.9, 0.4, 0.1], [0.9, 0.8, 0.1, 0.2, 0.3]], np.float32)
    for blocks, depth in ((1, 2), (2, 2), (5, 2), (1, 4), (1, 9)):
        best, plain = (TopDocuments(["q", "r"], depth, ignore) for ignore in (True, False))
        for columns in np.array_split(np.arange(5), blocks):
            for one in (best, plain):
                one.add([names[column] for column in columns], scores[:, columns])
        expected = {"q": ["r", "d2", "d1", "d3"][:depth], "r": ["d1", "d3", "d2", "q"][:depth]}
        assert {query: trec_order(own) for query, own in best.run().items()} == expected
        assert next(iter(trec_order(plain.run()["q"]))) == "q"
        worst = best.pessimistic_run({"q": {"d2": 1}, "r": {}})
        assert ("d2" in worst["q"]) == (depth > 2)  # d1 and d2 are tied at the cut of 2


def test_documents_with_an_id_of_a_query_are_counted() -> None:
    best = TopDocuments(["a", "q"], 5, ignore_identical_ids=True)
    searches = [(np.ones((2, 1), np.float32), best)]
    documents = [Document("a", "x"), Document("b", "x")]
    assert search_collection(documents, lambda texts: np.ones((len(texts), 1)), _product, searches, {}) == (2, 0, 1)
