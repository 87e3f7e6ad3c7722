"""Writing an index of images so that a killed run resumes: it publishes the next generation, committed by batches."""

import contextlib
import json
import secrets
import shutil
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kivuko.errors import ImageIndexError, KivukoError
from kivuko.files import sha256_of
from kivuko.search import store
from kivuko.search.decoding import Decoded
from kivuko.search.items import FilePlace, Skip, Work


@dataclass(frozen=True)
class IndexSpec:
    """The model, the sources and the storage of an index; they must be the same in every run."""

    fingerprint: str
    dim: int
    model: str
    sources: Sequence[Mapping[str, str]]  # see ``Source.describe``
    storage: store.Storage | None = None  # None: that of the index; float16 if new


_ADDED_AT_ONCE = 1000  # rows that wait in memory, if only duplicates come and so nothing is committed


@dataclass(frozen=True)
class _Row:
    content: int
    size: int
    mtime_ns: int
    caption: str | None
    metadata: str
    place: str | bytes | None
    born: int
    died: int | None


class IndexWriter:
    """One run on an index, under its lock; a kill at any moment leaves the last ``commit``."""

    def __init__(self, folder: Path, spec: IndexSpec, first: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self._rows: dict[str, _Row | None] = {}  # of keys whose images are being decoded
        self._added: list[tuple[object, ...]] = []  # rows of ``items`` that wait to be inserted together
        self.database = store.create(folder)
        try:
            self.database.execute("BEGIN IMMEDIATE")
            self._begin(spec, first or {})
        except BaseException:
            self.database.close()
            raise

    def close(self) -> None:
        """Roll back what was not committed, and close the database."""
        if self.database.in_transaction:
            self.database.rollback()
        with contextlib.suppress(sqlite3.DatabaseError):
            self.database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self.database.close()

    def see(self, key: str) -> bool:
        """Record that a source has a key; False if it was recorded before in this run."""
        return self.database.execute("INSERT OR IGNORE INTO seen VALUES (?)", (key,)).rowcount > 0

    def unchanged(self, work: Work) -> bool:
        """True if the file has not changed since it was decoded; its caption may have changed."""
        row = self._rows[work.key] = self._read(work.key)
        return row is not None and row.died is None and (row.size, row.mtime_ns) == (work.size, work.mtime_ns)

    def keep(self, work: Work) -> None:
        """Keep an unchanged image, with its current caption."""
        row = self._latest(work.key)
        assert row is not None
        self._put(work, row.content, row)

    def content_of(self, sha256: str) -> int | None:
        """Return the id of the content with this hash; None if there is none."""
        row = self.database.execute("SELECT id FROM contents WHERE sha256 = ?", (sha256,)).fetchone()
        return row[0] if row else None

    def next_content(self) -> int:
        """Return the id of the next new content; no id is used twice."""
        self._contents += 1
        return self._contents

    def put(self, work: Work, content: int) -> None:
        """Record that a key has this content, once in a run; readers of earlier generations see the old one."""
        self._put(work, content, self._latest(work.key))

    def _put(self, work: Work, content: int, row: _Row | None) -> None:
        metadata = json.dumps(dict(work.metadata), ensure_ascii=False, sort_keys=True)
        place: str | bytes | None = None
        if isinstance(work.place, FilePlace) and work.place.length is None:
            place = store.storable_path(work.place.path)
        described = (content, work.caption, metadata)
        if row is not None and row.died is None and (row.content, row.caption, row.metadata) == described:
            if (row.size, row.mtime_ns, row.place) != (work.size, work.mtime_ns, place):
                self.database.execute(
                    "UPDATE items SET size = ?, mtime_ns = ?, place = ? WHERE key = ? AND born = ?",
                    (work.size, work.mtime_ns, place, work.key, row.born),
                )
            return
        if row is not None:
            self._let_die(work.key)
        self._added.append((work.key, content, work.size, work.mtime_ns, work.caption, metadata, place, self.target))
        if len(self._added) >= _ADDED_AT_ONCE:
            self._add()

    def remove(self, key: str) -> None:
        if self._latest(key) is not None:
            self._let_die(key)

    def _let_die(self, key: str) -> None:
        self.database.execute("DELETE FROM items WHERE key = ? AND born = ?", (key, self.target))
        self.database.execute("UPDATE items SET died = ? WHERE key = ? AND died IS NULL", (self.target, key))

    def skip(self, skip: Skip) -> None:
        texts = (one.encode("utf-8", "backslashreplace").decode() for one in (skip.key, skip.reason, skip.detail))
        self.database.execute("INSERT INTO skipped VALUES (?, ?, ?, ?)", (*texts, self.target))

    def commit(self, new: Sequence[tuple[int, Decoded]], vectors: NDArray[np.float32]) -> None:
        """Commit everything so far, with new contents and their unit vectors, float32 [contents, dim].

        The file of vectors is complete on disk before the transaction that refers to it.
        """
        self._add()
        if new:
            self.write_segment(self._segment, store.stored(vectors, self.storage))
            self.database.executemany(
                "INSERT INTO contents VALUES (?, ?, ?, ?, ?, ?)",
                (
                    (content, decoded.sha256, self._segment, row, decoded.width, decoded.height)
                    for row, (content, decoded) in enumerate(new)
                ),
            )
            self.database.executemany(
                "INSERT INTO thumbnails VALUES (?, ?)", ((content, decoded.thumbnail) for content, decoded in new)
            )
            self._segment += 1
            self._say(next_segment=self._segment, contents=self._contents)
        self.database.execute("COMMIT")
        self.database.execute("BEGIN IMMEDIATE")

    def vanish(self) -> int:
        """Remove the keys that no source has any more, and return their number."""
        gone = "key NOT IN (SELECT key FROM seen)"
        born = self.database.execute(f"DELETE FROM items WHERE born = ? AND {gone}", (self.target,)).rowcount
        died = self.database.execute(
            f"UPDATE items SET died = ? WHERE died IS NULL AND {gone}", (self.target,)
        ).rowcount
        return born + died

    def living(self) -> tuple[int, int]:
        """Return the numbers of distinct images and of keys."""
        row = self.database.execute("SELECT COUNT(DISTINCT content), COUNT(*) FROM items WHERE died IS NULL").fetchone()
        return row[0], row[1]

    def publish(self) -> int:
        """Publish this run, and return its generation; the old one if nothing has changed."""
        changed = self.database.execute(
            "SELECT 1 FROM items WHERE born = :t OR died = :t LIMIT 1", {"t": self.target}
        ).fetchone()
        shown = self.target if changed or self.published == 0 else self.published
        self.database.execute("DELETE FROM skipped WHERE generation < ?", (self.target,))
        self.database.execute("UPDATE skipped SET generation = ?", (shown,))
        self._say(published=shown, **self._made_of)
        self.database.execute("COMMIT")
        return shown

    def write_segment(self, number: int, parts: dict[str, NDArray[Any]]) -> None:
        """Write a file of vectors and record its checksum; does not commit."""
        sha256 = store.write_segment(self.folder, number, parts)
        self.database.execute("INSERT OR REPLACE INTO segments VALUES (?, ?)", (number, sha256))

    def place_segments(self, number: int, contents: Sequence[int]) -> None:
        """Record that the vectors of these contents are the rows of a segment, in this order; does not commit."""
        self.database.executemany(
            "UPDATE contents SET segment = ?, row = ? WHERE id = ?",
            ((number, row, content) for row, content in enumerate(contents)),
        )

    def take_segment_number(self) -> int:
        self._segment += 1
        self._say(next_segment=self._segment)
        return self._segment - 1

    def _begin(self, spec: IndexSpec, first: Mapping[str, str]) -> None:
        meta = store.read_meta(self.database)
        if not meta:
            self._say(
                format=store.FORMAT, published=0, fingerprint=spec.fingerprint, dim=spec.dim, model=spec.model,
                storage=spec.storage or "float16", source="[]", identity=secrets.token_hex(8), next_segment=1,
                contents=0, first_generation=1, created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            )  # fmt: skip
            self._say(**first)
            meta = store.read_meta(self.database)
        self._refuse(meta, spec)
        self.storage: store.Storage = meta["storage"]  # type: ignore[assignment]
        self.published = int(meta["published"])
        self.target = max(self.published + 1, int(meta["first_generation"]))
        self._segment, self._contents = int(meta["next_segment"]), int(meta["contents"])
        self._made_of = {"source": json.dumps([dict(one) for one in spec.sources]), "model": spec.model}
        self.resumed = bool(self.database.execute("SELECT 1 FROM items WHERE born = ?", (self.target,)).fetchone())
        self._clear()
        self.database.execute("COMMIT")
        self.database.execute("BEGIN IMMEDIATE")
        self._delete_orphans()
        self.database.execute("COMMIT")
        self.database.execute("CREATE TEMP TABLE seen(key TEXT PRIMARY KEY) WITHOUT ROWID")
        self.database.execute("BEGIN IMMEDIATE")

    def _refuse(self, meta: Mapping[str, str], spec: IndexSpec) -> None:
        rebuild = "Choose another place (--out), or rebuild it (--rebuild)."
        if meta["format"] != store.FORMAT:
            raise ImageIndexError(f"{self.folder}: made by another version of Kivuko. {rebuild}")
        if (meta["fingerprint"], int(meta["dim"])) != (spec.fingerprint, spec.dim):
            raise ImageIndexError(
                f"{self.folder}: made with another model ({meta['model']}), whose vectors do not fit. {rebuild}"
            )
        if spec.storage not in (None, meta["storage"]):
            raise ImageIndexError(
                f"{self.folder}: its vectors are stored as {meta['storage']}, not {spec.storage}. {rebuild}"
            )
        earlier, now = json.loads(meta["source"]), [dict(one) for one in spec.sources]
        if now[: len(earlier)] != earlier:
            named = " ".join(one["path"] for one in earlier)
            raise ImageIndexError(
                f"{self.folder}: was made from {named}. Name the same sources in the same order (more may follow), "
                "another place (--out), or rebuild it (--rebuild)."
            )

    def _clear(self) -> None:
        """Delete what no reader of the last two generations can see, and the skipped files of an unfinished run."""
        self.database.execute("DELETE FROM items WHERE died < ?", (self.published,))
        self.database.execute("DELETE FROM contents WHERE id NOT IN (SELECT content FROM items)")
        self.database.execute("DELETE FROM thumbnails WHERE content NOT IN (SELECT id FROM contents)")
        self.database.execute("DELETE FROM skipped WHERE generation = ?", (self.target,))

    def _delete_orphans(self) -> None:
        """Delete segments that no content refers to: of a killed run, or merged."""
        known = {row[0] for row in self.database.execute("SELECT DISTINCT segment FROM contents")}
        kept = {store.segment_path(self.folder, number).name for number in known}
        for file in (self.folder / store.SEGMENTS).iterdir():
            if file.name not in kept:
                file.unlink(missing_ok=True)
        self.database.execute("DELETE FROM segments WHERE number NOT IN (SELECT segment FROM contents)")
        for number in known - store.checksums(self.database).keys():  # of an index of an earlier version
            if (file := store.segment_path(self.folder, number)).is_file():
                self.database.execute("INSERT INTO segments VALUES (?, ?)", (number, sha256_of(file)))

    def _add(self) -> None:
        self.database.executemany("INSERT INTO items VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL)", self._added)
        self._added.clear()

    def _latest(self, key: str) -> _Row | None:
        """Return the row of a key, from ``unchanged`` or the database."""
        return self._rows.pop(key) if key in self._rows else self._read(key)

    def _read(self, key: str) -> _Row | None:
        row = self.database.execute(
            "SELECT content, size, mtime_ns, caption, metadata, place, born, died FROM items WHERE key = ? "
            "ORDER BY born DESC LIMIT 1",
            (key,),
        ).fetchone()
        return _Row(*row) if row else None

    def _say(self, **entries: object) -> None:
        self.database.executemany(
            "INSERT OR REPLACE INTO meta VALUES (?, ?)", ((key, str(value)) for key, value in entries.items())
        )


MOST_SMALL = 64
ROWS = 16_384  # of a merged segment, held in memory at once
_SMALL = ROWS // 2


def merge_segments(writer: IndexWriter, dim: int, most_small: int = MOST_SMALL) -> int:
    """Merge small segments if there are more than ``most_small``, and return the number of merged ones.

    The old files stay until the next run begins, for readers that have looked up a row in them.
    """
    small = [
        number
        for number, rows in writer.database.execute("SELECT segment, COUNT(*) FROM contents GROUP BY segment")
        if rows < _SMALL
    ]
    if len(small) <= most_small:
        return 0
    for contents, parts in _filled(writer, dim, small):
        number = writer.take_segment_number()
        writer.write_segment(number, parts)
        writer.place_segments(number, contents)
        writer.commit([], np.empty((0, dim), dtype=np.float32))
    return len(small)


def _filled(writer: IndexWriter, dim: int, small: list[int]) -> Iterator[tuple[list[int], dict[str, NDArray[Any]]]]:
    """Yield (contents, their rows as stored) for each new segment."""
    contents: list[int] = []
    parts: list[dict[str, NDArray[Any]]] = []
    checksums = store.checksums(writer.database)
    for number in small:
        rows = writer.database.execute(
            "SELECT id, row FROM contents WHERE segment = ? ORDER BY row", (number,)
        ).fetchall()
        contents += [content for content, _ in rows]
        parts.append(store.Segment(writer.folder, number, dim, checksums.get(number)).raw([row for _, row in rows]))
        if len(contents) >= _SMALL:
            yield contents, _joined(parts)
            contents, parts = [], []
    if contents:
        yield contents, _joined(parts)


def _joined(parts: list[dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def rebuild_folder(path: Path, spec: IndexSpec) -> tuple[Path, dict[str, str]]:
    """Create the folder next to an index in which it is rebuilt, or keep that of an interrupted rebuild that fits.

    Also return the first numbers of generations, segments and contents, so that a reader never takes new for old.
    """
    beside, first = _beside(path), dict[str, str]()
    with contextlib.suppress(KivukoError, KeyError, ValueError):  # damaged or of another version
        meta = store.meta_of(path)
        first["first_generation"] = str(int(meta["published"]) + 1)
        first |= {name: meta[name] for name in ("next_segment", "contents")}
    if beside.is_dir() and not _fits(beside, spec, first.get("first_generation", "1")):
        shutil.rmtree(beside)
    beside.mkdir(exist_ok=True)
    return beside, first


def _fits(folder: Path, spec: IndexSpec, generation: str) -> bool:
    """True if an interrupted rebuild had the same specification."""
    try:
        meta = store.meta_of(folder)
    except KivukoError:
        return False
    same = meta.get("fingerprint") == spec.fingerprint and meta.get("storage") == (spec.storage or "float16")
    return same and meta.get("first_generation") == generation


def swap(new: Path, path: Path) -> None:
    """Replace an index by another, under the locks of both; ``store.restore`` undoes a swap that a kill interrupts."""
    aside = store.aside_of(path)
    if aside.is_dir():  # of a rebuild that was killed after its swap
        shutil.rmtree(aside)
    path.rename(aside)
    new.rename(path)
    shutil.rmtree(aside)


def remove_leftovers(path: Path) -> None:
    """Remove what killed rebuilds left next to an index; call it under the index's lock.

    A rebuild that could be resumed is kept.
    """
    shutil.rmtree(store.aside_of(path), ignore_errors=True)
    beside = _beside(path)
    with contextlib.suppress(KivukoError, KeyError, ValueError):
        if beside.is_dir():
            published, first = int(store.meta_of(path)["published"]), store.meta_of(beside).get("first_generation")
            if first != str(published + 1):
                with store.writing(beside):
                    shutil.rmtree(beside, ignore_errors=True)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.rebuild")


def check_place(path: Path, rebuild: bool = False) -> None:
    """Raise ImageIndexError if something other than an index is in the way."""
    if path.exists() and not path.is_dir():
        raise ImageIndexError(f"{path}: is a file. Choose another place (--out).")
    if path.is_dir() and not store.holds_index(path) and any(one.name != store.LOCK for one in path.iterdir()):
        raise ImageIndexError(f"{path}: exists and is not an index; nothing was written. Choose another place (--out).")
    if not rebuild and (path / store.OLD_DATABASE).exists() and not (path / store.DATABASE).exists():
        raise store.other_version(path)


def prepare_folder(path: Path, rebuild: bool = False) -> None:
    """Create the folder of an index, or restore one; errors as of ``check_place``."""
    store.restore(path)
    check_place(path, rebuild)
    path.mkdir(parents=True, exist_ok=True)
