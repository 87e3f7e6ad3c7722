"""A source of pairs made up in memory, for the tests of cleaning."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple


class MadePair(NamedTuple):
    """As ``kivuko.bitext.pairs.RawPair``."""

    number: int
    text: str | None
    english: str | None
    reason: str | None = None


class MadeSource:
    """Pairs of (text, English) or (text, English, reason), counted from 1."""

    format = "made"
    size = None

    def __init__(self, rows: Iterable[tuple[str | None, ...]], language: str = "sw", name: str = "made.tsv") -> None:
        self._rows = rows
        self.language = language
        self.name = name

    def __iter__(self) -> Iterator[MadePair]:
        for number, row in enumerate(self._rows, start=1):
            yield MadePair(number, *row)

    def place(self, number: int) -> str:
        return f"{self.name}:{number}"

    def bytes_read(self) -> int:
        return 0
