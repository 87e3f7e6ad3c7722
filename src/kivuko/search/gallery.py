"""A gallery to search: what is stored, and the index over it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kivuko.errors import GalleryError, ModelError
from kivuko.search.filter import Filter
from kivuko.search.index import AUTO, Index, Progress, Vectors, open_index
from kivuko.search.items import Hit
from kivuko.search.store import GalleryStore


@dataclass
class _View:
    """One generation: its store and its index, and how many searches are using them."""

    store: GalleryStore
    index: Index
    users: int = 0


class Gallery:
    """One published generation of a gallery, searched by cosine; ``refresh`` goes on to the latest.

    Searching is safe from several threads, also while another refreshes: a search ends on what it began with.
    """

    def __init__(self, store: GalleryStore, index: Index, kind: str = AUTO, storage: str = AUTO) -> None:
        self._view = _View(store, index)
        self._retired: list[_View] = []
        self._lock = threading.Lock()
        self._refreshing = threading.Lock()
        self._kind, self._storage = kind, storage

    @classmethod
    def open(
        cls, path: Path | str, *, index: str = AUTO, storage: str = AUTO, progress: Progress | None = None
    ) -> Gallery:
        """Open the last published generation; its index is loaded, or built and saved where need be.

        Args:
            index: "flat" (exact), "hnsw", "ivf" or "auto".
            storage: of the index: "float32", "float16", "int8" or "auto".
            progress: is told how far the building of an index is.

        Raises:
            GalleryError: no gallery there, or nothing published yet.
            CorruptFileError: it is damaged.
            UsageError: no such index or storage.
            MissingDependencyError: the index needs the extra ``scale``.
        """
        store = GalleryStore.open(Path(path))
        return cls(store, open_index(store, index, storage, progress), index, storage)

    @property
    def store(self) -> GalleryStore:
        """What is stored, of the generation at hand. After a refresh, the one before stays open until the next."""
        return self._view.store

    @property
    def index(self) -> Index:
        """The index over it."""
        return self._view.index

    def __len__(self) -> int:
        return len(self._view.index)

    def search(self, queries: Vectors, k: int = 10, where: Filter | None = None) -> list[list[Hit]]:
        """Return for each query the ``k`` nearest images that pass the filter, best first; equal ones by id.

        Fewer are returned only where fewer pass. With an exact index the result is exact; with another, an image may
        be missed (see docs/search.md), but a filter never costs results.

        Args:
            queries: unit vectors, float32 [queries, dim].
            k: at least 1.
            where: see :func:`kivuko.search.filter.parse_filter`; None: all images.

        Raises:
            ModelError: the queries are not of the gallery's width.
            ValueError: ``k`` is less than 1.
        """
        with self._in_use() as view:
            return _search(view, np.asarray(queries, dtype=np.float32), k, where)

    def like(self, id: int, k: int = 10, where: Filter | None = None) -> list[Hit]:
        """Return the ``k`` images nearest to one of the gallery's, without itself.

        Raises:
            KeyError: no such image is visible.
        """
        with self._in_use() as view:
            hits = _search(view, view.store.vector(id)[None], k + 1, where)[0]
        return [hit for hit in hits if hit.item.id != id][:k]

    def refresh(self) -> bool:
        """Go on to a later generation if one was published; True if so. The old one serves until the new is ready.

        Raises:
            ModelError: the gallery was made anew with another model: open it again with that.
        """
        with self._refreshing:
            if not self.store.newer():
                return False
            store = GalleryStore.open(self.store.path)
            if store.fingerprint != self.store.fingerprint or store.dim != self.store.dim:
                store.close()
                raise ModelError(f"{store.path}: was made anew with another model. Open it again.")
            view = _View(store, open_index(store, self._kind, self._storage))
            with self._lock:
                before, self._view = self._view, view
                # What a thread took from ``store`` before is good until the next refresh.
                ended = [one for one in self._retired if not one.users]
                self._retired = [one for one in self._retired if one.users] + [before]
            for one in ended:
                one.store.close()
            return True

    def close(self) -> None:
        """Let go of the files."""
        with self._lock:
            views, self._retired = [*self._retired, self._view], []
        for view in views:
            view.store.close()

    def __enter__(self) -> Gallery:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _in_use(self) -> Iterator[_View]:
        with self._lock:
            view = self._view
            view.users += 1
        try:
            yield view
        finally:
            with self._lock:
                view.users -= 1


def _search(view: _View, queries: Vectors, k: int, where: Filter | None) -> list[list[Hit]]:
    if queries.ndim != 2 or queries.shape[1] != view.store.dim:
        raise ModelError(
            f"{view.store.path}: holds vectors of {view.store.dim} numbers, the query has shape {queries.shape}. "
            "Search with the model that made the gallery."
        )
    among = view.store.select(where) if where else None
    scores, ids = view.index.search(queries, k, among)
    items = {item.id: item for item in view.store.items([int(id) for id in np.unique(ids[ids >= 0])])}
    if len(items) < len(np.unique(ids[ids >= 0])):
        raise GalleryError(f"{view.store.path}: the index holds images that the gallery does not. Open it again.")
    return [
        [Hit(items[int(id)], float(score)) for id, score in zip(*row, strict=True) if id >= 0]
        for row in zip(ids, scores, strict=True)
    ]
