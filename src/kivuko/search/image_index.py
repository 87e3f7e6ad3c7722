"""An index of images, opened for search, and the vector index over it."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kivuko.errors import CorruptFileError, ImageIndexError, KivukoError, ModelError
from kivuko.files import mend, sha256_of, write_text
from kivuko.progress import Report, progress_bar
from kivuko.search.filter import Conditions, Filter, as_filter, check_count, checked_path
from kivuko.search.index import AUTO, Ids, Index, IndexPlan, Vectors, choose_index, new_index
from kivuko.search.items import Hit
from kivuko.search.store import IndexStore
from kivuko.text import pluralize

if TYPE_CHECKING:
    from kivuko.search.building import Summary
    from kivuko.search.faiss_index import FaissIndex


_FILTERS = 8  # whose images are remembered: to select many may take longer than to search them


class _View:
    """One generation: its store, its vector index, and the number of searches that use them."""

    def __init__(self, store: IndexStore) -> None:
        self.store, self.users = store, 0
        self.select = functools.lru_cache(_FILTERS)(store.select)  # a generation never changes
        self.vector_index: Index | None = None
        self._loading = threading.Lock()

    def load(self, kind: str, storage: str, progress: bool | None) -> Index:
        """Load or build the vector index, once."""
        with self._loading:
            if self.vector_index is None:
                with progress_bar("building the index", progress) as report:
                    self.vector_index = open_vector_index(self.store, kind, storage, report)
            return self.vector_index


class ImageIndex:
    """An index of images, searched by cosine with unit vectors; ``Searcher`` searches it with words and images.

    It shows the state of the index when it was opened; ``refresh`` switches to the latest. Searching is safe from
    several threads, also during a refresh.

    Args:
        path: the folder that ``kivuko index`` or ``kivuko.build_index`` built.
        kind: type of the vector index: "flat" (exact), "hnsw", "ivf" or "auto" (exact up to about 20,000 images).
        storage: number type of the vector index: "float32", "float16", "int8" or "auto".
        progress: show a progress bar while a vector index is built; None: only on a terminal.

    Attributes:
        summary: counts of the run of ``build_index`` that returned this index; else None.

    Raises:
        ImageIndexError: there is no index, or it is not finished.
        CorruptFileError: the index is damaged.
        UsageError: an unknown kind or storage.
    """

    def __init__(
        self, path: Path | str, *, kind: str = AUTO, storage: str = AUTO, progress: bool | None = None
    ) -> None:
        choose_index(0, 1, kind, storage)
        self._view = _View(IndexStore.open(checked_path(path)))
        self._retired: list[_View] = []
        self._lock = threading.Lock()
        self._refreshing = threading.Lock()
        self._kind, self._storage, self._progress = kind, storage, progress
        self.summary: Summary | None = None

    @property
    def store(self) -> IndexStore:
        """The stored images. After a refresh, the previous store stays open until the next refresh."""
        return self._view.store

    @property
    def vector_index(self) -> Index:
        """The vector index; loaded, or built and saved, on first use."""
        return self._view.load(self._kind, self._storage, self._progress)

    def __len__(self) -> int:
        return len(self.store)

    def __repr__(self) -> str:
        store = self.store
        return f"ImageIndex({str(store.path)!r}, {pluralize(len(store), 'image')}, generation {store.generation})"

    def search(self, queries: Vectors, k: int = 10, where: Conditions = None) -> list[list[Hit]]:
        """Return the ``k`` nearest images of each query that pass the filter, best first; equal scores by id.

        Fewer are returned only where fewer pass. With an approximate vector index an image may be missed, see
        docs/search.md.

        Args:
            queries: unit vectors, float32 [queries, dim].
            k: number of images, at least 1.
            where: a condition such as ``"width>=800"``, or several that must all hold.

        Raises:
            ModelError: the queries do not have the width of the vectors.
            UsageError: a condition is not understood, or ``k`` is less than 1.
            ImageIndexError: the index is closed.
        """
        check_count(k)
        with self._in_use() as view:
            return self._search(view, np.asarray(queries, dtype=np.float32), k, as_filter(where))

    def like(self, id: int, k: int = 10, where: Conditions = None) -> list[Hit]:
        """Return the ``k`` images nearest to the image ``id`` of the index, without itself.

        Raises:
            KeyError: there is no such image.
        """
        with self._in_use() as view:
            hits = self._search(view, view.store.vector(id)[None], k + 1, as_filter(where))[0]
        return [hit for hit in hits if hit.item.id != id][:k]

    def refresh(self) -> bool:
        """Switch to a later state of the index if one was published, and return True if so.

        Raises:
            ModelError: the index was rebuilt with another model; open it again.
        """
        with self._refreshing:
            if not self.store.newer():
                return False
            store = IndexStore.open(self.store.path)
            if store.fingerprint != self.store.fingerprint or store.dim != self.store.dim:
                store.close()
                raise ModelError(f"{store.path}: was rebuilt with another model. Open it again.")
            view = _View(store)
            if self._view.vector_index is not None:
                view.load(self._kind, self._storage, False)
            with self._lock:
                before, self._view = self._view, view
                # A thread may still use the previous store, until the next refresh.
                ended = [one for one in self._retired if not one.users]
                self._retired = [one for one in self._retired if one.users] + [before]
            for one in ended:
                one.store.close()
            return True

    def close(self) -> None:
        """Close the files of the index; after that, nothing can be searched."""
        with self._lock:
            views, self._retired = [*self._retired, self._view], []
        for view in views:
            view.store.close()

    def __enter__(self) -> ImageIndex:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def _in_use(self) -> Iterator[_View]:
        with self._lock:
            view = self._view
            view.users += 1
        try:
            yield view
        finally:
            with self._lock:
                view.users -= 1

    def _search(self, view: _View, queries: Vectors, k: int, where: Filter) -> list[list[Hit]]:
        store = view.store
        if queries.ndim != 2 or queries.shape[1] != store.dim:
            raise ModelError(
                f"{store.path}: holds vectors of {store.dim} numbers, the query has shape {queries.shape}. "
                "Search with the model that made the index."
            )
        among = view.select(where) if where else None
        scores, ids = view.load(self._kind, self._storage, self._progress).search(queries, k, among)
        return _hits(store, scores, ids)


def _hits(store: IndexStore, scores: Vectors, ids: Ids) -> list[list[Hit]]:
    """Return the hits for the scores and ids of a vector index; ids of -1 are left out."""
    wanted = np.unique(ids[ids >= 0])
    items = {item.id: item for item in store.items([int(id) for id in wanted])}
    if len(items) < len(wanted):
        raise ImageIndexError(f"{store.path}: the vector index holds images that are not stored. Open it again.")
    return [
        [Hit(items[int(id)], float(score)) for id, score in zip(*row, strict=True) if id >= 0]
        for row in zip(ids, scores, strict=True)
    ]


# ``faiss/G.faiss`` is the vector index of generation G, built from the stored vectors; ``faiss/G.json`` has its
# checksum and says what it was built from. It is checked before use, and rebuilt where it does not fit.
FOLDER = "faiss"
_FORMAT = 2
_BATCH = 16_384
_MOST_CHANGED = 0.2  # of the vectors: beyond it a vector index is built from scratch, as its cells no longer fit


@dataclass(frozen=True)
class _Saved:
    """A saved vector index that is complete and belongs to this index of images."""

    file: Path
    plan: IndexPlan
    trained_on: int


def open_vector_index(store: IndexStore, kind: str = AUTO, storage: str = AUTO, report: Report | None = None) -> Index:
    """Return the vector index of a store: from its file, updated from the last generation's, or built and saved.

    Exact ones in float32 and float16 are quick to build and not saved. "auto" takes the one saved for this generation,
    else one that fits the size.
    """
    plan = choose_index(len(store), store.dim, kind, storage)
    file = vector_index_file(store)
    saved = _checked(file, store, store.generation)
    if saved is not None and kind in (AUTO, saved.plan.kind) and storage in (AUTO, saved.plan.storage):
        with contextlib.suppress(CorruptFileError):
            loaded = _load(saved.file, mapped=True)
            if np.array_equal(loaded.ids(), store.ids()):
                return loaded
    report = report or (lambda _done, _total: None)
    trained_on = len(store)
    if (updated := _updated(store, plan, report)) is not None:
        index, trained_on = updated
    else:
        index = build_vector_index(store, plan, report)
    if plan.kind != "flat":
        with contextlib.suppress(KivukoError, OSError):  # a read-only folder or a full disk is no obstacle
            _save(index, file, store, plan, trained_on)
            return _load(file, mapped=True)  # frees the memory that building took
    return index


def vector_index_file(store: IndexStore) -> Path:
    return store.path / FOLDER / f"{store.generation}.faiss"


def build_vector_index(store: IndexStore, plan: IndexPlan, report: Report) -> Index:
    """Build a vector index from the stored vectors, in batches; IVF's cells are learned from a sample."""
    total = len(store)
    index = new_index(plan, store.dim, total)
    if plan.kind == "ivf" or plan.storage == "int8":
        from kivuko.search.faiss_index import FaissIndex

        assert isinstance(index, FaissIndex)
        _train(index, store, report)
    done = 0
    for ids, vectors in store.vectors(_BATCH):
        index.add(ids, vectors)
        done += len(ids)
        report(done, total)
    return index


def _train(index: FaissIndex, store: IndexStore, report: Report) -> None:
    from kivuko.search.faiss_index import POINTS_PER_CELL, cells

    wanted = max(POINTS_PER_CELL * cells(len(store)), 10_000)
    step = max(1, len(store) // wanted)
    parts, first = [], 0
    for _, vectors in store.vectors(_BATCH):
        parts.append(vectors[(-first) % step :: step].copy())
        first += len(vectors)
    report(0, len(store))
    index.train(np.concatenate(parts))


def _updated(store: IndexStore, plan: IndexPlan, report: Report) -> tuple[Index, int] | None:
    """Return the last generation's vector index, updated, and the number of vectors that its cells were learned on.

    None if there is none of the same plan, or too much has changed.
    """
    if plan.kind == "flat":
        return None
    earlier = store.generation - 1  # not an older one, where an id may mean another image
    saved = _checked(store.path / FOLDER / f"{earlier}.faiss", store, earlier)
    if saved is None or saved.plan != plan or not 0.5 <= saved.trained_on / max(1, len(store)) <= 2:
        return None
    try:
        index = _load(saved.file, mapped=False)
    except CorruptFileError:
        return None
    removed = np.setdiff1d(index.ids(), store.ids(), assume_unique=True)
    added = np.setdiff1d(store.ids(), index.ids(), assume_unique=True)
    if max(len(removed) + len(added), index.dead + len(removed)) > _MOST_CHANGED * len(store):
        return None
    index.remove(removed)
    done = 0
    for ids, vectors in store.vectors(_BATCH):
        new = np.isin(ids, added, assume_unique=True)
        if new.any():
            index.add(ids[new], vectors[new])
        done += len(ids)
        report(done, len(store))
    return index, saved.trained_on


def _load(file: Path, *, mapped: bool) -> FaissIndex:
    from kivuko.search.faiss_index import FaissIndex

    return FaissIndex.load(file, mapped=mapped)


def _save(index: Index, file: Path, store: IndexStore, plan: IndexPlan, trained_on: int) -> None:
    """Write the vector index, then its note; then delete those of earlier generations and of dead processes."""
    index.save(file)
    note = {
        "format": _FORMAT, "kind": plan.kind, "storage": plan.storage, "trained_on": trained_on,
        "sha256": sha256_of(file), **built_from(store, store.generation), "ids": _digest(index.ids()),
    }  # fmt: skip
    write_text(file.with_suffix(".json"), json.dumps(note, indent=1) + "\n")
    for other in file.parent.glob("*.faiss"):
        if other.stem.isdigit() and int(other.stem) < store.generation - 1:
            other.unlink(missing_ok=True)
            other.with_suffix(".json").unlink(missing_ok=True)
    for left in file.parent.glob(".*.tmp"):
        mend(file.with_name(".".join(left.name.split(".")[1:3])))


def _checked(file: Path, store: IndexStore, generation: int) -> _Saved | None:
    """Return a saved vector index if it is complete and was built from this generation; else None."""
    try:
        note: dict[str, Any] = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
        expected = {"format": _FORMAT, **built_from(store, generation)}
        if any(note.get(name) != value for name, value in expected.items()):
            return None
        if generation == store.generation and note["ids"] != _digest(store.ids()):
            return None
        if sha256_of(file) != note["sha256"]:
            return None
        return _Saved(file, IndexPlan(str(note["kind"]), str(note["storage"])), int(note["trained_on"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def built_from(store: IndexStore, generation: int) -> dict[str, Any]:
    """Return the identity of index, model and generation, within which an id always means the same vector."""
    return {
        "index": store.meta["identity"], "fingerprint": store.fingerprint, "dim": store.dim, "generation": generation,
    }  # fmt: skip


def _digest(ids: Ids) -> str:
    return hashlib.sha256(np.ascontiguousarray(ids, dtype="<i8").tobytes()).hexdigest()
