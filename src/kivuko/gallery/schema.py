"""How a gallery lies on disk: one SQLite file that alone says what is in it, and files of vectors that it refers to.

``NAME.gallery/gallery.sqlite`` tells generations apart: a row of ``items`` is visible in generation g if
``born <= g`` and it has not ``died`` by then. Readers see the generation that ``meta`` calls published; a run works
towards the next one and publishes it with its last transaction.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from kivuko.errors import CorruptFileError, GalleryError

FORMAT = "1"
DATABASE = "gallery.sqlite"
SEGMENTS = "segments"
VISIBLE = "born <= :g AND (died IS NULL OR died > :g)"

_TABLES = """
CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS contents(
    id INTEGER PRIMARY KEY, sha256 TEXT NOT NULL UNIQUE, segment INTEGER NOT NULL, row INTEGER NOT NULL,
    width INTEGER NOT NULL, height INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS contents_by_segment ON contents(segment, row);
CREATE TABLE IF NOT EXISTS thumbnails(content INTEGER PRIMARY KEY, picture BLOB NOT NULL);
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
    """Open a gallery's database for writing, made if need be.

    Raises:
        CorruptFileError: the file is there and is no database.
    """
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
            raise  # full, read-only: the caller tells
        raise damaged(folder, problem) from problem
    return database


def open_to_read(folder: Path) -> sqlite3.Connection:
    """Open a gallery's database for reading only, in whatever thread uses it.

    Raises:
        GalleryError: no gallery there.
        CorruptFileError: damaged.
    """
    file = folder / DATABASE
    if not file.is_file():
        what = "not a gallery (no gallery.sqlite in it)" if folder.is_dir() else "no such gallery"
        raise GalleryError(f"{folder}: {what}. 'kivuko index MODEL photos/ --out my.gallery' makes one.")
    address = file.absolute().as_uri()
    problem: sqlite3.DatabaseError | None = None
    for mode in ("mode=ro", "mode=ro&immutable=1"):  # the second where the folder cannot be written, as on a DVD
        database = sqlite3.connect(f"{address}?{mode}", uri=True, timeout=60, check_same_thread=False)
        try:
            database.execute("SELECT value FROM meta LIMIT 1").fetchone()
            return database
        except sqlite3.DatabaseError as found:
            database.close()
            problem = problem or found
            if not isinstance(found, sqlite3.OperationalError):
                break
    assert problem is not None
    raise damaged(folder, problem) from problem


def read_meta(database: sqlite3.Connection) -> dict[str, str]:
    """Return what the gallery says of itself."""
    return dict(database.execute("SELECT key, value FROM meta"))


def storable_path(path: str) -> str | bytes:
    """Return a path as SQLite can hold it: as text, or as its bytes where those are not UTF-8; see ``os.fsdecode``."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return os.fsencode(path)
    return path


def damaged(folder: Path, problem: object) -> CorruptFileError:
    """Return the error to raise where a gallery's files do not hold what was written."""
    return CorruptFileError(
        f"{folder}: damaged ({problem}). Make it again: 'kivuko index ... --out {folder} --rebuild'."
    )
