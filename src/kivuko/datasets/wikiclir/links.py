"""Mutual links of chosen articles, from link tables of any size.

Links are read once; those from or to a chosen article are kept on disk, in buckets by that article's id; then each
bucket, which fits into memory, is sorted.
"""

import itertools
import sqlite3
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kivuko.datasets.wikiclir.dumps import SqlDump
from kivuko.errors import DataError

_HOPS = 4  # robots repair redirects to redirects; a ring of them must end somewhere


def title_key(title: str) -> str:
    """Return the normal form of a title: with spaces, and a capital as its first letter.

    >>> title_key("dar_es_Salaam ")
    'Dar es Salaam'
    """
    spaced = " ".join(title.replace("_", " ").split())
    return spaced[:1].upper() + spaced[1:]


class PageTable:
    """From titles to articles, through redirects. Call ``add_pages`` and ``add_redirects``, then ``freeze``."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        database.execute("CREATE TABLE page (title TEXT, id INTEGER, redirect TEXT)")
        database.execute("CREATE TABLE redirect (id INTEGER PRIMARY KEY, title TEXT)")
        self.resolve = lru_cache(maxsize=65_536)(self._resolve)

    def add_pages(self, pages: Iterable[tuple[str, int, str | None]]) -> None:
        """Add (title, id, title of the redirect's target or None)."""
        keyed = (
            (title_key(title), number, None if target is None else title_key(target)) for title, number, target in pages
        )
        _insert(self._database, "INSERT INTO page VALUES (?, ?, ?)", keyed)

    def add_redirects(self, redirects: Iterable[tuple[int, str]]) -> None:
        """Add (id of a redirect's page, title of its target)."""
        keyed = ((number, title_key(title)) for number, title in redirects)
        _insert(self._database, "INSERT OR REPLACE INTO redirect VALUES (?, ?)", keyed)

    def freeze(self) -> None:
        self._database.execute("CREATE INDEX page_of_title ON page (title, id, redirect)")
        self._database.commit()

    def __len__(self) -> int:
        return int(self._database.execute("SELECT count(*) FROM page").fetchone()[0])

    def _resolve(self, title: str) -> int | None:
        key = title_key(title)
        for _ in range(_HOPS):
            row = self._database.execute("SELECT id, redirect FROM page WHERE title = ?", (key,)).fetchone()
            if row is None:
                return None
            number, target = row
            if target is None:
                moved = self._database.execute("SELECT title FROM redirect WHERE id = ?", (number,)).fetchone()
                if moved is None:
                    return int(number)
                target = moved[0]
            key = target
        return None


def open_database(path: Path) -> sqlite3.Connection:
    """Open a temporary database: not safe from a crash, with little memory."""
    database = sqlite3.connect(path)
    for setting in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -32768", "temp_store = FILE"):
        database.execute(f"PRAGMA {setting}")
    return database


def _insert(database: sqlite3.Connection, statement: str, rows: Iterable[tuple[object, ...]]) -> None:
    rows = iter(rows)
    while batch := list(itertools.islice(rows, _BATCH)):
        database.executemany(statement, batch)
    database.commit()


_BUCKETS = 64
_BATCH = 50_000
_OUT, _IN = 0, 1


class LinkTargets:
    """From a link target's number (``lt_id``) to its page: int64, in a memory-mapped file."""

    def __init__(self, folder: Path) -> None:
        self._file, self._size = folder / "targets.int64", 1 << 16
        self._pages = np.memmap(self._file, dtype=np.int64, mode="w+", shape=(self._size,))

    def read(self, dump: SqlDump, pages: PageTable) -> None:
        """Read a ``linktarget`` dump; only the main namespace counts."""
        for number, namespace, title in dump.rows("lt_id", "lt_namespace", "lt_title"):
            if namespace == b"0" and (page := pages.resolve(title.decode("utf-8", "replace"))) is not None:
                place = dump.whole(number)
                if place >= self._size:
                    self._grow(place)
                self._pages[place] = page

    def of(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        known = (numbers >= 0) & (numbers < self._size)
        targets: NDArray[np.int64] = np.where(known, self._pages[np.where(known, numbers, 0)], 0)
        return targets

    def _grow(self, place: int) -> None:
        if place > 1 << 32:
            raise DataError(f"link target {place} is beyond any wiki's; the linktarget dump is damaged: fetch it again")
        self._pages.flush()
        while self._size <= place:
            self._size *= 2
        with self._file.open("r+b") as file:
            file.truncate(8 * self._size)  # zeros that take no room on the disk until they are written
        self._pages = np.memmap(self._file, dtype=np.int64, mode="r+", shape=(self._size,))


def read_links(dump: SqlDump, pages: PageTable, targets: LinkTargets | None) -> Iterator[NDArray[np.int64]]:
    """Yield links between articles in blocks, int64 [links, 2]: from page, to page, redirects followed.

    ``pagelinks`` dumps have ``pl_target_id`` since 2024, which needs ``targets``, and ``pl_title`` before.
    """
    if dump.has("pl_title"):
        yield from _titled_links(dump, pages)
        return
    if targets is None:
        raise DataError(f"{dump.path}: names its targets by number; give the linktarget dump of the same day too")
    with_namespace = dump.has("pl_from_namespace")
    columns = ("pl_from", "pl_target_id", *(["pl_from_namespace"] if with_namespace else []))
    for block in dump.numbers(*columns):
        kept = block[block[:, 2] == 0] if with_namespace else block
        linked = np.stack([kept[:, 0], targets.of(kept[:, 1])], axis=1)
        yield linked[linked[:, 1] > 0]


def _titled_links(dump: SqlDump, pages: PageTable) -> Iterator[NDArray[np.int64]]:
    with_namespace = dump.has("pl_from_namespace")
    columns = ("pl_from", "pl_namespace", "pl_title", *(["pl_from_namespace"] if with_namespace else []))
    links: list[tuple[int, int]] = []
    for start, namespace, title, *own in dump.rows(*columns):
        if namespace != b"0" or (own and own[0] != b"0"):
            continue
        if (page := pages.resolve(title.decode("utf-8", "replace"))) is not None:
            links.append((dump.whole(start), page))
        if len(links) >= _BATCH:
            yield np.array(links, dtype=np.int64)
            links = []
    yield np.array(links, dtype=np.int64).reshape(-1, 2)


class MutualLinks:
    """The articles in mutual link with a chosen article; ``chosen``: int64 [articles], sorted, each once."""

    def __init__(self, chosen: NDArray[np.int64], folder: Path) -> None:
        self._chosen = chosen
        # Ranges of ids with as many chosen articles each, so that all buckets together are in order.
        places = np.linspace(0, len(chosen), _BUCKETS + 1).astype(np.int64)[1:-1]
        self._limits = chosen[np.minimum(places, max(0, len(chosen) - 1))] if len(chosen) else chosen
        self._files = [folder / f"links-{number:02}.int64" for number in range(_BUCKETS)]

    def add(self, links: NDArray[np.int64]) -> None:
        links = links[links[:, 0] != links[:, 1]]
        for own, other, way in ((0, 1, _OUT), (1, 0, _IN)):
            kept = links[self._is_chosen(links[:, own])]
            rows = np.stack([kept[:, own], kept[:, other] * 2 + way], axis=1)
            buckets = np.searchsorted(self._limits, rows[:, 0], side="right")
            for number in np.unique(buckets):
                with self._files[number].open("ab") as file:
                    file.write(rows[buckets == number].tobytes())

    def pairs(self) -> Iterator[NDArray[np.int64]]:
        """Yield int64 [pairs, 2]: a chosen article, another in mutual link with it; sorted over all blocks."""
        for file in self._files:
            if not file.is_file():
                continue
            rows = np.fromfile(file, dtype=np.int64).reshape(-1, 2)
            file.unlink()
            rows = np.unique(rows, axis=0)
            same = (rows[1:, 0] == rows[:-1, 0]) & (rows[1:, 1] // 2 == rows[:-1, 1] // 2)
            mutual = rows[1:][same]
            yield np.stack([mutual[:, 0], mutual[:, 1] // 2], axis=1)

    def _is_chosen(self, numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
        if not len(self._chosen):
            return np.zeros(len(numbers), dtype=np.bool_)
        places = np.minimum(np.searchsorted(self._chosen, numbers), len(self._chosen) - 1)
        chosen: NDArray[np.bool_] = self._chosen[places] == numbers
        return chosen
