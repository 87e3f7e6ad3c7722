"""Bitext from tab-separated files."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from kivuko.bitext.byte_input import ByteInput
from kivuko.bitext.columns import Columns, check_columns, columns_in_header, named_columns
from kivuko.bitext.lines import read_texts
from kivuko.bitext.raw_pair import BLANK_LINE, MISSING_COLUMN, TOO_LONG, RawPair
from kivuko.errors import DataError, at

_NOTHING = "\0"  # no line holds a NUL


class TsvSource:
    """The lines of a tab-separated UTF-8 file; see ``PairSource``.

    Quotes mean nothing: a sentence may begin with one.

    Args:
        source: the file, compressed or not.
        language: normalised BCP 47 code.
        columns: where the language and English stand: two positions counted from 1, or two headings of the first
            row. By default a first row that names columns decides (``sw`` and ``en``, ``text`` and ``english``,
            ``source`` and ``target``, ``non_english`` and ``english``), else 1 and 2.

    Attributes:
        needed: how many columns a line must have, known after the first line was read.

    Raises:
        UsageError: ``columns`` that make no sense.
    """

    format = "tsv"

    def __init__(
        self, source: ByteInput, language: str, columns: tuple[int, int] | tuple[str, str] | None = None
    ) -> None:
        if columns is not None:
            check_columns(columns)
        self.name, self.language, self.size = source.name, language, source.size
        self.needed = 2
        self._source, self._columns = source, columns

    def __iter__(self) -> Iterator[RawPair]:
        texts = read_texts(self._source)
        first = next(texts, _NOTHING)
        if first is _NOTHING:
            raise DataError(f"{self.name}: is empty; give a file with one pair of sentences per line")
        where, is_header = self._layout((first or "").split("\t"))
        self.needed = max(where) + 1
        if is_header:
            return _pairs(texts, where, 2)
        return _pairs(chain([first], texts), where, 1)

    def place(self, number: int) -> str:
        return at(self.name, number)

    def bytes_read(self) -> int:
        return self._source.bytes_read()

    def _layout(self, cells: list[str]) -> tuple[Columns, bool]:
        """Where the two sides stand, and whether the first line is a header."""
        text, english = self._columns or (None, None)
        place = at(self.name, 1)
        if isinstance(text, str) and isinstance(english, str):
            return named_columns(cells, (text, english), place), True
        header = columns_in_header(cells, self.language, place)
        if isinstance(text, int) and isinstance(english, int):
            return Columns(text - 1, english - 1), header is not None
        return header or Columns(0, 1), header is not None


def _pairs(texts: Iterator[str | None], where: Columns, first: int) -> Iterator[RawPair]:
    text, english = where
    needed = max(where) + 1
    new = tuple.__new__  # a third faster than RawPair's own, which checks nothing either
    for number, line in enumerate(texts, start=first):
        if line is None:
            yield RawPair(number, None, None, TOO_LONG)
            continue
        cells = line.split("\t")
        if len(cells) >= needed:
            yield new(RawPair, (number, cells[text], cells[english], None))
        elif len(cells) == 1 and not line.strip():
            yield RawPair(number, None, None, BLANK_LINE)
        else:
            yield RawPair(number, line, None, MISSING_COLUMN)
