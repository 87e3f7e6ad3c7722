"""Reading an index of images: one published generation."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kivuko.errors import CorruptFileError, ImageIndexError
from kivuko.search.items import Item
from kivuko.search.segments import (
    FORMAT,
    VISIBLE,
    Segment,
    damaged,
    open_to_read,
    other_version,
    read_meta,
    segment_path,
)

_AT_ONCE = 500  # ids in one statement


class IndexStore:
    """The images of an index, with captions, metadata, thumbnails and vectors; safe to use from several threads.

    It shows one generation, also while a run is at work; ``newer`` tells whether a later one was published.
    ``fingerprint`` identifies the image side of the model that made the vectors, ``model`` is its folder.
    """

    def __init__(self, path: Path, meta: dict[str, str]) -> None:
        self.path, self.meta = path, meta
        self.generation, self.dim = int(meta["published"]), int(meta["dim"])
        self.fingerprint, self.model = meta["fingerprint"], Path(meta["model"])
        self._identity = meta["identity"]
        self._here = threading.local()
        self._lock = threading.Lock()
        self._connections: list[sqlite3.Connection] = []
        self._segments: dict[int, Segment] = {}
        self._ids: NDArray[np.int64] | None = None

    @classmethod
    def open(cls, path: Path | str) -> IndexStore:
        """Open the last published generation; ImageIndexError or CorruptFileError if there is none."""
        path = Path(path)
        database = open_to_read(path)
        try:
            meta = read_meta(database)
            if meta.get("format") != FORMAT:
                raise other_version(path)
            if int(meta["published"]) == 0:
                raise ImageIndexError(f"{path}: not finished yet. Let 'kivuko index' end, or give its command again.")
            store = cls(path, meta)
            store._ids = store._visible(database)
            for (number,) in database.execute("SELECT DISTINCT segment FROM contents"):
                if not segment_path(path, number).is_file():
                    raise damaged(path, f"{segment_path(path, number).name} is missing")
        except (sqlite3.DatabaseError, KeyError, ValueError) as problem:
            raise damaged(path, problem) from problem
        finally:
            database.close()
        return store

    def __len__(self) -> int:
        return len(self.ids())

    def ids(self) -> NDArray[np.int64]:
        """The ids of the visible images, ascending, int64 [images]."""
        assert self._ids is not None
        return self._ids

    def vectors(self, batch: int = 65536) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Yield all (ids int64 [n], unit vectors float32 [n, dim]), by ascending id, at most ``batch`` at once."""
        for start in range(0, len(self.ids()), batch):
            ids = self.ids()[start : start + batch]
            yield ids, self._vectors_of(ids)

    def vector(self, id: int) -> NDArray[np.float32]:
        """Return the unit vector of an image, float32 [dim]; KeyError if it is not visible."""
        if not self._has(id):
            raise KeyError(id)
        vector: NDArray[np.float32] = self._vectors_of(np.array([id], dtype=np.int64))[0]
        return vector

    def items(self, ids: Sequence[int] | NDArray[np.int64]) -> list[Item]:
        """Return images in the order of the ids, without those that are not visible."""
        wanted = [int(id) for id in ids]
        items: dict[int, Item] = {}
        for start in range(0, len(wanted), _AT_ONCE):
            marks = ",".join(map(str, wanted[start : start + _AT_ONCE]))  # integers, see above
            # With MIN, SQLite takes the other columns from the row with the smallest key.
            rows = self._all(
                f"SELECT content, MIN(key), caption, metadata, COUNT(*), width, height "
                f"FROM items JOIN contents ON contents.id = content "
                f"WHERE content IN ({marks}) AND {VISIBLE} GROUP BY content"
            )
            lacking = ",".join(str(row[0]) for row in rows if row[2] is None and row[4] > 1)
            others = self._all(
                f"SELECT content, caption, MIN(key) FROM items WHERE content IN ({lacking}) AND caption IS NOT NULL "
                f"AND {VISIBLE} GROUP BY content"
            )
            captions = {row[0]: row[1] for row in others}
            for content, key, caption, metadata, copies, width, height in rows:
                shown = caption if caption is not None else captions.get(content)
                items[content] = Item(content, key, shown, width, height, json.loads(metadata), copies)
        return [items[id] for id in wanted if id in items]

    def thumbnail(self, id: int) -> bytes | None:
        """Return a small JPEG or WebP of the image; None if it is not visible."""
        rows = self._all("SELECT image FROM thumbnails WHERE content = :id", id=int(id)) if self._has(id) else []
        return rows[0][0] if rows else None

    def image_path(self, id: int) -> Path | None:
        """Return the file that the image came from; None if it was part of another file or is gone."""
        if not self._has(id):
            return None
        rows = self._all(f"SELECT place FROM items WHERE content = :id AND {VISIBLE} ORDER BY key", id=int(id))
        places = (Path(os.fsdecode(place)) for (place,) in rows if place)
        return next((place for place in places if place.is_file()), None)

    def select(self, where: Any) -> NDArray[np.int64]:
        """Return the ids of the images that pass a ``Filter``, ascending, int64 [images]."""
        condition, bound = where.sql()
        visible = VISIBLE.replace(":g", str(self.generation))  # the filter's parameters have no names
        rows = self._fetch(
            f"SELECT DISTINCT content FROM items JOIN contents ON contents.id = content "
            f"WHERE {visible} AND ({condition}) ORDER BY content",
            bound,
        )
        return np.fromiter((row[0] for row in rows), dtype=np.int64, count=len(rows))

    def captioned(self) -> bool:
        return bool(self._all(f"SELECT 1 FROM items WHERE caption IS NOT NULL AND {VISIBLE} LIMIT 1"))

    def fields(self) -> list[str]:
        """Return the names with a value in the metadata of a visible image, sorted; it reads all metadata."""
        rows = self._all(
            f"SELECT DISTINCT json_each.key FROM items, json_each(items.metadata) "
            f"WHERE COALESCE(json_each.value, '') != '' AND {VISIBLE}"
        )
        return sorted(name for (name,) in rows)

    def skipped(self) -> list[tuple[str, str, str]]:
        """Return (key, reason, detail) of each file that the run of this generation skipped, sorted."""
        return self._all("SELECT key, reason, detail FROM skipped WHERE generation = :g ORDER BY key, reason")

    def newer(self) -> bool:
        """True if a later generation was published, or the index was rebuilt."""
        try:
            database = open_to_read(self.path)
        except (ImageIndexError, CorruptFileError):
            return False  # it is being replaced
        try:
            meta = read_meta(database)
        finally:
            database.close()
        return meta.get("identity") != self._identity or int(meta.get("published", 0)) > self.generation

    def close(self) -> None:
        with self._lock:
            for database in self._connections:
                database.close()
            self._connections.clear()
            self._segments.clear()
        self._here = threading.local()

    def __enter__(self) -> IndexStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _has(self, id: int) -> bool:
        place = int(np.searchsorted(self.ids(), id))
        return place < len(self.ids()) and int(self.ids()[place]) == id

    def _visible(self, database: sqlite3.Connection) -> NDArray[np.int64]:
        rows = database.execute(
            f"SELECT DISTINCT content FROM items WHERE {VISIBLE} ORDER BY content", {"g": self.generation}
        )
        return np.fromiter((row[0] for row in rows), dtype=np.int64)

    def _vectors_of(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Read the vectors of ascending ids; a second time if their files were merged in between."""
        try:
            return self._read_vectors(ids)
        except FileNotFoundError:
            try:
                return self._read_vectors(ids)
            except FileNotFoundError as problem:
                raise damaged(self.path, f"{problem} is missing") from problem

    def _read_vectors(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        rows = self._all(
            "SELECT id, segment, row FROM contents WHERE id BETWEEN :first AND :last ORDER BY id",
            first=int(ids[0]), last=int(ids[-1]),
        )  # fmt: skip
        places = np.array(rows, dtype=np.int64).reshape(-1, 3)
        if len(places) != len(ids):
            places = places[np.isin(places[:, 0], ids)]
        if len(places) != len(ids):
            raise damaged(self.path, "images without vectors; or a generation too old: open the index again")
        vectors = np.empty((len(ids), self.dim), dtype=np.float32)
        for segment in np.unique(places[:, 1]):
            own = np.flatnonzero(places[:, 1] == segment)
            vectors[own] = self._segment(int(segment)).unit(places[own, 2])
        return vectors

    def _segment(self, number: int) -> Segment:
        with self._lock:
            if number not in self._segments:
                self._segments[number] = Segment(self.path, number, self.dim)
            return self._segments[number]

    def _all(self, statement: str, **bound: Any) -> list[Any]:
        return self._fetch(statement, {"g": self.generation, **bound})

    def _fetch(self, statement: str, bound: Any) -> list[Any]:
        try:
            return self._database().execute(statement, bound).fetchall()
        except sqlite3.DatabaseError as problem:
            raise damaged(self.path, problem) from problem

    def _database(self) -> sqlite3.Connection:
        """The connection of this thread."""
        database: sqlite3.Connection | None = getattr(self._here, "database", None)
        if database is None:
            database = open_to_read(self.path)
            if read_meta(database).get("identity") != self._identity:
                database.close()
                raise ImageIndexError(f"{self.path}: was rebuilt meanwhile. Open it again.")
            self._here.database = database
            with self._lock:
                self._connections.append(database)
        return database
