"""Other forms of the same letters: without their marks, in the other case or width, composed or decomposed."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Literal

from kivuko.edits.graphemes import is_letter
from kivuko.edits.place_kind import Change, PlaceKind

_FULLWIDTH = 0xFEE0  # from "!" to "！"
# Letters whose stroke or hook Unicode does not take for a mark, but which are typed without it all the same.
_STRUCK = dict(zip("łøđħŧɓɗƙƴıŁØĐĦŦƁƊƘƳ", "lodhtbdkyiLODHTBDKY", strict=True))
_FORMS: tuple[Literal["NFC", "NFD", "NFKC", "NFKD"], ...] = ("NFC", "NFD", "NFKC", "NFKD")


def _diacritics(units: Sequence[str], place: int, _language: str) -> list[Change]:
    if place == len(units) or not is_letter(units[place]):
        return []
    return [(place, place + 1, bare) for bare in _without_a_mark(units[place])]


@lru_cache(maxsize=65_536)
def _without_a_mark(cluster: str) -> tuple[str, ...]:
    """Return a cluster less one of its marks: accents, strokes, and the vowel signs and viramas of Indic scripts."""
    if cluster.isascii():
        return ()
    parts = unicodedata.normalize("NFD", cluster)
    marks = [n for n, one in enumerate(parts) if n and unicodedata.category(one) in ("Mn", "Mc")]
    bare = [unicodedata.normalize("NFC", parts[:n] + parts[n + 1 :]) for n in marks]
    if cluster[0] in _STRUCK:
        bare.append(_STRUCK[cluster[0]] + cluster[1:])
    return tuple(dict.fromkeys(one for one in bare if one != cluster))


def _case(units: Sequence[str], place: int, _language: str) -> list[Change]:
    if place == len(units) or not is_letter(units[place]):
        return []
    other = units[place].swapcase()
    return [] if other == units[place] else [(place, place + 1, other)]


def _width(units: Sequence[str], place: int, _language: str) -> list[Change]:
    other = _other_widths().get(units[place]) if place < len(units) else None
    return [(place, place + 1, other)] if other else []


@cache
def _other_widths() -> dict[str, str]:
    """Return full-width forms of half-width clusters, Latin and Katakana, and the other way round."""
    full = {chr(code): chr(code + _FULLWIDTH) for code in range(0x21, 0x7F)}
    kana = {chr(code): unicodedata.normalize("NFKC", chr(code)) for code in range(0xFF65, 0xFF9E)}
    voiced = {  # in half width a voiced syllable is a kana and a mark: ｶﾞ
        half + sign: unicodedata.normalize("NFC", wide + mark)
        for half, wide in kana.items()
        for sign, mark in (("\uff9e", "\u3099"), ("\uff9f", "\u309a"))
    }
    full |= kana | {half: wide for half, wide in voiced.items() if len(wide) == 1}
    return full | {wide: half for half, wide in full.items()}


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
