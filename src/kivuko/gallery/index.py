"""What finds the nearest pictures: the protocol of indexes, and the choice of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kivuko.errors import DataError, UsageError

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
        """Add vectors, float32 [n, dim], under ids, int64 [n], at least 0 and not yet in it.

        Raises:
            ValueError: the shapes do not fit, or an id is negative or there already.
            DataError: a vector holds numbers that are not finite.
        """

    def remove(self, ids: Ids) -> int:
        """Remove what lies under ids, int64 [n]; returns how many of them were there."""

    def search(self, queries: Vectors, k: int, among: Ids | None = None) -> tuple[Vectors, Ids]:
        """Return the ``k`` nearest to each query, best first; equal scores by ascending id.

        Args:
            queries: unit vectors, float32 [queries, dim].
            k: at least 1.
            among: only these are searched, int64 [n]; None: all.

        Returns:
            Cosines float32 [queries, k] and ids int64 [queries, k]; where there are fewer, -inf and -1.
        """

    def ids(self) -> Ids:
        """Return all ids, ascending."""

    def save(self, path: Path) -> None:
        """Write it to a file, whole or not at all."""

    @classmethod
    def load(cls, path: Path) -> Index:
        """Read it from a file.

        Raises:
            CorruptFileError: the file is missing or damaged.
        """

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class IndexPlan:
    """Which index: ``kind`` (flat: exact; hnsw: a graph; ivf: cells) and ``storage`` of the vectors' numbers."""

    kind: str
    storage: str

    def __str__(self) -> str:
        return f"{self.kind}, {self.storage}"


def choose_index(count: int, dim: int, kind: str = AUTO, storage: str = AUTO) -> IndexPlan:
    """Return the index that fits ``count`` vectors of ``dim`` numbers, as far as it is not named.

    Exact search as long as it takes a few milliseconds, then HNSW: real embeddings of sentences do not fall into cells,
    so that IVF must look into a tenth of them for a recall of 0.95, which takes several times as long. It is built
    faster, though.

    Raises:
        UsageError: there is no such kind or storage.
    """
    for option, named, known in (("index", kind, KINDS), ("storage", storage, STORAGES)):
        if named not in (AUTO, *known):
            raise UsageError(
                f"--{option} {named}: there is none of that name. Choose from {', '.join((AUTO, *known))}."
            )
    exact = count * dim <= _MOST_EXACT_NUMBERS
    if kind == AUTO:
        kind = "flat" if exact else "hnsw"
    if storage == AUTO:
        storage = "float32" if kind == "flat" and exact else "float16"
    return IndexPlan(kind, storage)


def new_index(plan: IndexPlan, dim: int, count: int) -> Index:
    """Return an empty index for about ``count`` vectors of ``dim`` numbers.

    Raises:
        MissingDependencyError: it needs the extra ``scale``.
    """
    if plan.kind == "flat" and plan.storage != "int8":
        from kivuko.gallery.flat_index import FlatIndex

        return FlatIndex(dim, plan.storage)
    from kivuko.gallery.faiss_index import FaissIndex

    return FaissIndex(dim, plan.kind, plan.storage, expected=count)


def checked_addition(ids: Ids, vectors: Vectors, dim: int, present: Ids) -> tuple[Ids, Vectors]:
    """Return what is to be added in the right types; ``present``: the ids that are there, ascending.

    Raises:
        ValueError, DataError: see ``Index.add``.
    """
    ids = np.asarray(ids, dtype=np.int64)
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    if ids.ndim != 1 or vectors.shape != (len(ids), dim):
        raise ValueError(f"vectors of shape {vectors.shape} for {ids.shape} ids in an index of width {dim}")
    if len(ids) and (ids.min() < 0 or len(np.unique(ids)) < len(ids) or np.isin(ids, present).any()):
        raise ValueError("ids must be distinct, new and at least 0")
    if not np.isfinite(vectors).all():
        raise DataError("a vector holds numbers that are not finite: encode the pictures again.")
    return ids, vectors


def checked_queries(queries: Vectors, k: int, dim: int) -> Vectors:
    """Return queries as contiguous float32 [queries, dim].

    Raises:
        ValueError: the shape does not fit, or ``k`` is less than 1.
    """
    queries = np.ascontiguousarray(queries, dtype=np.float32)
    if queries.ndim != 2 or queries.shape[1] != dim:
        raise ValueError(f"queries of shape {queries.shape} for an index of width {dim}")
    if k < 1:
        raise ValueError(f"k = {k}: must be at least 1")
    return queries


def ranked(scores: Vectors, ids: Ids) -> tuple[Vectors, Ids]:
    """Sort each row by falling score, equal ones by ascending id; places without an id (-1) come last, with -inf."""
    scores = np.where(ids < 0, -np.inf, scores).astype(np.float32)
    order = np.lexsort((ids, -scores), axis=1)
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(ids, order, axis=1)


def padded(rows: Sequence[tuple[Vectors, Ids]], k: int) -> tuple[Vectors, Ids]:
    """Put the results of single queries, each at most ``k`` long, into arrays [queries, k]."""
    scores = np.full((len(rows), k), -np.inf, dtype=np.float32)
    ids = np.full((len(rows), k), -1, dtype=np.int64)
    for row, (own_scores, own_ids) in enumerate(rows):
        scores[row, : len(own_scores)], ids[row, : len(own_ids)] = own_scores, own_ids
    return scores, ids
