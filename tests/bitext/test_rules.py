"""The rules that a pair must pass."""

from __future__ import annotations

from typing import Any

import pytest
from made_source import MadeSource, account_of

from kivuko.bitext.rules import _LINES, _PHRASES, Rules, scripts_of
from kivuko.errors import UsageError


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_characters": 0}, {"max_length_ratio": 0.5}, {"max_length_ratio": float("nan")}, {"length_allowance": -1},
        {"min_script_share": 1.5}, {"min_script_share": float("nan")}, {"max_translations": 0},
        {"max_translations": 251}, {"expected_pairs": 10}, {"language_id": "perhaps"}, {"scripts": ("Klingon",)},
        {"scripts": ("}",)},
    ],
)  # fmt: skip
def test_out_of_range_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"=.*: choose|: give"):
        Rules(**wrong)


def test_scripts_of_languages() -> None:
    assert scripts_of("sw") == ("Latn", "Arab")
    assert scripts_of("mr") == ("Deva", "Modi")
    assert scripts_of("ja") == ("Jpan", "Hira")
    assert scripts_of("sr") == ("Cyrl", "Latn")
    assert scripts_of("sr-Latn") == ("Latn",)
    assert scripts_of("zh-Hant") == ("Hant",)
    assert scripts_of("sw", ["Arab"]) == ("Arab",)


RULES = Rules(language_id="off", min_script_share=0, max_length_ratio=None, expected_pairs=1000)


def furniture(english: list[str]) -> list[bool]:
    found: set[str] = set()
    rows = [(f"neno {number}", line) for number, line in enumerate(english)]
    rejected = account_of(MadeSource(rows), RULES, rejected=lambda reason, place, *_: found.add(f"{reason} {place}"))
    assert set(rejected.dropped) <= {"boilerplate: web furniture"}
    return [f"boilerplate: web furniture made.tsv:{number}" in found for number in range(1, len(rows) + 1)]


def test_every_phrase_and_every_line_is_found() -> None:
    within = [f"This is a longer sentence with Some Words And {phrase.title()} in it" for phrase in _PHRASES]
    assert all(furniture(within))
    assert all(furniture([line.capitalize() + " »" for line in sorted(_LINES)]))


@pytest.mark.parametrize("line", ["home", "Search", "next", "print", "He reserved a table", "She clicked her tongue"])
def test_words_of_a_dictionary_are_none(line: str) -> None:
    assert furniture([line]) == [False]
