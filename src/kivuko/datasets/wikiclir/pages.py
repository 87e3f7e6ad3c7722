"""Titles and page ids of one Wikipedia, on disk: there may be tens of millions."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

_HOPS = 4  # redirects to redirects are mended by robots; a ring of them must end somewhere
_BATCH = 50_000


def title_key(title: str) -> str:
    """Return a title as it is compared: with spaces, and a capital as its first letter.

    >>> title_key("dar_es_Salaam ")
    'Dar es Salaam'
    """
    spaced = " ".join(title.replace("_", " ").split())
    return spaced[:1].upper() + spaced[1:]


class PageTable:
    """Finds the article of a title, through redirects. ``add_pages`` and ``add_redirects`` first, then ``freeze``."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        database.execute("CREATE TABLE page (title TEXT, id INTEGER, redirect TEXT)")
        database.execute("CREATE TABLE redirect (id INTEGER PRIMARY KEY, title TEXT)")
        self.resolve = lru_cache(maxsize=65_536)(self._resolve)

    def add_pages(self, pages: Iterable[tuple[str, int, str | None]]) -> None:
        """Add (title, id, title that it leads to or None)."""
        keyed = (
            (title_key(title), number, None if target is None else title_key(target)) for title, number, target in pages
        )
        _insert(self._database, "INSERT INTO page VALUES (?, ?, ?)", keyed)

    def add_redirects(self, redirects: Iterable[tuple[int, str]]) -> None:
        """Add (id of a redirect's page, title that it leads to)."""
        keyed = ((number, title_key(title)) for number, title in redirects)
        _insert(self._database, "INSERT OR REPLACE INTO redirect VALUES (?, ?)", keyed)

    def freeze(self) -> None:
        """Build the index that ``resolve`` needs; SQLite sorts it on disk."""
        self._database.execute("CREATE INDEX page_of_title ON page (title, id, redirect)")
        self._database.commit()

    def __len__(self) -> int:
        return int(self._database.execute("SELECT count(*) FROM page").fetchone()[0])

    def _resolve(self, title: str) -> int | None:
        """Return the id of the article that a title means; None if there is none."""
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
    """Open a database that is thrown away afterwards: nothing is kept safe from a crash, memory stays small."""
    database = sqlite3.connect(path)
    for setting in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -32768", "temp_store = FILE"):
        database.execute(f"PRAGMA {setting}")
    return database


def _insert(database: sqlite3.Connection, statement: str, rows: Iterable[tuple[object, ...]]) -> None:
    rows = iter(rows)
    while batch := list(itertools.islice(rows, _BATCH)):
        database.executemany(statement, batch)
    database.commit()
