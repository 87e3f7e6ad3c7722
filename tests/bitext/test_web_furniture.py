"""Furniture of pages is found wherever it stands; words of a dictionary are not taken for it."""

from __future__ import annotations

import pytest
from made_source import MadeSource

from kivuko.bitext.cleaning import sift
from kivuko.bitext.rules import _LINES, _PHRASES, Rules

RULES = Rules(language_id="off", min_script_share=0, max_length_ratio=None, expected_pairs=1000)


def furniture(english: list[str]) -> list[bool]:
    found: set[str] = set()
    rows = [(f"neno {number}", line) for number, line in enumerate(english)]
    rejected = sift(MadeSource(rows), RULES, rejected=lambda reason, place, *_: found.add(f"{reason} {place}")).drain()
    assert set(rejected.dropped) <= {"boilerplate: web furniture"}
    return [f"boilerplate: web furniture made.tsv:{number}" in found for number in range(1, len(rows) + 1)]


def test_every_phrase_and_every_line_is_found() -> None:
    within = [f"This is a longer sentence with Some Words And {phrase.title()} in it" for phrase in _PHRASES]
    assert all(furniture(within))
    assert all(furniture([line.capitalize() + " »" for line in sorted(_LINES)]))


@pytest.mark.parametrize("line", ["home", "Search", "next", "print", "He reserved a table", "She clicked her tongue"])
def test_words_of_a_dictionary_are_none(line: str) -> None:
    assert furniture([line]) == [False]
