"""Exact search with NumPy alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from kivuko.errors import CorruptFileError
from kivuko.files import atomic_path
from kivuko.gallery.index import Ids, Vectors, checked_addition, checked_queries, padded

_BLOCK = 16_384  # vectors that are scored at once
_QUERIES = 64  # queries that are scored at once: with a block, 4 MiB of scores
_SLACK = 1e-5  # how far the matrix product may be off for a unit vector of some thousand numbers
_INT64 = np.dtype(np.int64)


class FlatIndex:
    """Every vector is compared: recall 1. Keeps float32 or float16; beyond that, memory is bounded by a block.

    A score is computed for each vector by itself, in one order of summation: it does not depend on what else is in the
    index or asked at the same time, and equal vectors tie exactly.
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

    @property
    def nbytes(self) -> int:
        """Bytes that vectors and ids take."""
        return self._vectors.nbytes + self._ids.nbytes

    def ids(self) -> Ids:
        """See Index."""
        return np.sort(self._ids[: self._count])

    def add(self, ids: Ids, vectors: Vectors) -> None:
        """See Index."""
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
        """See Index."""
        kept = ~np.isin(self._ids[: self._count], ids)
        removed = self._count - int(kept.sum())
        if removed:
            self._ids, self._vectors = self._ids[: self._count][kept], self._vectors[: self._count][kept]
            self._count -= removed
        return removed

    def search(self, queries: Vectors, k: int, among: Ids | None = None) -> tuple[Vectors, Ids]:
        """See Index."""
        queries = checked_queries(queries, k, self.dim)
        rows = None if among is None else np.flatnonzero(np.isin(self._ids[: self._count], among))
        found = []
        for start in range(0, len(queries), _QUERIES):
            found += self._nearest(queries[start : start + _QUERIES], k, rows)
        return padded(found, k)

    def _nearest(self, queries: Vectors, k: int, rows: NDArray[np.intp] | None) -> list[tuple[Vectors, Ids]]:
        """Return the best of each query, among some rows or all, in order."""
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
        """See Index."""
        with atomic_path(path) as temporary:
            save_file({"ids": self._ids[: self._count], "vectors": self._vectors[: self._count]}, temporary)

    @classmethod
    def load(cls, path: Path) -> FlatIndex:
        """See Index."""
        try:
            with safe_open(path, framework="np") as stored:
                ids, vectors = stored.get_tensor("ids"), stored.get_tensor("vectors")
            if ids.dtype != _INT64 or ids.ndim != 1 or vectors.ndim != 2 or len(ids) != len(vectors):
                raise ValueError("not ids and their vectors")
            index = cls(vectors.shape[1], str(vectors.dtype))
        except (SafetensorError, OSError, ValueError) as problem:
            raise CorruptFileError(f"{path}: not an index that loads. Delete this file and run again.") from problem
        index._ids, index._vectors, index._count = ids, vectors, len(ids)
        return index


def _merged(
    best: tuple[Vectors, Ids], query: Vectors, scores: Vectors, block: Vectors, ids: Ids, k: int
) -> tuple[Vectors, Ids]:
    """Return the best ``k`` of those found before and of a block whose scores are known roughly."""
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
