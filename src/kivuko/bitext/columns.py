"""Which columns of a table hold the sentence and its English translation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from kivuko.errors import DataError, UsageError
from kivuko.languages import language as describe

# (language's side, English side) pairs of headings that are in use for bitext.
_HEADINGS = (("text", "english"), ("source", "target"), ("non_english", "english"))
_ENGLISH_CODES = ("en", "eng", "english")


class Columns(NamedTuple):
    """Where the two sides stand, counted from 0."""

    text: int
    english: int


def check_columns(columns: tuple[int, int] | tuple[str, str]) -> None:
    """Raise ``UsageError`` unless two different positions (from 1) or two different headings are given."""
    if len(columns) != 2 or len({type(column) for column in columns}) != 1 or columns[0] == columns[1]:
        raise UsageError(f"columns {columns!r}: give two different positions or two different headings")
    if any(isinstance(column, int) and column < 1 for column in columns):
        raise UsageError(f"columns {columns!r}: positions count from 1")


def columns_in_header(cells: Sequence[str], language: str, place: str) -> Columns | None:
    """Find the two sides in a table's first row, or return None where that row is not a header.

    A header names ``text`` and ``english``, ``source`` and ``target``, ``non_english`` and ``english``, or
    the language's own code and ``en``, in any order and among other columns.

    Raises:
        DataError: the row has ``en`` and codes of other languages, but not the code of ``language``.
    """
    names = [cell.strip().casefold() for cell in cells]
    for text_heading, english_heading in _HEADINGS:
        if text_heading in names and english_heading in names:
            return Columns(names.index(text_heading), names.index(english_heading))
    english = next((names.index(code) for code in _ENGLISH_CODES if code in names), None)
    if english is None:
        return None
    codes = [None if index == english else _code(name) for index, name in enumerate(names)]
    if language in codes:
        return Columns(codes.index(language), english)
    others = [code for code in codes if code is not None]
    if others and names[english] != "english":
        raise DataError(
            f"{place}: the header names {', '.join(others)} and {names[english]}, not {language}; "
            f"give the language the file is in, or take the header away"
        )
    return None


def named_columns(cells: Sequence[str], columns: tuple[str, str], place: str) -> Columns:
    """Find two headings in a table's first row, whatever their case.

    Raises:
        DataError: the row lacks one of them; the message lists what it has.
    """
    names = [cell.strip().casefold() for cell in cells]
    wanted = [column.strip().casefold() for column in columns]
    missing = [column for column, name in zip(columns, wanted, strict=True) if name not in names]
    if missing:
        has = ", ".join(cell.strip()[:40] for cell in cells[:10])
        raise DataError(f"{place}: no column {' nor '.join(missing)} in the header, which has: {has}")
    return Columns(names.index(wanted[0]), names.index(wanted[1]))


def _code(name: str) -> str | None:
    # Only what has the form of a code is looked up: a cell may hold anything.
    if not name.replace("-", "").replace("_", "").isalnum() or len(name) > 12:
        return None
    try:
        return describe(name).code
    except UsageError:
        return None
