"""A pair of sentences as it stands in a file, before any cleaning."""

from __future__ import annotations

from typing import NamedTuple

from kivuko.bitext.sieve import EMPTY_SIDE, TOO_LONG

# Why a reader gives no pair for a line, row or unit; beside ``EMPTY_SIDE``, for null in a table, and ``TOO_LONG``, for
# what is over ``MAX_SIDE_BYTES`` and never held in memory.
BLANK_LINE = "blank line"
MISSING_COLUMN = "missing column"  # of a line or a record
MISSING_LANGUAGE = "missing language"  # of a translation unit
NOT_JSON = "not JSON"
NOT_TEXT = "not text"  # a number or a list where a sentence should be
BROKEN_TEXT = "broken characters"  # not UTF-8, or half a surrogate pair
TOO_MANY_VARIANTS = "too many variants"  # of one translation unit

__all__ = [
    "BLANK_LINE", "BROKEN_TEXT", "EMPTY_SIDE", "MAX_SIDE_BYTES", "MISSING_COLUMN", "MISSING_LANGUAGE", "NOT_JSON",
    "NOT_TEXT", "TOO_LONG", "TOO_MANY_VARIANTS", "RawPair",
]  # fmt: skip

MAX_SIDE_BYTES = 1 << 20  # of a line, or of a side of a unit; a sentence is shorter by orders of magnitude


class RawPair(NamedTuple):
    """One pair as a reader finds it, or the place of one that it does not find.

    Attributes:
        number: of the line, row or unit, counted from 1 over all files of the source; ``PairSource.place`` names it.
        text: the side in the language; None where there is none. The whole line where sides cannot be told apart.
        english: the English side; None where there is none.
        reason: why there is no pair here; None: there is one, and both sides are strings, perhaps empty.
    """

    number: int
    text: str | None
    english: str | None
    reason: str | None = None
