"""Indexes of every kind against brute force."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kivuko.errors import CorruptFileError, DataError, MissingDependencyError, UsageError
from kivuko.search import faiss_index as faiss_module
from kivuko.search.faiss_index import FaissIndex
from kivuko.search.index import FlatIndex, IndexPlan, choose_index, new_index

DIM = 16
# What the storage rounds off a cosine, at most.
ROUNDED = {"float32": 1e-6, "float16": 2e-3, "int8": 3e-2}
MADE: dict[str, Callable[[], FlatIndex | FaissIndex]] = {
    "numpy float32": lambda: FlatIndex(DIM, "float32"),
    "numpy float16": lambda: FlatIndex(DIM, "float16"),
    **{
        f"faiss {kind} {storage}": lambda kind=kind, storage=storage: FaissIndex(DIM, kind, storage)
        for kind in ("flat", "hnsw", "ivf")
        for storage in ("float32", "float16", "int8")
    },
}


def unit(count: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def brute_force(held: dict[int, np.ndarray], query: np.ndarray, k: int) -> list[tuple[int, float]]:
    scored = [(number, float(vector.astype(np.float64) @ query.astype(np.float64))) for number, vector in held.items()]
    return sorted(scored, key=lambda pair: (-pair[1], pair[0]))[:k]


@pytest.fixture(params=MADE)
def index(request):
    return MADE[request.param]()


def rounded(index) -> float:
    return ROUNDED[index.storage]


def test_each_vector_finds_itself_under_its_id(index):
    ids = np.arange(300, dtype=np.int64)[::-1] * 7 + 3
    index.add(ids, unit(300))
    scores, nearest = index.search(unit(300), 1)
    assert len(index) == 300
    assert (nearest[:, 0] == ids).mean() > 0.98  # rounding to 8 bits may mistake a near neighbor
    assert np.abs(scores[:, 0] - 1).max() < rounded(index) * 2
    assert index.ids().tolist() == sorted(ids.tolist())


def test_results_are_those_of_brute_force_after_adding_and_removing(index):
    vectors = unit(500, 1)
    held = dict(enumerate(vectors))
    index.add(np.arange(400), vectors[:400])
    gone = np.arange(0, 400, 3)
    assert index.remove(np.append(gone, 9999)) == len(gone)
    index.add(np.arange(400, 500), vectors[400:])
    index.add(np.array([0]), vectors[:1])  # an id that was removed may come back
    held = {number: vector for number, vector in held.items() if number == 0 or number not in set(gone.tolist())}
    assert len(index) == len(held)
    queries = unit(20, 2)
    scores, ids = index.search(queries, 10)
    assert set(ids.ravel().tolist()) <= set(held)
    hits = 0
    for query, own_scores, own_ids in zip(queries, scores, ids, strict=True):
        expected = brute_force(held, query, 10)
        hits += len({number for number, _ in expected} & set(own_ids.tolist()))
        for number, score in zip(own_ids.tolist(), own_scores.tolist(), strict=True):
            assert score == pytest.approx(float(held[number] @ query), abs=rounded(index))
        assert (np.diff(own_scores) <= 0).all()
    assert hits / 200 >= (0.9 if index.storage == "int8" else 0.97)


@pytest.mark.parametrize("passing", [0, 1, 5, 60, 390])
def test_a_filter_never_costs_results(index, passing):
    vectors = unit(400, 3)
    index.add(np.arange(400) * 2, vectors)
    among = np.sort(np.random.default_rng(passing).permutation(400)[:passing]) * 2
    scores, ids = index.search(unit(4, 4), 10, np.append(among, 100_001))  # one that is not in the index
    least = min(10, passing)
    assert ((ids >= 0).sum(1) == least).all()
    assert np.isin(ids[ids >= 0], among).all()
    assert (ids[:, least:] == -1).all()
    assert np.isneginf(scores[:, least:]).all()


def test_the_vectors_of_a_filter_are_gathered_again_after_every_change(index):
    vectors, query = unit(400, 3), unit(1, 4)
    index.add(np.arange(400), vectors)
    among = np.arange(0, 400, 9)
    for _ in range(2):  # the second time from what was kept
        best = int(index.search(query, 1, among)[1][0, 0])
        assert best == among[(vectors[among] @ query[0]).argmax()]
    index.remove(np.array([best]))
    rest = among[among != best]
    assert index.search(query, 1, among)[1][0, 0] == rest[(vectors[rest] @ query[0]).argmax()]
    index.add(np.array([best]), query)  # another vector under the same id
    scores, ids = index.search(query, 1, among)
    assert ids[0, 0] == best
    assert scores[0, 0] == pytest.approx(1, abs=rounded(index))


def test_no_more_vectors_of_filters_are_kept_than_the_limit(monkeypatch):
    index = FaissIndex(DIM, "hnsw")
    vectors, query = unit(400, 3), unit(1, 4)
    index.add(np.arange(400), vectors)
    monkeypatch.setattr("kivuko.search.faiss_index._KEPT_BYTES", 4 * DIM * 100)
    for step in (9, 10, 11, 9, 3, 9):  # 45, 40, 37 of them, and 134: too many to keep
        among = np.arange(0, 400, step)
        assert index.search(query, 1, among)[1][0, 0] == among[(vectors[among] @ query[0]).argmax()]
        assert sum(len(kept) for kept in index._kept.values()) <= 100
    assert len(index._kept) == 2


def test_a_filter_is_exact_where_few_pass_also_beyond_the_cells_looked_into(monkeypatch):
    monkeypatch.setattr("kivuko.search.faiss_index._FEW", 10)  # so that graph and cells are really used
    vectors, queries = unit(3000, 5), unit(10, 6)
    among = np.arange(0, 3000, 150)
    exact = FlatIndex(DIM)
    exact.add(np.arange(3000), vectors)
    wanted = exact.search(queries, 15, among)[1]
    for kind in ("hnsw", "ivf"):
        index = FaissIndex(DIM, kind, "float32")
        index.add(np.arange(3000), vectors)
        assert (index.search(queries, 15, among)[1] == wanted).mean() > 0.95
        assert (index.search(queries, 15, among)[1] >= 0).all()


def test_more_is_wanted_than_there_is(index):
    index.add(np.arange(50), unit(50))
    scores, ids = index.search(unit(2), 60)
    assert sorted(ids[0, :50].tolist()) == list(range(50))
    assert (ids[:, 50:] == -1).all()
    assert np.isneginf(scores[:, 50:]).all()


def test_an_empty_index_finds_nothing(index):
    scores, ids = index.search(unit(2), 3)
    assert (ids == -1).all()
    assert np.isneginf(scores).all()
    index.add(np.arange(40), unit(40))
    assert index.remove(np.arange(40)) == 40
    assert len(index) == 0
    assert (index.search(unit(2), 3)[1] == -1).all()


def test_saving_keeps_everything(index, tmp_path):
    index.add(np.arange(200) * 3, unit(200))
    index.remove(np.array([3, 6]))
    before = index.search(unit(5, 7), 8)
    index.save(tmp_path / "index")
    read = type(index).load(tmp_path / "index")
    assert (read.kind, read.storage, len(read)) == (index.kind, index.storage, 198)
    for one, other in zip(before, read.search(unit(5, 7), 8), strict=True):
        assert np.array_equal(one, other)
    read.remove(np.array([9]))
    read.add(np.array([3, 1000]), unit(2, 8))
    assert len(read) == 199


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf"])
@pytest.mark.parametrize("storage", ["float32", "float16", "int8"])
def test_an_index_mapped_from_disk_gives_the_same(kind, storage, tmp_path):
    index = FaissIndex(DIM, kind, storage)
    index.add(np.arange(200) * 3, unit(200))
    index.save(tmp_path / "index")
    mapped = FaissIndex.load(tmp_path / "index", mapped=True)
    for among in (None, np.arange(0, 600, 9)):
        one, other = index.search(unit(5, 7), 8, among), mapped.search(unit(5, 7), 8, among)
        assert np.array_equal(one[0], other[0])
        assert np.array_equal(one[1], other[1])


@pytest.mark.parametrize("kind", [FlatIndex, FaissIndex])
@pytest.mark.parametrize("content", [None, b"", b"IwFlnonsense" * 9, b"x" * 200])
def test_what_is_no_index_is_refused(kind, content, tmp_path):
    if content is not None:
        (tmp_path / "index").write_bytes(content)
    with pytest.raises(CorruptFileError, match="not an index"):
        kind.load(tmp_path / "index")


def test_bad_additions_and_queries_are_refused_and_change_nothing(index):
    index.add(np.arange(30), unit(30))
    broken = unit(1)
    broken[0, 3] = np.nan
    for ids, vectors, error in (
        ([40, 40], unit(2), ValueError), ([5], unit(1), ValueError), ([-1], unit(1), ValueError),
        ([50], unit(2), ValueError), ([50], unit(1)[:, :8], ValueError), ([50], broken, DataError),
    ):  # fmt: skip
        with pytest.raises(error):
            index.add(np.array(ids), vectors)
    assert index.ids().tolist() == list(range(30))
    with pytest.raises(ValueError, match="width"):
        index.search(unit(1)[:, :8], 3)
    with pytest.raises(ValueError, match="at least 1"):
        index.search(unit(1), 0)


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.booleans(), st.lists(st.integers(0, 30), max_size=12, unique=True)), min_size=1, max_size=6
    ),
    k=st.integers(1, 12),
    among=st.none() | st.lists(st.integers(0, 35), unique=True),
)
def test_exact_search_is_brute_force_with_ties_by_id(steps, k, among):
    """Few distinct vectors, so that ties abound."""
    pool = unit(4, 9)
    index, held = FlatIndex(DIM), dict[int, np.ndarray]()
    for adds, numbers in steps:
        if adds:
            new = [number for number in numbers if number not in held]
            index.add(np.array(new, dtype=np.int64), pool[[number % 4 for number in new]].reshape(-1, DIM))
            held |= {number: pool[number % 4] for number in new}
        else:
            assert index.remove(np.array(numbers, dtype=np.int64)) == len(held.keys() & set(numbers))
            held = {number: vector for number, vector in held.items() if number not in numbers}
    left = held if among is None else {number: vector for number, vector in held.items() if number in among}
    query = unit(1, 10)
    _, ids = index.search(query, k, None if among is None else np.array(among, dtype=np.int64))
    expected = [number for number, _ in brute_force(left, query[0], k)]
    assert ids[0].tolist() == expected + [-1] * (k - len(expected))


def test_exact_scores_do_not_depend_on_company(monkeypatch):
    """Alone or in a batch, in one block or in many: the same bits; and ties across blocks go by id."""
    vectors, queries = np.concatenate([unit(100), unit(100)]), unit(9, 11)
    index = FlatIndex(DIM)
    index.add(np.arange(200)[::-1].copy(), vectors)
    whole = index.search(queries, 20)
    monkeypatch.setattr("kivuko.search.index._BLOCK", 7)
    monkeypatch.setattr("kivuko.search.index._QUERIES", 2)
    parts = index.search(queries, 20)
    alone = [index.search(query[None], 20) for query in queries]
    for place in (0, 1):
        assert np.array_equal(whole[place], parts[place])
        assert np.array_equal(whole[place], np.concatenate([one[place] for one in alone]))
    assert (whole[1][:, 1::2] - whole[1][:, ::2] == 100).all()  # each vector is there twice, 100 ids apart


def test_the_index_is_chosen_by_size_and_can_be_named():
    assert choose_index(2_000, 384) == IndexPlan("flat", "float32")
    assert choose_index(1_000_000, 384) == IndexPlan("hnsw", "float16")
    assert choose_index(1_000_000, 384, "flat").storage == "float16"
    assert choose_index(10, 384, "hnsw", "int8") == IndexPlan("hnsw", "int8")
    for options in ({"kind": "tree"}, {"storage": "int4"}):
        with pytest.raises(UsageError, match="Choose from auto"):
            choose_index(10, 384, **options)


def test_without_faiss_exact_search_works_and_the_rest_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    index = new_index(IndexPlan("flat", "float32"), DIM, 10)
    index.add(np.arange(3), unit(3))
    assert index.search(unit(3), 1)[1].ravel().tolist() == [0, 1, 2]
    with pytest.raises(MissingDependencyError, match=r"pip install 'kivuko\[scale\]'"):
        new_index(IndexPlan("hnsw", "float32"), DIM, 10)
    unready = new_index(IndexPlan("ivf", "float16"), DIM, 10)
    with pytest.raises(MissingDependencyError, match="scale"):
        unready.add(np.arange(3), unit(3))


def two_heaps(n, dim=16):
    """Return vectors near one of two directions, and which of them are near the second."""
    random = np.random.default_rng(5)
    second = random.random(n) < 0.5
    centers = np.where(second[:, None], np.eye(dim)[1], np.eye(dim)[0])
    vectors = centers + 0.3 * random.normal(size=(n, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), second


def recall(results, best):
    return np.mean([len(set(a) & set(b)) / 10 for a, b in zip(results.tolist(), best.tolist(), strict=True)])


@pytest.mark.parametrize("kind", ["hnsw", "ivf", "flat"])
@pytest.mark.parametrize("storage", ["float32", "float16", "int8"])
@pytest.mark.parametrize("exact_below", [4096, 50])  # by comparing all that pass, and with the graph or the cells
def test_filters_keep_the_recall_whatever_share_passes(kind, storage, exact_below, monkeypatch):
    monkeypatch.setattr(faiss_module, "_FEW", exact_below)
    if exact_below == 50:
        monkeypatch.setattr(faiss_module, "_COMPARED_PER_DEPTH", 0.1)
    vectors, second = two_heaps(6000)
    index = FaissIndex(16, kind, storage, expected=len(vectors))
    index.add(np.arange(len(vectors)) * 3, vectors)
    queries = two_heaps(300)[0][~two_heaps(300)[1]][:30]  # all near the first
    scores = queries @ vectors.T

    def best(rows):
        return rows[np.argsort(-scores[:, rows], axis=1)[:, :10]] * 3

    random = np.random.default_rng(1).random(len(vectors))
    plain = recall(index.search(queries, 10)[1], best(np.arange(len(vectors))))
    shares = {share: np.flatnonzero(random < share) for share in (0.5, 0.05, 0.005)}
    for rows in (*shares.values(), np.flatnonzero(second), np.flatnonzero(second & (random < 0.02))):
        results = index.search(queries, 10, rows * 3)[1]
        assert (results >= 0).all()
        assert recall(results, best(rows)) >= 0.95 * plain - (0.1 if storage == "int8" else 0)


@pytest.mark.parametrize("kind", ["hnsw", "ivf"])
def test_removed_vectors_take_no_place_in_filtered_results(kind, monkeypatch):
    monkeypatch.setattr(faiss_module, "_FEW", 50)
    vectors, second = two_heaps(3000)
    index = FaissIndex(16, kind, "float32", expected=3000)
    index.add(np.arange(3000), vectors)
    index.remove(np.flatnonzero(~second)[::2])
    left = np.union1d(np.flatnonzero(second), np.flatnonzero(~second)[1::2])
    query = vectors[~second][:1]
    shuffled = np.random.default_rng(0).permutation(np.flatnonzero(second))
    for among in (None, left, np.flatnonzero(second), np.arange(3000), shuffled, np.append(shuffled, shuffled[:9])):
        rows = left if among is None else np.intersect1d(left, among)
        expected = rows[np.argsort(-(query @ vectors[rows].T)[0])[:20]]
        assert len(set(index.search(query, 20, among)[1][0]) & set(expected)) >= 19
