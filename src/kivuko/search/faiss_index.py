"""Search with FAISS: exact, HNSW (a graph) or IVF (cells), in float32, float16 or int8."""

import errno
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self, cast

import numpy as np

from kivuko.errors import MissingDependencyError, unreadable
from kivuko.files import atomic_path
from kivuko.search.index import KINDS, STORAGES, FlatIndex, Ids, Vectors, checked_addition, checked_queries, ranked

# Chosen by measurement on vectors of real sentences, see docs/search.md.
_CELLS_PER_ROOT = 4  # IVF: cells, in square roots of the number of vectors
_PROBES = 128  # IVF: cells that a query looks into
_NEIGHBORS, _BUILD_WIDTH, _SEARCH_WIDTH = 32, 80, 256  # HNSW: M, efConstruction, efSearch
POINTS_PER_CELL = 64  # IVF: training vectors per cell
_ROUNDS = 10  # of k-means
_MARGIN = 0.05  # int8: of the range seen in training, added at both ends
_FEW = 4096  # up to this many vectors are compared one by one rather than with the graph or the cells
_SPARE = 2  # of the nearest images, how many times more are expected to pass a filter than are wanted
_DEEPER = 2  # times that the graph or the cells are searched
_COMPARED_PER_DEPTH = 30  # vectors that are compared one by one in the time of one more unit of depth
_KEPT_BYTES = (
    64 << 20
)  # vectors of the last filters that are kept, so that the next query with one need not gather them


class FaissIndex:
    """A FAISS index with ids, see ``Index``; ``expected`` is the approximate number of vectors, for IVF's cells.

    Vectors removed from HNSW are only marked; they keep their memory until the index is rebuilt.
    """

    def __init__(self, dim: int, kind: str = "flat", storage: str = "float32", expected: int = 0) -> None:
        if kind not in KINDS or storage not in STORAGES:
            raise ValueError(f"kind {kind!r} in {storage!r}: choose from {KINDS} and {STORAGES}")
        self.dim, self.kind, self.storage = dim, kind, storage
        self._expected = expected
        self._index: Any = None if kind == "ivf" else _empty(dim, kind, storage, 0)
        self._alive: Ids = np.empty(0, dtype=np.int64)  # ascending
        self._in_order: bool | None = None  # whether rows have ascending ids; None: not known
        self._kept: dict[bytes, FlatIndex] = {}  # the vectors of filters that few pass, last used last
        self.dead = 0  # vectors that were removed but keep their memory

    def __len__(self) -> int:
        return len(self._alive)

    @property
    def trained(self) -> bool:
        return self._index is not None and bool(self._index.is_trained)

    def ids(self) -> Ids:
        return self._alive

    def train(self, sample: Vectors) -> None:
        """Learn cells and scales from a sample, float32 [n, dim]; without this, the first ``add`` does so."""
        sample = np.ascontiguousarray(sample, dtype=np.float32)
        if self._index is None:
            count = min(cells(max(self._expected, len(sample))), max(1, len(sample)))
            self._index = _empty(self.dim, self.kind, self.storage, count)
        if not self._index.is_trained:
            self._index.train(sample)

    def add(self, ids: Ids, vectors: Vectors) -> None:
        ids, vectors = checked_addition(ids, vectors, self.dim, self._alive)
        if not len(ids):
            return
        if not self.trained:
            self.train(vectors)
        self._index.add_with_ids(vectors, ids)
        self._in_order, self._kept = None, {}
        self._alive = np.union1d(self._alive, ids)

    def remove(self, ids: Ids) -> int:
        gone = np.intersect1d(self._alive, np.asarray(ids, dtype=np.int64))
        if not len(gone):
            return 0
        self._kept = {}
        if self.kind == "hnsw":  # a graph cannot lose a node: it is passed through, but never returned
            faiss = _faiss()
            known = faiss.vector_to_array(self._index.id_map)
            known[np.isin(known, gone)] = -1
            faiss.copy_array_to_vector(known, self._index.id_map)
            self.dead += len(gone)
            self._in_order = False
        else:
            self._index.remove_ids(gone)
        self._alive = np.setdiff1d(self._alive, gone, assume_unique=True)
        return len(gone)

    def search(self, queries: Vectors, k: int, among: Ids | None = None) -> tuple[Vectors, Ids]:
        queries = checked_queries(queries, k, self.dim)
        some: Ids | None = self._alive if among is None else _ascending(among)
        if among is None and not self.dead:
            some = None
        passing = len(self) if some is None else len(some)
        wanted = min(k, len(self), passing)
        scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        ids = np.full((len(queries), k), -1, dtype=np.int64)
        left = np.arange(len(queries) if wanted else 0)  # queries without a result so far
        if self.kind != "flat":
            # The nearest of all images are searched so deep that enough of them should pass. Where they do not, as
            # when a filter leaves only images unlike the query, deeper, and then all that pass are compared.
            depth = wanted if some is None else math.ceil(_SPARE * wanted * (len(self) + self.dead) / max(1, passing))
            for _ in range(_DEEPER):
                if passing <= max(_FEW, _COMPARED_PER_DEPTH * max(depth, self._width)) or not len(left):
                    break
                nearest_scores, nearest = self._nearest(queries[left], depth)
                passes = nearest >= 0 if some is None else _places(nearest, some)[1]
                best = np.argsort(~passes, axis=1, kind="stable")[:, :wanted]
                enough = passes.sum(1) >= wanted
                rows, best = left[enough], best[enough]
                scores[rows, :wanted] = np.take_along_axis(nearest_scores[enough], best, axis=1)
                ids[rows, :wanted] = np.take_along_axis(nearest[enough], best, axis=1)
                left, depth = left[~enough], depth * 4
        if len(left):
            scores[left, :wanted], ids[left, :wanted] = self._compare_all(queries[left], wanted, some)
        return ranked(scores, ids)

    @property
    def _width(self) -> int:
        return _SEARCH_WIDTH if self.kind == "hnsw" else _PROBES

    def _nearest(self, queries: Vectors, depth: int) -> tuple[Vectors, Ids]:
        """Search all images with the graph or the cells, so thoroughly that the recall holds down to ``depth``."""
        faiss = _faiss()
        if self.kind == "ivf":
            probes = min(int(self._index.nlist), round(max(_PROBES, depth / 2)))
            options = faiss.SearchParametersIVF(nprobe=probes)
        else:
            options = faiss.SearchParametersHNSW(efSearch=round(max(_SEARCH_WIDTH, 1.5 * depth)))
        return cast(tuple[Vectors, Ids], self._index.search(np.ascontiguousarray(queries), depth, params=options))

    def _compare_all(self, queries: Vectors, k: int, some: Ids | None) -> tuple[Vectors, Ids]:
        """Compare with every vector that passes; exact but for the rounding of the storage."""
        faiss, queries = _faiss(), np.ascontiguousarray(queries)
        if some is not None and self.kind != "flat" and 4 * self.dim * len(some) <= _KEPT_BYTES // 2:
            return self._gathered(some).search(queries, k)
        if self.kind == "hnsw":  # its storage numbers vectors by row
            known = faiss.rev_swig_ptr(self._index.id_map.data(), self._index.id_map.size())
            rows = None if some is None else _selector(self._rows(known, some))
            vectors = faiss.downcast_index(self._inner().storage)
            scores, places = vectors.search(queries, k, params=faiss.SearchParameters(sel=rows))
            return scores, np.where(places < 0, -1, known[places])
        selector = None if some is None else _selector(some)
        if self.kind == "ivf":
            options = faiss.SearchParametersIVF(sel=selector, nprobe=int(self._index.nlist))
        else:
            options = faiss.SearchParameters(sel=selector)
        return cast(tuple[Vectors, Ids], self._index.search(queries, k, params=options))

    def _gathered(self, some: Ids) -> FlatIndex:
        """Return the vectors of some ids for exact search, kept for the next query with the same filter."""
        key = some.tobytes()
        gathered = self._kept.pop(key, None)
        if gathered is None:
            gathered = FlatIndex(self.dim)
            gathered.add(*self._vectors_of(some))
        self._kept[key] = gathered
        numbers = _KEPT_BYTES // (4 * self.dim)
        for other in list(self._kept):  # the longest unused first
            if sum(len(index) for index in list(self._kept.values())) <= numbers:
                break
            self._kept.pop(other, None)
        return gathered

    def _vectors_of(self, some: Ids) -> tuple[Ids, Vectors]:
        """Return the ids that are there and their vectors, as rounded by the storage."""
        faiss, some = _faiss(), some[_places(some, self._alive)[1]]
        if not len(some):
            return some, np.empty((0, self.dim), dtype=np.float32)
        if self.kind == "hnsw":
            known = faiss.rev_swig_ptr(self._index.id_map.data(), self._index.id_map.size())
            rows = self._rows(known, some)
            return known[rows], faiss.downcast_index(self._inner().storage).reconstruct_batch(rows)
        ids, vectors = np.empty_like(some), np.empty((len(some), self.dim), dtype=np.float32)
        row = 0
        for cell, known in _cells_of(self._index):
            for offset in np.flatnonzero(_places(known, some)[1]).tolist():
                self._index.reconstruct_from_offset(cell, offset, faiss.swig_ptr(vectors[row]))
                ids[row] = known[offset]
                row += 1
        return ids, vectors

    def _rows(self, known: Ids, some: Ids) -> Ids:
        """Return the rows of the storage that hold some ids; ``known``: the ids by row."""
        if self._in_order is None:
            self._in_order = bool((known[1:] > known[:-1]).all())
        if not self._in_order:
            return np.flatnonzero(np.isin(known, some))
        rows, present = _places(some, known)
        return np.asarray(rows[present])

    def _inner(self) -> Any:
        """Return the HNSW index without the map of ids around it."""
        return _faiss().downcast_index(self._index.index)

    def save(self, path: Path) -> None:
        faiss = _faiss()
        if self._index is None:
            raise ValueError("an index that was never trained cannot be saved")
        with atomic_path(path) as temporary:
            try:
                faiss.write_index(self._index, str(temporary))
            except RuntimeError as problem:  # FAISS passes on only the system's message
                number = errno.ENOSPC if "space" in str(problem) else errno.EACCES
                raise OSError(number, str(problem), str(path)) from problem

    @classmethod
    def load(cls, path: Path, *, mapped: bool = False) -> Self:
        """Load an index from a file; ``mapped`` leaves the vectors on disk, and the index cannot be changed.

        FAISS checks little: ``image_index`` keeps a checksum.
        """
        faiss = _faiss()
        try:
            with path.open("rb") as stream:
                in_cells = stream.read(2) == b"Iw"
            mapping = faiss.IO_FLAG_MMAP if in_cells else faiss.IO_FLAG_MMAP_IFC
            stored = faiss.read_index(str(path), mapping | faiss.IO_FLAG_READ_ONLY if mapped else 0)
            kind, storage = _described(stored)
        except (RuntimeError, OSError, ValueError, KeyError, AttributeError) as problem:
            what = f"{path}: not an index that loads. Delete this file and run again."
            raise unreadable(path, problem, what) from problem
        index = cls(int(stored.d), kind, storage, expected=int(stored.ntotal))
        index._index = stored
        if mapped and kind == "ivf":  # else each search starts 32 threads that read ahead
            faiss.downcast_InvertedLists(stored.invlists).prefetch_nthread = 0
        known = _ids_of(stored, kind)
        index._alive = np.sort(known[known >= 0])
        index.dead = len(known) - len(index._alive)
        return index


def cells(count: int) -> int:
    """Return the number of IVF's cells for a number of vectors."""
    return max(1, min(round(_CELLS_PER_ROOT * math.sqrt(count)), count // 39))


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as problem:
        raise MissingDependencyError(
            "this index needs faiss, which is not installed. Run: pip install 'kivuko[scale]'"
        ) from problem
    return faiss


def _empty(dim: int, kind: str, storage: str, count: int) -> Any:
    faiss = _faiss()
    metric = faiss.METRIC_INNER_PRODUCT
    quantizer = {"float16": faiss.ScalarQuantizer.QT_fp16, "int8": faiss.ScalarQuantizer.QT_8bit}.get(storage)
    if kind == "ivf":
        coarse = faiss.IndexFlatIP(dim)
        if quantizer is None:
            index = faiss.IndexIVFFlat(coarse, dim, count, metric)
        else:
            index = faiss.IndexIVFScalarQuantizer(coarse, dim, count, quantizer, metric)
        index.own_fields = True
        coarse.this.disown()
        _widen(index)
        index.cp.niter, index.cp.max_points_per_centroid, index.cp.spherical = _ROUNDS, POINTS_PER_CELL, True
        return index
    if kind == "hnsw":
        index = (
            faiss.IndexHNSWFlat(dim, _NEIGHBORS, metric)
            if quantizer is None
            else faiss.IndexHNSWSQ(dim, quantizer, _NEIGHBORS, metric)
        )
        index.hnsw.efConstruction = _BUILD_WIDTH
        _widen(faiss.downcast_index(index.storage))
    else:
        index = faiss.IndexFlatIP(dim) if quantizer is None else faiss.IndexScalarQuantizer(dim, quantizer, metric)
        _widen(index)
    with_ids = faiss.IndexIDMap(index)
    with_ids.own_fields = True
    index.this.disown()
    return with_ids


def _widen(index: Any) -> None:
    """Let int8 reach beyond the smallest and largest number of the training sample."""
    if (quantizer := getattr(index, "sq", None)) is not None:
        quantizer.rangestat_arg = _MARGIN


def _ascending(ids: Ids) -> Ids:
    ids = np.asarray(ids, dtype=np.int64)
    return ids if (ids[1:] > ids[:-1]).all() else np.unique(ids)


def _places(ids: Ids, among: Ids) -> tuple[Ids, Any]:
    """Return where each id would be among ascending others, of which there is at least one, and whether it is there."""
    places = np.minimum(np.searchsorted(among, ids), len(among) - 1)
    return places, among[places] == ids


def _selector(ids: Ids) -> Any:
    """Return a FAISS selector of some ids, one bit for each possible id."""
    marks = np.zeros(int(ids.max()) + 1 if len(ids) else 1, dtype=bool)
    marks[ids] = True
    return _faiss().IDSelectorBitmap(np.packbits(marks, bitorder="little"))


def _described(stored: Any) -> tuple[str, str]:
    """Return kind and storage of a loaded index; ValueError for a kind that Kivuko does not write."""
    faiss = _faiss()
    if stored.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise ValueError("another metric")
    if isinstance(stored, faiss.IndexIVF):
        return "ivf", _storage(stored)
    if not isinstance(stored, faiss.IndexIDMap):
        raise ValueError("no ids")
    inner = faiss.downcast_index(stored.index)
    if isinstance(inner, faiss.IndexHNSW):
        return "hnsw", _storage(faiss.downcast_index(inner.storage))
    return "flat", _storage(inner)


def _storage(inner: Any) -> str:
    quantizer = getattr(inner, "sq", None)
    if quantizer is None:
        return "float32"
    return {_faiss().ScalarQuantizer.QT_fp16: "float16", _faiss().ScalarQuantizer.QT_8bit: "int8"}[quantizer.qtype]


def _cells_of(stored: Any) -> Iterator[tuple[int, Ids]]:
    """Yield each of IVF's cells that is not empty, and the ids in it, not copied."""
    lists = stored.invlists
    for cell in range(int(stored.nlist)):
        if size := lists.list_size(cell):
            yield cell, _faiss().rev_swig_ptr(lists.get_ids(cell), size)


def _ids_of(stored: Any, kind: str) -> Ids:
    """Return the ids of a loaded index, in its own order; -1 where one was removed."""
    faiss = _faiss()
    if kind != "ivf":
        ids: Ids = faiss.vector_to_array(stored.id_map)
        return ids
    parts = [known.astype(np.int64) for _, known in _cells_of(stored)]  # copies
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)
