"""Grapheme clusters: what a reader takes for one character (Unicode Standard Annex 29)."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate

import regex

_CLUSTER = regex.compile(r"\X")


def graphemes(text: str) -> list[str]:
    """Split a text into grapheme clusters, which joined make the text again.

    >>> graphemes("किल्ली") == ["कि", "ल्ली"] or graphemes("किल्ली") == ["कि", "ल्", "ली"]
    True
    """
    if text.isascii() and "\r" not in text:
        return list(text)
    return _CLUSTER.findall(text)  # type: ignore[no-any-return]


def offsets(units: Sequence[str]) -> list[int]:
    """Return where each unit begins, in code points, and where the last one ends."""
    return [0, *accumulate(map(len, units))]


@lru_cache(maxsize=16_384)
def stay_apart(before: str, new: str, after: str) -> bool:
    """Tell whether two clusters stay whole with ``new`` between them: a virama, say, joins the consonant after it.

    ``before`` and ``after`` are clusters of a text, or empty where it begins or ends. The rules of Annex 29 look back
    no further than to where a cluster begins, so nothing beyond these two can change.
    """
    around = before + new + after
    if around.isascii() and "\r" not in around:
        return True
    return graphemes(around) == [one for one in (before, *graphemes(new), after) if one]


@lru_cache(maxsize=65_536)
def is_letter(grapheme: str) -> bool:
    """Tell whether a cluster begins with a letter or a digit: only those are misspelt. Keycaps such as 1️⃣ are not."""
    emoji = "\ufe0f" in grapheme or "\u20e3" in grapheme
    return unicodedata.category(grapheme[0])[0] in "LN" and not emoji


@lru_cache(maxsize=65_536)
def script_of(character: str) -> str:
    """Return the script of a character as its Unicode name begins, "LATIN" say; "" where it has no name."""
    return unicodedata.name(character, "").split(" ", 1)[0]
