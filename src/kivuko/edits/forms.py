"""Other forms of the same letters: without their marks, in the other case or width, composed or decomposed."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

from kivuko.edits.graphemes import is_letter
from kivuko.edits.place_kind import Change, PlaceKind

_FULLWIDTH = 0xFEE0  # from "!" to "！"
_FORMS: tuple[Literal["NFC", "NFD", "NFKC", "NFKD"], ...] = ("NFC", "NFD", "NFKC", "NFKD")


def _diacritics(units: Sequence[str], place: int, _language: str) -> list[Change]:
    if place == len(units) or not is_letter(units[place]):
        return []
    return [(place, place + 1, bare) for bare in _without_a_mark(units[place])]


@lru_cache(maxsize=65_536)
def _without_a_mark(cluster: str) -> tuple[str, ...]:
    """Return a cluster less one of its marks: accents, and the vowel signs and viramas of Indic scripts."""
    if cluster.isascii():
        return ()
    parts = unicodedata.normalize("NFD", cluster)
    marks = [n for n, one in enumerate(parts) if n and unicodedata.category(one) in ("Mn", "Mc")]
    bare = (unicodedata.normalize("NFC", parts[:n] + parts[n + 1 :]) for n in marks)
    return tuple(dict.fromkeys(one for one in bare if one != cluster))


def _case(units: Sequence[str], place: int, _language: str) -> list[Change]:
    if place == len(units) or not is_letter(units[place]):
        return []
    other = units[place].swapcase()
    return [] if other == units[place] else [(place, place + 1, other)]


def _width(units: Sequence[str], place: int, _language: str) -> list[Change]:
    if place == len(units) or len(units[place]) != 1:
        return []
    code = ord(units[place])
    if 0x21 <= code <= 0x7E:
        return [(place, place + 1, chr(code + _FULLWIDTH))]
    if 0x21 <= code - _FULLWIDTH <= 0x7E:
        return [(place, place + 1, chr(code - _FULLWIDTH))]
    return []


def _normalization(units: Sequence[str], place: int, _language: str) -> list[Change]:
    if place:
        return []
    text = "".join(units)
    forms = dict.fromkeys(unicodedata.normalize(form, text) for form in _FORMS)
    return [(0, len(units), form) for form in forms if form != text]


FORM_KINDS = (
    PlaceKind("diacritics", "an accent, vowel sign or virama left out", _diacritics),
    PlaceKind("case", "a letter in the other case", _case),
    PlaceKind("width", "a letter in full width, or back from it", _width),
    PlaceKind("normalization", "the whole text in another Unicode normalization form", _normalization),
)
