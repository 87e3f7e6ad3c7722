"""The files of an index of images, and reading one published generation of them.

A row of ``items`` is visible in generation g if ``born <= g`` and it has not ``died`` by then. Readers see the
generation that ``meta`` calls published; a run publishes the next one with its last transaction. A segment holds the
vectors of one committed batch and never changes.
"""

import contextlib
import hashlib
import json
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Self, cast

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from kivuko.errors import NO_ACCESS, CorruptFileError, ImageIndexError, one_line
from kivuko.files import atomic_path, sha256_of
from kivuko.search.filter import add_functions
from kivuko.search.items import Item

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
CREATE TABLE IF NOT EXISTS segments(number INTEGER PRIMARY KEY, sha256 TEXT NOT NULL);
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
    if not os.access(file, os.R_OK):
        raise ImageIndexError(f"{file}: {NO_ACCESS}")
    address = file.absolute().as_uri()
    problem: Exception | None = None
    for mode in ("mode=ro", "mode=ro&immutable=1"):  # the second where the folder cannot be written, as on a DVD
        database = sqlite3.connect(f"{address}?{mode}", uri=True, timeout=60, check_same_thread=False)
        try:
            database.execute("SELECT value FROM meta LIMIT 1").fetchone()
            add_functions(database)
            return database
        except _DAMAGE as refused:
            database.close()
            problem = problem or refused
            if not isinstance(refused, sqlite3.OperationalError):
                break
    assert problem is not None
    raise damaged(folder, problem) from problem


# What SQLite and Python raise on bytes that nobody wrote.
_DAMAGE = (sqlite3.Error, ValueError, TypeError, OverflowError, KeyError)


@contextlib.contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Turn what damage of a database leads to into CorruptFileError, which says so in one line."""
    try:
        yield
    except _DAMAGE as problem:
        if isinstance(problem, sqlite3.OperationalError) and "locked" in str(problem):
            raise ImageIndexError(f"{folder}: another process holds its database. Try again.") from problem
        raise damaged(folder, problem) from problem


def read_meta(database: sqlite3.Connection) -> dict[str, str]:
    """Return the entries of the index itself: format, published generation, model, sources, and so on."""
    return dict(database.execute("SELECT key, value FROM meta"))


def meta_of(folder: Path) -> dict[str, str]:
    """Return the entries of an index; ImageIndexError or CorruptFileError where they cannot be read."""
    with contextlib.closing(open_to_read(folder)) as database, reading(folder):
        return read_meta(database)


def holds_index(path: Path) -> bool:
    """True if a folder is an index, of this format or the previous one."""
    return (path / DATABASE).exists() or (path / OLD_DATABASE).exists()


def aside_of(path: Path) -> Path:
    """Return where an index is while another takes its place."""
    return path.with_name(f".{path.name}.replaced")


LOCK = ".lock"


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Hold the lock of an index, or raise ImageIndexError."""
    try:
        with FileLock(folder / LOCK, timeout=0):
            yield
    except Timeout as problem:
        raise ImageIndexError(f"{folder}: another 'kivuko index' is at work on it. Wait until it ends.") from problem


def restore(path: Path) -> None:
    """Put an index back that a killed rebuild left aside, unless that rebuild is still at work."""
    if not path.exists() and (aside := aside_of(path)).is_dir():
        with writing(aside):  # the lock moves with its folder
            if not path.exists() and aside.is_dir():
                aside.rename(path)


def storable_path(path: str) -> str | bytes:
    """Return a path for SQLite: as text, or as bytes where it is not UTF-8."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return os.fsencode(path)
    return path


def damaged(folder: Path, problem: object) -> CorruptFileError:
    problem = one_line(problem) if isinstance(problem, Exception) else problem
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


def write_segment(folder: Path, number: int, parts: dict[str, NDArray[Any]]) -> str:
    """Write one segment, completely or not at all, from what ``stored`` returned; return its SHA-256."""
    content = save({name: np.ascontiguousarray(part) for name, part in parts.items()})
    with atomic_path(segment_path(folder, number)) as temporary:
        temporary.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def checksums(database: sqlite3.Connection) -> dict[int, str]:
    """Return the SHA-256 of each segment; none for an index of an earlier version, until it is updated."""
    known = database.execute("SELECT 1 FROM sqlite_master WHERE name = 'segments'").fetchone()
    return dict(database.execute("SELECT number, sha256 FROM segments")) if known else {}


class Segment:
    """A file of vectors, memory-mapped; FileNotFoundError, or CorruptFileError if it is not what was written."""

    def __init__(self, folder: Path, number: int, dim: int, sha256: str | None = None) -> None:
        self._folder, self._file = folder, segment_path(folder, number)
        if not self._file.is_file():
            raise FileNotFoundError(self._file)
        if not os.access(self._file, os.R_OK):
            raise ImageIndexError(f"{self._file}: {NO_ACCESS}")
        try:
            if sha256 is not None and sha256_of(self._file) != sha256:
                raise damaged(folder, f"{self._file.name}: its checksum differs from what was written")
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
        if first < 0 or last >= self.rows:
            missing = first if first < 0 else last
            raise damaged(self._folder, f"{self._file.name}: {self.rows} vectors, row {missing} is missing")
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
        self._identity, self._closed = meta["identity"], False
        self._here = threading.local()
        self._lock = threading.Lock()
        self._connections: list[sqlite3.Connection] = []
        self._segments: dict[int, Segment] = {}
        self._ids: NDArray[np.int64] | None = None

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Open the last published generation; ImageIndexError or CorruptFileError if there is none."""
        path = Path(path)
        with contextlib.suppress(ImageIndexError, OSError):
            restore(path)
        with contextlib.closing(open_to_read(path)) as database, reading(path):
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
                with reading(self.path):
                    items[content] = Item(content, key, shown, width, height, dict(json.loads(metadata)), copies)
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
        self._check_open()
        try:
            meta = meta_of(self.path)
        except (ImageIndexError, CorruptFileError):
            return False  # it is being replaced
        return meta.get("identity") != self._identity or int(meta.get("published", 0)) > self.generation

    def verify(self, database: bool = True) -> list[str]:
        """Compare the files of vectors with their checksums, and let SQLite check the database; return what is wrong.

        An index of an earlier version has no checksums until ``kivuko index`` updates it.
        """
        wrong = []
        known = self._checksums()
        for (number,) in self._all("SELECT DISTINCT segment FROM contents"):
            try:
                Segment(self.path, number, self.dim, known.get(number))
            except FileNotFoundError as problem:
                wrong.append(f"{problem} is missing")
            except CorruptFileError:
                wrong.append(f"{segment_path(self.path, number).name}: its checksum differs from what was written")
        if database:
            try:
                faults = [line for (line,) in self._database().execute("PRAGMA quick_check(5)")]
            except _DAMAGE as problem:
                faults = [str(problem)]
            wrong += [f"{DATABASE}: {' '.join(line.split())}" for line in faults if line != "ok"]
        return wrong

    def close(self) -> None:
        self._closed = True
        with self._lock:
            for database in self._connections:
                database.close()
            self._connections.clear()
            self._segments.clear()
        self._here = threading.local()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise ImageIndexError(f"{self.path}: this index is closed. Open it again.")

    def _has(self, id: int) -> bool:
        place = int(np.searchsorted(self.ids(), id))
        return place < len(self.ids()) and int(self.ids()[place]) == id

    def _visible(self, database: sqlite3.Connection) -> NDArray[np.int64]:
        rows = database.execute(
            f"SELECT DISTINCT content FROM items WHERE {VISIBLE} ORDER BY content", {"g": self.generation}
        )
        ids = np.fromiter((row[0] for row in rows), dtype=np.int64)
        if len(ids) and (ids[0] < 0 or (ids[1:] <= ids[:-1]).any()):
            raise damaged(self.path, "ids of images that nobody gave")
        return ids

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
        with reading(self.path):
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
        if (segment := self._segments.get(number)) is None:
            segment = Segment(self.path, number, self.dim, self._checksums().get(number))
            with self._lock:
                self._segments[number] = segment
        return segment

    def _checksums(self) -> dict[int, str]:
        with reading(self.path):
            return checksums(self._database())

    def _all(self, statement: str, **bound: Any) -> list[Any]:
        return self._fetch(statement, {"g": self.generation, **bound})

    def _fetch(self, statement: str, bound: Any) -> list[Any]:
        with reading(self.path):
            return self._database().execute(statement, bound).fetchall()

    def _database(self) -> sqlite3.Connection:
        """The connection of this thread."""
        self._check_open()
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
