"""The letters that writers of a language have at hand."""

from __future__ import annotations

import json
import unicodedata
from functools import cache, lru_cache
from importlib import resources
from typing import Any

from kivuko.edits.graphemes import script_of

_ROW = 64  # code points looked at for letters like one of a script without an alphabet in the data


def letters_for(grapheme: str, language: str) -> tuple[str, ...]:
    """Return lower-case letters that could stand beside ``grapheme`` in a text of a language.

    They are the language's own where it is written in the grapheme's script, otherwise that script's, otherwise the
    letters (for a digit, the digits) of that script with code points near the grapheme's: for a Chinese character
    those of like radical, for a Korean syllable those of like beginning.
    """
    return _letters(script_of(grapheme[0]), primary_code(language)) or _peers(grapheme[0])


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
    sort, script = unicodedata.category(character)[0], script_of(character)
    row = ord(character) // _ROW * _ROW
    near = (one for one in map(chr, range(row, row + _ROW)) if unicodedata.category(one)[0] == sort)
    return tuple(dict.fromkeys(one.lower() for one in near if script_of(one) == script and len(one.lower()) == 1))


@cache
def data_file(name: str) -> dict[str, Any]:
    """Read one of the package's data files."""
    found: dict[str, Any] = json.loads((resources.files("kivuko.edits") / "data" / name).read_text(encoding="utf-8"))
    return found
