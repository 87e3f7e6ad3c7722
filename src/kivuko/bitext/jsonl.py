"""Bitext from JSON lines: one object per line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from kivuko.bitext.byte_input import ByteInput
from kivuko.bitext.columns import check_columns
from kivuko.bitext.lines import read_texts
from kivuko.bitext.raw_pair import (
    BLANK_LINE,
    BROKEN_TEXT,
    EMPTY_SIDE,
    MISSING_COLUMN,
    NOT_JSON,
    NOT_TEXT,
    TOO_LONG,
    RawPair,
)
from kivuko.bitext.record_columns import Path, Sides, sides_of
from kivuko.errors import DataError, UsageError, at

_decode = json.JSONDecoder().decode


class JsonlSource:
    """The lines of a JSON lines file; see ``PairSource``.

    Args:
        source: the file, compressed or not, UTF-8.
        language: normalised BCP 47 code.
        columns: the keys of the language and of English; ``translation.sw`` is the key ``sw`` in the object
            ``translation``. By default the keys of the first object decide, as headings do in a table (``TsvSource``),
            or those in its ``translation``.

    Raises:
        UsageError: ``columns`` that make no sense.
    """

    format = "jsonl"

    def __init__(
        self, source: ByteInput, language: str, columns: tuple[int, int] | tuple[str, str] | None = None
    ) -> None:
        if columns is not None:
            check_columns(columns)
            if any(isinstance(column, int) for column in columns):
                raise UsageError(f"columns {columns!r}: JSON objects have no positions; give two keys")
        self.name, self.language, self.size = source.name, language, source.size
        self._source, self._columns = source, columns

    def __iter__(self) -> Iterator[RawPair]:
        sides: Sides | None = None
        number = 0
        for number, line in enumerate(read_texts(self._source), start=1):
            if line is None:
                yield RawPair(number, None, None, TOO_LONG)
            elif not line or line.isspace():
                yield RawPair(number, None, None, BLANK_LINE)
            else:
                if sides is None:
                    sides = self._sides(line, at(self.name, number))
                yield _pair(number, line, sides)
        if not number:
            raise DataError(f"{self.name}: is empty; give a file with one JSON object per line")

    def place(self, number: int) -> str:
        return at(self.name, number)

    def bytes_read(self) -> int:
        return self._source.bytes_read()

    def _sides(self, line: str, place: str) -> Sides:
        try:
            record = _decode(line)
        except (ValueError, RecursionError) as error:
            hint = "; it is one JSON array: write its objects on lines with jq -c '.[]'" if line[0] == "[" else ""
            raise DataError(
                f"{place}: not a JSON object{hint or f' ({_words(error)}); give one object per line'}"
            ) from None
        if not isinstance(record, dict):
            kind = "an array" if isinstance(record, list) else "a value"
            raise DataError(f"{place}: {kind}, not an object; write one object with its keys per line")
        fields = {key: list(value) if isinstance(value, dict) else [] for key, value in record.items()}
        return sides_of(fields, self.language, self._columns, place)


def _pair(number: int, line: str, sides: Sides) -> RawPair:
    try:
        record = _decode(line)
    except (ValueError, RecursionError):
        return RawPair(number, line, None, NOT_JSON)
    try:
        text, english = _value(record, sides.text), _value(record, sides.english)
    except (KeyError, TypeError):
        return RawPair(number, line, None, MISSING_COLUMN)
    if type(text) is not str or type(english) is not str:
        return RawPair(number, None, None, EMPTY_SIDE if text is None or english is None else NOT_TEXT)
    # Only an escape can bring in half of a surrogate pair.
    if "\\u" in line and not (_whole(text) and _whole(english)):
        return RawPair(number, None, None, BROKEN_TEXT)
    return RawPair(number, text, english)


def _value(record: Any, path: Path) -> Any:
    for name in path:
        record = record[name]
    return record


def _whole(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _words(error: Exception) -> str:
    return str(error).partition("\n")[0][:120]
