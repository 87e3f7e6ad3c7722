"""Grapheme clusters, the characters that a reader sees (Unicode Standard Annex 29)."""

import json
import unicodedata
from collections.abc import Sequence
from functools import cache, lru_cache
from importlib import resources
from itertools import accumulate
from typing import Any

import regex

from kivuko.text import APOSTROPHES

_CLUSTER = regex.compile(r"\X")


def graphemes(text: str) -> list[str]:
    """Split a text into grapheme clusters.

    >>> graphemes("किल्ली") == ["कि", "ल्ली"] or graphemes("किल्ली") == ["कि", "ल्", "ली"]
    True
    """
    if text.isascii() and "\r" not in text:
        return list(text)
    return _CLUSTER.findall(text)  # type: ignore[no-any-return]


def offsets(units: Sequence[str]) -> list[int]:
    """Return the start of each unit, in code points, and the end of the last one."""
    return [0, *accumulate(map(len, units))]


@lru_cache(maxsize=16_384)
def stay_apart(before: str, new: str, after: str) -> bool:
    """Return True if two clusters stay whole with ``new`` between them: a virama, say, joins the consonant after it.

    ``before`` and ``after`` are clusters of a text, or empty where it begins or ends. The rules of Annex 29 look back
    no further than to where a cluster begins, so nothing beyond these two can change.
    """
    around = before + new + after
    if around.isascii() and "\r" not in around:
        return True
    return graphemes(around) == [one for one in (before, *graphemes(new), after) if one]


@lru_cache(maxsize=65_536)
def is_letter(grapheme: str) -> bool:
    """Return True for clusters that begin with a letter or a digit: only those are misspelled.

    Keycaps (1️⃣) are not, and no more is an apostrophe, whichever is written: Unicode counts some (ʼ) as letters.
    """
    if grapheme[0] in APOSTROPHES:
        return False
    emoji = "\ufe0f" in grapheme or "\u20e3" in grapheme
    return unicodedata.category(grapheme[0])[0] in "LN" and not emoji


@lru_cache(maxsize=65_536)
def script_name(character: str) -> str:
    """Return the script of a character as its Unicode name begins, "LATIN" say; "" where it has no name."""
    return unicodedata.name(character, "").split(" ", 1)[0]


_ROW = 64  # code points looked at for letters like one of a script without an alphabet in the data


def letters_for(grapheme: str, language: str) -> tuple[str, ...]:
    """Return lower-case letters that could be next to ``grapheme`` in a text of a language.

    They are the language's own where it is written in the grapheme's script, otherwise that script's, otherwise the
    letters (for a digit, the digits) of that script with code points near the grapheme's: for a Chinese character
    those of like radical, for a Korean syllable those of like beginning.
    """
    return _letters(script_name(grapheme[0]), primary_code(language)) or _peers(grapheme[0])


@cache
def primary_code(language: str) -> str:
    """Return the part of a language's tag that names the language: "pt" of "pt-BR"."""
    return language.replace("_", "-").split("-")[0].lower()


@cache
def _letters(script: str, language: str) -> tuple[str, ...]:
    data = data_file("letters.json")
    base = str(data["scripts"].get(script, ""))
    own = data["languages"].get(language)
    if own is not None and own["script"] == script:
        base = own["all"] if "all" in own else base + own["more"]
    return tuple(dict.fromkeys(base))


@lru_cache(maxsize=4096)
def _peers(character: str) -> tuple[str, ...]:
    sort, script = unicodedata.category(character)[0], script_name(character)
    row = ord(character) // _ROW * _ROW
    near = (one for one in map(chr, range(row, row + _ROW)) if unicodedata.category(one)[0] == sort)
    return tuple(dict.fromkeys(one.lower() for one in near if script_name(one) == script and len(one.lower()) == 1))


@cache
def data_file(name: str) -> dict[str, Any]:
    """Read one of the package's data files."""
    content = (resources.files("kivuko.perturbations") / "data" / name).read_text(encoding="utf-8")
    return json.loads(content)  # type: ignore[no-any-return]
