"""Misspellings: a letter too many, too few, wrong, or two in the wrong order; slips of the finger and of the eye."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cache, lru_cache

from kivuko.edits.graphemes import graphemes, is_letter, script_of, stay_apart
from kivuko.edits.letters import data_file, letters_for, primary_code
from kivuko.edits.place_kind import Change, PlaceKind

_REACH = 1.3  # widths of a key between the middles of keys that touch


def _insert(units: Sequence[str], place: int, language: str) -> list[Change]:
    beside = next((one for one in (*units[place - 1 : place], *units[place : place + 1]) if is_letter(one)), None)
    return [] if beside is None else [(place, place, letter) for letter in letters_for(beside, language)]


def _delete(units: Sequence[str], place: int, _language: str) -> list[Change]:
    if place == len(units) or not is_letter(units[place]) or _alone(units, place):
        return []
    return [(place, place + 1, "")]


def _swap(units: Sequence[str], place: int, _language: str) -> list[Change]:
    if place + 1 >= len(units) or units[place] == units[place + 1]:
        return []
    if not (is_letter(units[place]) and is_letter(units[place + 1])):
        return []
    if not stay_apart(units[place + 1], units[place], ""):  # the two would be one conjunct
        return []
    return [(place, place + 2, units[place + 1] + units[place])]


def _substitute(units: Sequence[str], place: int, language: str) -> list[Change]:
    if place == len(units) or not is_letter(units[place]):
        return []
    old = units[place].lower()
    return [(place, place + 1, letter) for letter in letters_for(units[place], language) if letter != old]


def _keyboard(units: Sequence[str], place: int, language: str) -> list[Change]:
    if place == len(units) or not is_letter(units[place]):
        return []
    return [(place, place + 1, slip) for slip in _slips(units[place], primary_code(language))]


def _confusable(units: Sequence[str], place: int, _language: str) -> list[Change]:
    if place == len(units) or not is_letter(units[place]):
        return []
    return [(place, place + 1, alike + units[place][1:]) for alike in _lookalikes(units[place][0])]


def _alone(units: Sequence[str], place: int) -> bool:
    """Tell whether nothing but spaces would be left without the cluster at ``place``."""
    return not any(one.strip() for n, one in enumerate(units) if n != place)


@lru_cache(maxsize=65_536)
def _slips(cluster: str, language: str) -> tuple[str, ...]:
    """Return a cluster with one letter or vowel sign of it struck on a neighbouring key; each is one cluster again."""
    keys = _neighbours(_layout(script_of(cluster[0]), language))
    found = []
    for place, struck in enumerate(cluster):
        upper = struck != struck.lower()
        for key in keys.get(struck.lower(), ()):
            slip = cluster[:place] + (key.upper() if upper else key) + cluster[place + 1 :]
            if len(graphemes(slip)) == 1:  # ß in capitals is two; a vowel sign for a virama takes a conjunct apart
                found.append(slip)
    return tuple(found)


@cache
def _layout(script: str, language: str) -> str:
    data = data_file("keyboards.json")
    usual = str(data["scripts"].get(script, ""))
    own = str(data["languages"].get(language, usual))
    # A Latin word in a Russian text is typed on Latin keys, and a language's own layout may be of another script.
    fits = any(script_of(key) == script for row in data["layouts"].get(own, {"rows": []})["rows"] for key in row)
    return own if fits else usual


@cache
def _neighbours(layout: str) -> dict[str, tuple[str, ...]]:
    """Return, for a layout of ``data/keyboards.json``, the letters on the keys that touch each letter's key.

    Vowel signs and other marks have keys of their own; theirs are the marks beside them. A space in the data is a key
    that types no single character.
    """
    told = data_file("keyboards.json")["layouts"].get(layout)
    if told is None:
        return {}
    offsets = data_file("keyboards.json")["offsets"]  # of the rows' first keys, in widths of a key
    found: dict[str, tuple[str, ...]] = {}
    for rows in (told["rows"], told.get("shift", [])):
        keys = [(key, column + offsets[row], row) for row, line in enumerate(rows) for column, key in enumerate(line)]
        for key, x, y in keys:
            near = (one for one, x2, y2 in keys if one != key and (x - x2) ** 2 + (y - y2) ** 2 < _REACH**2)
            found[key] = tuple(one for one in near if unicodedata.category(one)[0] == unicodedata.category(key)[0])
    return {key: near for key, near in found.items() if unicodedata.category(key)[0] in "LM"}


@lru_cache(maxsize=4096)
def _lookalikes(character: str) -> tuple[str, ...]:
    """Return letters that look like ``character`` (Unicode's confusables) and are no mere styled form of it."""
    from confusable_homoglyphs import confusables

    told = confusables.is_confusable(character, greedy=True) or [{"homoglyphs": []}]
    return tuple(
        one["c"]
        for one in told[0]["homoglyphs"]
        if len(one["c"]) == 1
        and unicodedata.category(one["c"])[0] == "L"
        and unicodedata.normalize("NFKC", one["c"]) != unicodedata.normalize("NFKC", character)
        and not one["n"].startswith("MATHEMATICAL")
    )


CHARACTER_KINDS = (
    PlaceKind("insert", "a letter too many", _insert),
    PlaceKind("delete", "a letter missing", _delete),
    PlaceKind("swap", "two neighbouring letters in the wrong order", _swap),
    PlaceKind("substitute", "a wrong letter", _substitute),
    PlaceKind("keyboard", "the letter of a neighbouring key on the language's keyboard", _keyboard),
    PlaceKind("confusable", "a letter of another script that looks the same", _confusable),
)
