"""Edits of whole words: run together, torn apart, left out, in another order, or said in another language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kivuko.edits.graphemes import graphemes, is_letter
from kivuko.edits.place_kind import Change, PlaceKind


def _join(units: Sequence[str], place: int, _language: str) -> list[Change]:
    if not 0 < place < len(units) or not units[place].isspace() or units[place - 1].isspace():
        return []
    end = next((n for n in range(place, len(units)) if not units[n].isspace()), None)
    return [] if end is None else [(place, end, "")]


def _split(units: Sequence[str], place: int, _language: str) -> list[Change]:
    inside = 0 < place < len(units) and is_letter(units[place - 1]) and is_letter(units[place])
    return [(place, place, " ")] if inside else []


def _drop_word(units: Sequence[str], place: int, _language: str) -> list[Change]:
    end = _end_of_word(units, place)
    if end is None or not any(is_letter(one) for one in (*units[:place], *units[end:])):
        return []
    after = end
    while after < len(units) and units[after].isspace():
        after += 1
    if after < len(units) or not place:
        return [(place, after, "")]
    while place and units[place - 1].isspace():  # the last word goes with the space before it
        place -= 1
    return [(place, after, "")]


def _swap_words(units: Sequence[str], place: int, _language: str) -> list[Change]:
    end = _end_of_word(units, place)
    if end is None:
        return []
    start = end
    while start < len(units) and units[start].isspace():
        start += 1
    last = _end_of_word(units, start)
    if last is None or units[place:end] == units[start:last]:
        return []
    swapped = [*units[start:last], *units[end:start], *units[place:end]]
    new = "".join(swapped)
    return [(place, last, new)] if graphemes(new) == swapped else []


def _end_of_word(units: Sequence[str], place: int) -> int | None:
    """Return where the word that begins at ``place`` ends; None if none begins there. Words stand between spaces."""
    if place >= len(units) or units[place].isspace() or (place and not units[place - 1].isspace()):
        return None
    return next((n for n in range(place, len(units)) if units[n].isspace()), len(units))


def code_switch(tables: Mapping[str, Mapping[str, str]]) -> PlaceKind:
    """Return the kind of edit that says a word in another language; punctuation around it stays.

    Args:
        tables: language code -> word, case folded -> what is said instead; see ``kivuko.bitext.word_table``.
    """

    def options(units: Sequence[str], place: int, language: str) -> list[Change]:
        end = _end_of_word(units, place)
        letters = [n for n in range(place, end or 0) if is_letter(units[n])]
        if not letters:
            return []
        first, last = letters[0], letters[-1] + 1
        word = "".join(units[first:last]).casefold()
        other = tables.get(language, {}).get(word, "")
        return [(first, last, other)] if other.strip() and other.casefold() != word else []

    return PlaceKind("code-switch", "a word said in English, by the bitext", options)


WORD_KINDS = (
    PlaceKind("join", "two words run together", _join),
    PlaceKind("split", "a word torn apart", _split),
    PlaceKind("drop-word", "a word left out", _drop_word),
    PlaceKind("swap-words", "two neighbouring words in the other order", _swap_words),
)
