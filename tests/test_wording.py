"""A number and its noun agree."""

from __future__ import annotations

import pytest

from kivuko.text import pluralize


@pytest.mark.parametrize(
    ("number", "words", "told"),
    [
        (0, ("pair",), "0 pairs"),
        (1, ("pair",), "1 pair"),
        (2000, ("pair",), "2,000 pairs"),
        (1, ("query", "queries"), "1 query"),
        (2, ("query", "queries"), "2 queries"),
    ],
)
def test_counted(number: int, words: tuple[str, ...], told: str) -> None:
    assert pluralize(number, *words) == told
