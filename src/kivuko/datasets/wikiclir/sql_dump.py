"""Rows of a table from a Wikipedia SQL dump (``swwiki-20240101-langlinks.sql.gz``), as a stream.

The dumps are mysqldump's: a CREATE TABLE that names the columns, then INSERT statements of a megabyte each, in which
a line feed within a text is escaped. Columns are found by name, since their order and number change over the years.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kivuko.datasets.collections.byte_stream import byte_stream
from kivuko.errors import DataError, at

_PIECE = 1 << 20
_MOST_ROW = 4 << 20  # bytes; a title has at most 255
_VALUE = rb"(?:_binary )?'((?:[^'\\]|\\.)*+)'|(-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|NULL|0x[0-9A-Fa-f]*)"
_CREATE = re.compile(rb"CREATE TABLE (?:IF NOT EXISTS )?`?([A-Za-z0-9_]+)`? \(")
_COLUMN = re.compile(rb"\s+`([A-Za-z0-9_]+)`\s")
_INSERT = re.compile(rb"INSERT (?:IGNORE )?INTO `?([A-Za-z0-9_]+)`?\s*(?:\([^()]*\)\s*)?VALUES\s*")
_GOES_ON = re.compile(rb"[\s,]*\(")
_WHOLE = re.compile(rb"[0-9]{1,18}")
_ESCAPE = re.compile(rb"\\(.)", re.DOTALL)
_ESCAPED = {b"0": b"\0", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"Z": b"\x1a"}


class _Piece(NamedTuple):
    """A part of what stands after VALUES: ``begins``: a statement's first; ``ends_line``: the line is whole."""

    line: int
    content: bytes
    begins: bool
    ends_line: bool


class SqlDump:
    """One table's dump. ``columns``: the names of its columns.

    Args:
        progress: told how many bytes of the file, as it lies on disk, have been read.

    Raises:
        DataError: the file is no dump of this table, or cannot be read.
    """

    def __init__(self, path: Path, table: str, progress: Callable[[int], None] | None = None) -> None:
        self.path, self.table, self._progress = path, table, progress
        self.columns = self._read_columns()

    def has(self, *columns: str) -> bool:
        """Tell whether the table has all of these columns."""
        return set(columns) <= set(self.columns)

    def rows(self, *columns: str) -> Iterator[tuple[bytes, ...]]:
        """Yield the chosen columns of every row as bytes: text without quotes and escapes, ``NULL`` as it stands.

        Raises:
            DataError: the table has no such column, a row is malformed or of another width, or the file ends within
                one; the message names ``path:line``.
        """
        places, count = self._places(columns), len(self.columns)
        row = re.compile(rb"[\s,]*\(" + rb",".join([rb"\s*(?:" + _VALUE + rb")\s*"] * count) + rb"\)", re.DOTALL)
        groups = [1 + 2 * place for place in places]
        rest, line = b"", 0
        for line, piece, begins, ends_line in self._pieces():
            if begins:
                self._refuse_rest(rest, line)
                rest = b""
            content, position = rest + piece, 0
            while found := row.match(content, position):
                yield tuple([_text(found, group) for group in groups])
                position = found.end()
            rest = content[position:]
            if ends_line or len(rest) > _MOST_ROW:
                self._refuse_rest(rest, line)
                rest = b""
        self._refuse_rest(rest, line)

    def numbers(self, *columns: str) -> Iterator[NDArray[np.int64]]:
        """Yield the chosen columns of all rows in blocks, int64 [rows, columns], for tables of whole numbers alone.

        Some ten times as fast as ``rows``: links are the longest table of all.

        Raises:
            DataError: as ``rows``; also a value that is no whole number.
        """
        places, count = self._places(columns), len(self.columns)
        rest, line = b"", 0
        for line, piece, begins, ends_line in self._pieces():
            if begins:
                self._refuse_rest(rest, line)
                rest = b""
            content = rest + piece
            end = content.rfind(b")") + 1
            body, rest = content[:end], content[end:]
            if body:
                yield self._parsed(body, count, line)[:, places]
            if ends_line or len(rest) > _MOST_ROW:
                self._refuse_rest(rest, line)
                rest = b""
        self._refuse_rest(rest, line)

    def whole(self, value: bytes) -> int:
        """Return a value of ``rows`` as a whole number from 0.

        Raises:
            DataError: it is none, or has more than 18 digits.
        """
        if not _WHOLE.fullmatch(value):
            shown = value[:40].decode("utf-8", "replace")
            raise DataError(
                f"{self.path}: {shown!r} stands where table {self.table!r} has a whole number; is it damaged?"
            )
        return int(value)

    def _parsed(self, body: bytes, count: int, line: int) -> NDArray[np.int64]:
        """Return rows of whole numbers, int64 [rows, count]: their width is checked by the brackets around them."""
        flat = body.translate(None, b"() \r\n").strip(b",")
        opened = body.count(b"(")
        if flat.translate(None, b"0123456789,-") or opened != body.count(b")"):
            raise self._malformed(line, body)
        try:
            found = np.fromstring(flat.decode("ascii"), dtype=np.int64, sep=",") if flat else np.empty(0, np.int64)
        except ValueError:
            raise self._malformed(line, body) from None
        if not len(found) or len(found) != count * opened:
            raise self._malformed(line, body)
        return found.reshape(-1, count)

    def _pieces(self) -> Iterator[_Piece]:
        """Yield what stands after VALUES, at most a megabyte at a time."""
        with byte_stream(self.path, self._progress) as stream:
            line, begins_line, inside = 1, True, False
            while piece := stream.readline(_PIECE):
                ends_line = piece.endswith(b"\n")
                begins = False
                if begins_line:
                    if insert := _INSERT.match(piece):
                        self._check_table(insert[1], line)
                        piece, begins, inside = piece[insert.end() :], True, True
                    elif not (inside and _GOES_ON.match(piece)):  # rows may stand on lines of their own
                        inside = False
                if inside:
                    yield _Piece(line, piece, begins, ends_line)
                line += ends_line
                begins_line = ends_line

    def _read_columns(self) -> tuple[str, ...]:
        found: list[str] = []
        with byte_stream(self.path) as stream:
            created, line = False, 0
            while piece := stream.readline(_PIECE):
                line += 1
                if create := _CREATE.match(piece):
                    self._check_table(create[1], line)
                    created = True
                elif created and (column := _COLUMN.match(piece)):
                    found.append(column[1].decode())
                elif found or _INSERT.match(piece) or line > 1000:
                    break
        if not found:
            raise DataError(
                f"{self.path}: no CREATE TABLE `{self.table}` at its beginning; give the .sql dump as Wikimedia has it"
            )
        return tuple(found)

    def _check_table(self, name: bytes, line: int) -> None:
        if name.decode() != self.table:
            raise DataError(f"{at(self.path, line)}: this is table {name.decode()!r}, not {self.table!r}")

    def _places(self, columns: Sequence[str]) -> list[int]:
        for column in columns:
            if column not in self.columns:
                raise DataError(
                    f"{self.path}: table {self.table!r} has no column {column!r} (it has {', '.join(self.columns)}); "
                    "is this the right dump?"
                )
        return [self.columns.index(column) for column in columns]

    def _refuse_rest(self, rest: bytes, line: int) -> None:
        """Raise DataError unless nothing but separators is left after the last whole row."""
        if rest.strip(b",; \t\r\n"):
            raise self._malformed(line, rest.lstrip(b", "))

    def _malformed(self, line: int, start: bytes) -> DataError:
        shown = start[:60].decode("utf-8", "replace")
        return DataError(
            f"{at(self.path, line)}: not a whole row of {self.table!r} with {len(self.columns)} columns: {shown!r}; "
            "the dump is damaged or cut short: fetch it again"
        )


def _text(row: re.Match[bytes], group: int) -> bytes:
    text = row[group]
    if text is None:
        return row[group + 1]
    return _ESCAPE.sub(_unescaped, text) if b"\\" in text else text


def _unescaped(found: re.Match[bytes]) -> bytes:
    return _ESCAPED.get(found[1], found[1])
