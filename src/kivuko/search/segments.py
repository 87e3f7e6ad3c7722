"""The files of an index of images: a SQLite database, and segments, the files of vectors that it refers to.

A row of ``items`` is visible in generation g if ``born <= g`` and it has not ``died`` by then. Readers see the
generation that ``meta`` calls published; a run publishes the next one with its last transaction. A segment holds the
vectors of one committed batch and never changes.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from kivuko.errors import CorruptFileError, ImageIndexError
from kivuko.files import atomic_path

FORMAT = "2"
DATABASE = "index.sqlite"
OLD_DATABASE = "gallery.sqlite"  # its name in format 1
SEGMENTS = "segments"
VISIBLE = "born <= :g AND (died IS NULL OR died > :g)"

_TABLES = """
CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS contents(
    id INTEGER PRIMARY KEY, sha256 TEXT NOT NULL UNIQUE, segment INTEGER NOT NULL, row INTEGER NOT NULL,
    width INTEGER NOT NULL, height INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS contents_by_segment ON contents(segment, row);
CREATE TABLE IF NOT EXISTS thumbnails(content INTEGER PRIMARY KEY, image BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS items(
    key TEXT NOT NULL, content INTEGER NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, caption TEXT,
    metadata TEXT NOT NULL, place TEXT, born INTEGER NOT NULL, died INTEGER, PRIMARY KEY(key, born)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS items_by_content ON items(content, born, died);
CREATE TABLE IF NOT EXISTS skipped(
    key TEXT NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL, generation INTEGER NOT NULL
);
"""


def create(folder: Path) -> sqlite3.Connection:
    """Open the database of an index for writing; it is created if missing."""
    (folder / SEGMENTS).mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(folder / DATABASE, isolation_level=None, timeout=60)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")  # a power cut may lose the last batch, never tear it
        database.execute("PRAGMA temp_store = FILE")  # so that memory does not grow with the folder
        database.executescript(_TABLES)
    except sqlite3.DatabaseError as problem:
        database.close()
        if isinstance(problem, sqlite3.OperationalError):
            raise  # full, read-only: the caller explains it
        raise damaged(folder, problem) from problem
    return database


def open_to_read(folder: Path) -> sqlite3.Connection:
    """Open the database of an index for reading, in any thread."""
    file = folder / DATABASE
    if not file.is_file():
        if (folder / OLD_DATABASE).is_file():
            raise other_version(folder)
        what = "not an index (no index.sqlite in it)" if folder.is_dir() else "no such index"
        raise ImageIndexError(f"{folder}: {what}. 'kivuko index MODEL photos/ --out my.index' makes one.")
    address = file.absolute().as_uri()
    problem: sqlite3.DatabaseError | None = None
    for mode in ("mode=ro", "mode=ro&immutable=1"):  # the second where the folder cannot be written, as on a DVD
        database = sqlite3.connect(f"{address}?{mode}", uri=True, timeout=60, check_same_thread=False)
        try:
            database.execute("SELECT value FROM meta LIMIT 1").fetchone()
            return database
        except sqlite3.DatabaseError as refused:
            database.close()
            problem = problem or refused
            if not isinstance(refused, sqlite3.OperationalError):
                break
    assert problem is not None
    raise damaged(folder, problem) from problem


def read_meta(database: sqlite3.Connection) -> dict[str, str]:
    """Return the entries of the index itself: format, published generation, model, sources, and so on."""
    return dict(database.execute("SELECT key, value FROM meta"))


def storable_path(path: str) -> str | bytes:
    """Return a path for SQLite: as text, or as bytes where it is not UTF-8."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return os.fsencode(path)
    return path


def damaged(folder: Path, problem: object) -> CorruptFileError:
    return CorruptFileError(f"{folder}: damaged ({problem}). Rebuild it: 'kivuko index ... --out {folder} --rebuild'.")


def other_version(folder: Path) -> ImageIndexError:
    return ImageIndexError(
        f"{folder}: made by another version of Kivuko. Rebuild it: 'kivuko index ... --out {folder} --rebuild'."
    )


Storage = Literal["float16", "float32", "int8"]
STORAGES: tuple[Storage, ...] = ("float16", "float32", "int8")


def segment_path(folder: Path, number: int) -> Path:
    return folder / SEGMENTS / f"{number:06}.safetensors"


def stored(vectors: NDArray[np.float32], storage: Storage) -> dict[str, NDArray[Any]]:
    """Return unit vectors [n, dim] as they are stored; ``int8`` has one scale per vector."""
    if storage != "int8":
        return {"vectors": vectors.astype(storage)}
    scales = np.abs(vectors).max(axis=1, keepdims=True) / 127
    scales[scales == 0] = 1
    return {"vectors": np.rint(vectors / scales).astype(np.int8), "scales": scales[:, 0].astype(np.float32)}


def write_segment(folder: Path, number: int, parts: dict[str, NDArray[Any]]) -> None:
    """Write one segment, completely or not at all, from what ``stored`` returned."""
    with atomic_path(segment_path(folder, number)) as temporary:
        save_file({name: np.ascontiguousarray(part) for name, part in parts.items()}, temporary)


class Segment:
    """A file of vectors, memory-mapped; FileNotFoundError or CorruptFileError if it cannot be opened."""

    def __init__(self, folder: Path, number: int, dim: int) -> None:
        self._folder, self._file = folder, segment_path(folder, number)
        if not self._file.is_file():
            raise FileNotFoundError(self._file)
        try:
            self._stored = cast(Any, safe_open(self._file, framework="np"))
            self._parts = {name: self._stored.get_slice(name) for name in self._stored.keys()}  # noqa: SIM118
            shape = self._parts["vectors"].get_shape()
        except (SafetensorError, OSError, KeyError, ValueError) as problem:
            raise damaged(folder, f"{self._file.name}: {problem}") from problem
        if len(shape) != 2 or shape[1] != dim:
            raise damaged(folder, f"{self._file.name}: vectors of shape {shape}, not {dim} wide")
        self.rows: int = shape[0]

    def raw(self, rows: NDArray[np.int64] | Sequence[int]) -> dict[str, NDArray[Any]]:
        """Return some rows as they are stored."""
        wanted = np.asarray(rows, dtype=np.int64)
        first, last = int(wanted.min()), int(wanted.max())
        if last >= self.rows:
            raise damaged(self._folder, f"{self._file.name}: {self.rows} vectors, row {last} is missing")
        return {name: part[first : last + 1][wanted - first] for name, part in self._parts.items()}

    def unit(self, rows: NDArray[np.int64] | Sequence[int]) -> NDArray[np.float32]:
        """Return some rows as unit vectors, float32 [rows, dim]."""
        parts = self.raw(rows)
        vectors: NDArray[np.float32] = parts["vectors"].astype(np.float32)
        if "scales" in parts:
            vectors *= parts["scales"].astype(np.float32)[:, None]
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not np.allclose(lengths, 1, atol=0.05):
            raise damaged(self._folder, f"{self._file.name}: not unit vectors")
        if parts["vectors"].dtype == np.float32:  # stored as they were encoded
            return vectors
        vectors /= lengths
        return vectors
