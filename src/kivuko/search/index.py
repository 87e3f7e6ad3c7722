"""What finds the nearest images: the protocol of indexes, and the choice of one."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from kivuko.errors import CorruptFileError, DataError, KivukoError, UsageError
from kivuko.files import atomic_path, sha256_of, write_text

if TYPE_CHECKING:
    from kivuko.search.faiss_index import FaissIndex
    from kivuko.search.store import GalleryStore


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
        return FlatIndex(dim, plan.storage)
    from kivuko.search.faiss_index import FaissIndex

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
        raise DataError("a vector holds numbers that are not finite: encode the images again.")
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


# A gallery's index on disk: derived from its vectors, checked before it is used, made again where it does not fit.
#
# ``index/G.faiss`` is the index of generation G; ``index/G.json`` says what it was built from and holds its checksum.

Progress = Callable[[int, int], None]  # vectors done, vectors in all
_FORMAT = 1
_BATCH = 16_384
_MOST_CHANGED = 0.2  # of the vectors: beyond it an index is built anew, as its cells no longer fit
FOLDER = "index"


@dataclass(frozen=True)
class _Saved:
    """One index file that is whole and of this gallery."""

    file: Path
    plan: IndexPlan
    trained_on: int


def open_index(store: GalleryStore, kind: str = AUTO, storage: str = AUTO, progress: Progress | None = None) -> Index:
    """Return the index of what a store shows: from its file, from the last generation's, or built and saved.

    Exact indexes in float32 and float16 are quick to build and not saved. Where the folder cannot be written, the
    index is built each time.

    Args:
        kind: "flat", "hnsw", "ivf", or "auto": what was saved for this generation, else what fits the size.
        storage: "float32", "float16", "int8" or "auto".
        progress: is told how far building is.

    Raises:
        UsageError: there is no such kind or storage.
        MissingDependencyError: the index needs the extra ``scale``.
        CorruptFileError: the gallery's vectors are damaged.
    """
    plan = choose_index(len(store), store.dim, kind, storage)
    file = index_file(store)
    saved = _checked(file, store, store.generation)
    if saved is not None and kind in (AUTO, saved.plan.kind) and storage in (AUTO, saved.plan.storage):
        with contextlib.suppress(CorruptFileError):
            found = _load(saved.file, mapped=True)
            if np.array_equal(found.ids(), store.ids()):
                return found
    tell = progress or (lambda _done, _total: None)
    trained_on = len(store)
    if (updated := _updated(store, plan, tell)) is not None:
        index, trained_on = updated
    else:
        index = build_index(store, plan, tell)
    if plan.kind != "flat":
        with contextlib.suppress(KivukoError, OSError):  # a folder that cannot be written, a full disk: it still serves
            _save(index, file, store, plan, trained_on)
            return _load(file, mapped=True)  # so that the memory that building took is given back
    return index


def index_file(store: GalleryStore) -> Path:
    """Return where the index of a store's generation lies."""
    return store.path / FOLDER / f"{store.generation}.faiss"


def build_index(store: GalleryStore, plan: IndexPlan, tell: Progress) -> Index:
    """Build an index from a gallery's vectors, in batches; IVF's cells are learned from an even sample."""
    total = len(store)
    index = new_index(plan, store.dim, total)
    if plan.kind == "ivf" or plan.storage == "int8":
        from kivuko.search.faiss_index import FaissIndex

        assert isinstance(index, FaissIndex)
        _train(index, store, tell)
    done = 0
    for ids, vectors in store.vectors(_BATCH):
        index.add(ids, vectors)
        done += len(ids)
        tell(done, total)
    return index


def _train(index: FaissIndex, store: GalleryStore, tell: Progress) -> None:
    from kivuko.search.faiss_index import POINTS_PER_CELL, cells

    wanted = max(POINTS_PER_CELL * cells(len(store)), 10_000)
    step = max(1, len(store) // wanted)
    parts, first = [], 0
    for _, vectors in store.vectors(_BATCH):
        parts.append(vectors[(-first) % step :: step].copy())
        first += len(vectors)
    tell(0, len(store))
    index.train(np.concatenate(parts))


def _updated(store: GalleryStore, plan: IndexPlan, tell: Progress) -> tuple[Index, int] | None:
    """Return the last generation's index brought up to date, if there is one of the same plan and little has changed.

    With it goes the number of vectors that its cells were learned on.
    """
    if plan.kind == "flat":
        return None
    # Of older ones nothing is taken: an id may stand for another image since.
    earlier = store.generation - 1
    saved = _checked(store.path / FOLDER / f"{earlier}.faiss", store, earlier)
    if saved is None or saved.plan != plan or not 0.5 <= saved.trained_on / max(1, len(store)) <= 2:
        return None
    try:
        index = _load(saved.file, mapped=False)
    except CorruptFileError:
        return None
    gone = np.setdiff1d(index.ids(), store.ids(), assume_unique=True)
    come = np.setdiff1d(store.ids(), index.ids(), assume_unique=True)
    if max(len(gone) + len(come), index.dead + len(gone)) > _MOST_CHANGED * len(store):
        return None
    index.remove(gone)
    done = 0
    for ids, vectors in store.vectors(_BATCH):
        new = np.isin(ids, come, assume_unique=True)
        if new.any():
            index.add(ids[new], vectors[new])
        done += len(ids)
        tell(done, len(store))
    return index, saved.trained_on


def _load(file: Path, *, mapped: bool) -> FaissIndex:
    from kivuko.search.faiss_index import FaissIndex

    return FaissIndex.load(file, mapped=mapped)


def _save(index: Index, file: Path, store: GalleryStore, plan: IndexPlan, trained_on: int) -> None:
    """Write the index, then what it was built from, then remove those of generations before the last.

    Killed in between, it leaves an index whose checksum does not fit, which is never used.
    """
    index.save(file)
    told = {
        "format": _FORMAT, "kind": plan.kind, "storage": plan.storage, "trained_on": trained_on,
        "sha256": sha256_of(file), **_built_from(store, store.generation), "ids": _digest(index.ids()),
    }  # fmt: skip
    write_text(file.with_suffix(".json"), json.dumps(told, indent=1) + "\n")
    for other in file.parent.glob("*.faiss"):
        if other.stem.isdigit() and int(other.stem) < store.generation - 1:
            other.unlink(missing_ok=True)
            other.with_suffix(".json").unlink(missing_ok=True)


def _checked(file: Path, store: GalleryStore, generation: int) -> _Saved | None:
    """Return a saved index if it is whole and was built from this gallery's generation; else None."""
    try:
        told: dict[str, Any] = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
        expected = {"format": _FORMAT, **_built_from(store, generation)}
        if any(told.get(name) != value for name, value in expected.items()):
            return None
        if generation == store.generation and told["ids"] != _digest(store.ids()):
            return None
        if sha256_of(file) != told["sha256"]:
            return None
        plan = IndexPlan(str(told["kind"]), str(told["storage"]))
        return _Saved(file, plan, int(told["trained_on"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _built_from(store: GalleryStore, generation: int) -> dict[str, Any]:
    """Say of which gallery, model and generation; an image's id always stands for the same vector within them."""
    return {
        "gallery": store.meta["identity"], "fingerprint": store.fingerprint, "dim": store.dim, "generation": generation,
    }  # fmt: skip


def _digest(ids: Ids) -> str:
    return hashlib.sha256(np.ascontiguousarray(ids, dtype="<i8").tobytes()).hexdigest()
