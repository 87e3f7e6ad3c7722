"""The search benchmark on a tiny scale: what it measures is right, and its page says so."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks.search_measure import exact_neighbors, measure_index, timed_clients
from benchmarks.search_table import report

from kivuko.search.index import IndexPlan


def unit(count: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, 8)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_exact_neighbors_are_those_of_the_whole_matrix():
    vectors, queries = unit(300, 0), unit(5, 1)
    expected = np.argsort(-(queries @ vectors.T), axis=1)[:, :10]
    assert exact_neighbors(vectors, queries).tolist() == expected.tolist()


def test_every_client_asks_and_errors_are_counted():
    asked = []

    def ask(place: int) -> None:
        asked.append(place)
        if place == 3:
            raise ValueError("no")

    row = timed_clients(ask, 4, 0.05)
    assert row["queries"] == len(asked) >= 4
    assert {place % 4 for place in asked} == {0, 1, 2, 3}
    assert (row["errors"], row["first_error"]) == (1, "ValueError: no")
    assert 0 <= row["p50_ms"] <= row["p99_ms"]


def test_an_index_is_measured_and_the_page_tells_whether_the_bar_is_met(tmp_path):
    vectors, queries = unit(400, 0), unit(6, 1)
    np.save(tmp_path / "v.npy", vectors)
    exact = exact_neighbors(vectors, queries)
    rows = measure_index(tmp_path / "v.npy", queries, exact, IndexPlan("flat", "float32"), (1, 2), 0.02, [])
    assert [row["clients"] for row in rows] == [1, 2]
    assert all(row["recall"] == 1 for row in rows)
    assert rows[0]["index_mib"] == pytest.approx(400 * (8 * 4 + 8) / 2**20, rel=0.02)  # and a checksum
    machine = {"processor": "p", "cores": 2, "memory_gib": 8, "system": "s", "python": "3"}
    results = {
        "machine": machine, "date": "d", "faiss": "1", "command": "c", "peer": None, "finished": True, "served": [],
        "encode": [], "index": [{**rows[0], "vectors": 1_000_000, "p50_ms": 1.0}],
    }  # fmt: skip
    assert "is met" in report(results)
    results["index"][0]["recall"] = 0.9
    assert "is **not** met" in report(results)
