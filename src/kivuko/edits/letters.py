"""The letters that writers of a language have at hand."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any

from kivuko.edits.graphemes import script_of


def letters_for(grapheme: str, language: str) -> tuple[str, ...]:
    """Return lower-case letters that could stand beside ``grapheme`` in a text of a language.

    They are the language's own where it is written in the grapheme's script, otherwise that script's; an empty tuple
    where nothing is known of the script.
    """
    return _letters(script_of(grapheme[0]), language.replace("_", "-").split("-")[0])


@cache
def _letters(script: str, language: str) -> tuple[str, ...]:
    data = data_file("letters.json")
    base = str(data["scripts"].get(script, ""))
    own = data["languages"].get(language)
    if own is not None and own["script"] == script:
        base = own["all"] if "all" in own else base + own["more"]
    return tuple(dict.fromkeys(base))


@cache
def data_file(name: str) -> dict[str, Any]:
    """Read one of the package's data files."""
    found: dict[str, Any] = json.loads((resources.files("kivuko.edits") / "data" / name).read_text(encoding="utf-8"))
    return found
