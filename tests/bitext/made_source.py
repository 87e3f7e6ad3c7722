"""A source of pairs made up in memory, for the tests of cleaning."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from kivuko.bitext.cleaning import Sifting
from kivuko.bitext.pairs import Pair
from kivuko.bitext.rules import Rules
from kivuko.bitext.verdict import Account


class MadePair(NamedTuple):
    """As ``kivuko.bitext.pairs.RawPair``."""

    number: int
    text: str | None
    english: str | None
    reason: str | None = None


class MadeSource:
    """Pairs of (text, English) or (text, English, reason), counted from 1."""

    format = "made"
    size: int | None = None

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


def pairs_of(sifting: Sifting) -> list[Pair]:
    """Return the pairs that pass, with their places."""
    place, language = sifting.source.place, sifting.source.language
    return [
        Pair(language, text, english, place(number))
        for batch in sifting.batches()
        for number, text, english in zip(*batch, strict=True)
    ]


def account_of(source: MadeSource, rules: Rules, **options: Any) -> Account:
    """Return the account of cleaning a source."""
    sifting = Sifting(source, rules, **options)
    for _ in sifting.batches():
        pass
    return sifting.account
