"""Vector indexes: the protocol, the choice of one by size, and the exact one in NumPy."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from kivuko.errors import DataError, UsageError, unreadable
from kivuko.files import atomic_path

Vectors = NDArray[np.float32]
Ids = NDArray[np.int64]

KINDS = ("flat", "hnsw", "ivf")
STORAGES = ("float32", "float16", "int8")
AUTO = "auto"
# Up to here the exact search of one query takes about 5 ms on one core at 384 numbers a vector; see docs/search.md.
_MOST_EXACT_NUMBERS = 20_000 * 384


class Index(Protocol):
    """Unit vectors under ids, searched by cosine. Searching is safe from several threads; changing is not."""

    def add(self, ids: Ids, vectors: Vectors) -> None:
        """Add vectors, float32 [n, dim], under new ids, int64 [n], at least 0; ValueError or DataError otherwise."""

    def remove(self, ids: Ids) -> int:
        """Remove the vectors under ids, int64 [n]; return how many of the ids were there."""

    def search(self, queries: Vectors, k: int, among: Ids | None = None) -> tuple[Vectors, Ids]:
        """Return cosines float32 [queries, k] and ids int64 [queries, k], best first; equal scores by ascending id.

        ``queries``: unit vectors, float32 [queries, dim]. ``among``: the ids to search, int64 [n]; None: all. Where
        fewer than ``k`` are there, the rest is -inf and -1.
        """

    def ids(self) -> Ids:
        """All ids, ascending."""

    def save(self, path: Path) -> None:
        """Write the index to a file, completely or not at all."""

    @classmethod
    def load(cls, path: Path) -> Self:
        """Load an index from a file; CorruptFileError if it is missing or damaged."""

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class IndexPlan:
    """The kind of an index and the number type of its vectors."""

    kind: str  # flat (exact), hnsw (a graph) or ivf (cells)
    storage: str  # float32, float16 or int8

    def __str__(self) -> str:
        return f"{self.kind}, {self.storage}"


def choose_index(count: int, dim: int, kind: str = AUTO, storage: str = AUTO) -> IndexPlan:
    """Return the given kind and storage, "auto" replaced with what fits ``count`` vectors of ``dim`` numbers.

    Exact search as long as it takes a few milliseconds, then HNSW: real embeddings of sentences do not form cells, so
    IVF must search a tenth of them for a recall of 0.95, which takes several times as long.
    """
    for what, named, known in (("kind of index", kind, KINDS), ("storage", storage, STORAGES)):
        if named not in (AUTO, *known):
            raise UsageError(f"{named!r} is no {what}. Choose from {', '.join((AUTO, *known))}.")
    exact = count * dim <= _MOST_EXACT_NUMBERS
    if kind == AUTO:
        kind = "flat" if exact else "hnsw"
    if storage == AUTO:
        storage = "float32" if kind == "flat" and exact else "float16"
    return IndexPlan(kind, storage)


def new_index(plan: IndexPlan, dim: int, count: int) -> Index:
    """Return an empty index for about ``count`` vectors of ``dim`` numbers."""
    if plan.kind == "flat" and plan.storage != "int8":
        return FlatIndex(dim, plan.storage)
    from kivuko.search.faiss_index import FaissIndex

    return FaissIndex(dim, plan.kind, plan.storage, expected=count)


def checked_addition(ids: Ids, vectors: Vectors, dim: int, present: Ids) -> tuple[Ids, Vectors]:
    """Return ids and vectors in the right types, or raise as ``Index.add`` does; ``present``: the ids in the index."""
    ids = np.asarray(ids, dtype=np.int64)
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    if ids.ndim != 1 or vectors.shape != (len(ids), dim):
        raise ValueError(f"vectors of shape {vectors.shape} for {ids.shape} ids in an index of width {dim}")
    if len(ids) and (ids.min() < 0 or len(np.unique(ids)) < len(ids) or np.isin(ids, present).any()):
        raise ValueError("ids must be distinct, new and at least 0")
    if not np.isfinite(vectors).all():
        raise DataError("a vector holds numbers that are not finite: encode the images again.")
    return ids, vectors


def checked_queries(queries: Vectors, k: int, dim: int) -> Vectors:
    """Return queries as contiguous float32 [queries, dim]; ValueError if they do not fit or ``k`` is less than 1."""
    queries = np.ascontiguousarray(queries, dtype=np.float32)
    if queries.ndim != 2 or queries.shape[1] != dim:
        raise ValueError(f"queries of shape {queries.shape} for an index of width {dim}")
    if k < 1:
        raise ValueError(f"k = {k}: must be at least 1")
    return queries


def ranked(scores: Vectors, ids: Ids) -> tuple[Vectors, Ids]:
    """Sort each row by descending score, equal ones by ascending id; places without an id (-1) come last, with -inf."""
    scores = np.where(ids < 0, -np.inf, scores).astype(np.float32)
    order = np.lexsort((ids, -scores), axis=1)
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(ids, order, axis=1)


def padded(rows: Sequence[tuple[Vectors, Ids]], k: int) -> tuple[Vectors, Ids]:
    """Return the results of single queries, each at most ``k`` long, as arrays [queries, k]; see ``Index.search``."""
    scores = np.full((len(rows), k), -np.inf, dtype=np.float32)
    ids = np.full((len(rows), k), -1, dtype=np.int64)
    for row, (own_scores, own_ids) in enumerate(rows):
        scores[row, : len(own_scores)], ids[row, : len(own_ids)] = own_scores, own_ids
    return scores, ids


_BLOCK = 16_384  # vectors that are scored at once
_QUERIES = 64  # queries that are scored at once: with a block, 4 MiB of scores
_SLACK = 1e-5  # largest error of the matrix product for a unit vector of some thousand numbers
_INT64 = np.dtype(np.int64)


class FlatIndex:
    """Exact search in float32 or float16, block by block.

    Each score is computed separately, in one order of summation: it does not depend on the other vectors and queries,
    and equal vectors tie exactly.
    """

    def __init__(self, dim: int, storage: str = "float32") -> None:
        if storage not in ("float32", "float16"):
            raise ValueError(f"storage {storage!r}: must be float32 or float16")
        self.dim, self.storage, self.kind = dim, storage, "flat"
        self._count = 0
        self._ids: Ids = np.empty(0, dtype=np.int64)
        self._vectors: NDArray[Any] = np.empty((0, dim), dtype=storage)

    def __len__(self) -> int:
        return self._count

    def ids(self) -> Ids:
        return np.sort(self._ids[: self._count])

    def add(self, ids: Ids, vectors: Vectors) -> None:
        ids, vectors = checked_addition(ids, vectors, self.dim, self._ids[: self._count])
        end = self._count + len(ids)
        if end > len(self._ids):  # grown by half, so that many small additions stay cheap
            size = end if not self._count else max(end, self._count * 3 // 2)
            self._ids = np.concatenate([self._ids[: self._count], np.empty(size - self._count, dtype=np.int64)])
            grown = np.empty((size, self.dim), dtype=self.storage)
            grown[: self._count] = self._vectors[: self._count]
            self._vectors = grown
        self._ids[self._count : end], self._vectors[self._count : end] = ids, vectors
        self._count = end

    def remove(self, ids: Ids) -> int:
        kept = ~np.isin(self._ids[: self._count], ids)
        removed = self._count - int(kept.sum())
        if removed:
            self._ids, self._vectors = self._ids[: self._count][kept], self._vectors[: self._count][kept]
            self._count -= removed
        return removed

    def search(self, queries: Vectors, k: int, among: Ids | None = None) -> tuple[Vectors, Ids]:
        queries = checked_queries(queries, k, self.dim)
        rows = None if among is None else np.flatnonzero(np.isin(self._ids[: self._count], among))
        rows_of_hits = []
        for start in range(0, len(queries), _QUERIES):
            rows_of_hits += self._nearest(queries[start : start + _QUERIES], k, rows)
        return padded(rows_of_hits, k)

    def _nearest(self, queries: Vectors, k: int, rows: NDArray[np.intp] | None) -> list[tuple[Vectors, Ids]]:
        """Return the best of each query among some rows (None: all), in order."""
        best = [(np.empty(0, dtype=np.float32), np.empty(0, dtype=np.int64))] * len(queries)
        total = self._count if rows is None else len(rows)
        for start in range(0, total, _BLOCK):
            stop = min(start + _BLOCK, total)
            which = slice(start, stop) if rows is None else rows[start:stop]
            block = self._vectors[which].astype(np.float32, copy=False)
            ids = self._ids[which]
            scores = queries @ block.T  # [queries, block]
            for number, row in enumerate(scores):
                best[number] = _merged(best[number], queries[number], row, block, ids, k)
        return best

    def save(self, path: Path) -> None:
        with atomic_path(path) as temporary:
            save_file({"ids": self._ids[: self._count], "vectors": self._vectors[: self._count]}, temporary)

    @classmethod
    def load(cls, path: Path) -> Self:
        try:
            with safe_open(path, framework="np") as stored:
                ids, vectors = stored.get_tensor("ids"), stored.get_tensor("vectors")
            if ids.dtype != _INT64 or ids.ndim != 1 or vectors.ndim != 2 or len(ids) != len(vectors):
                raise ValueError("not ids and their vectors")
            index = cls(vectors.shape[1], str(vectors.dtype))
        except (SafetensorError, OSError, ValueError) as problem:
            what = f"{path}: not an index that loads. Delete this file and run again."
            raise unreadable(path, problem, what) from problem
        index._ids, index._vectors, index._count = ids, vectors, len(ids)
        return index


def _merged(
    best: tuple[Vectors, Ids], query: Vectors, scores: Vectors, block: Vectors, ids: Ids, k: int
) -> tuple[Vectors, Ids]:
    """Return the best ``k`` of the best so far and of a block with approximate scores."""
    least = np.partition(scores, len(scores) - k)[len(scores) - k] if len(scores) > k else -np.inf
    if len(best[0]) == k:
        least = max(least, best[0][-1])
    near = np.flatnonzero(scores >= least - _SLACK)
    if not len(near):
        return best
    exact = (block[near] * query).sum(1, dtype=np.float64).astype(np.float32)
    all_scores, all_ids = np.concatenate([best[0], exact]), np.concatenate([best[1], ids[near]])
    order = np.lexsort((all_ids, -all_scores))[:k]
    return all_scores[order], all_ids[order]
