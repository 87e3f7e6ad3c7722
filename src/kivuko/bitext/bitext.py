"""Parallel text in one or more languages, and what was left out when it was read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from kivuko.bitext.pair import Pair


@dataclass(frozen=True)
class Bitext:
    """Pairs of sentences, and the account of the lines that gave none.

    Attributes:
        pairs: the pairs, in the order read.
        dropped: reason -> number of lines left out for it.
        first_dropped: reason -> the first such line, as ``path:line``.
    """

    pairs: tuple[Pair, ...]
    dropped: Counter[str] = field(default_factory=Counter)
    first_dropped: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.pairs)

    def __iter__(self) -> Iterator[Pair]:
        return iter(self.pairs)

    def __add__(self, other: Bitext) -> Bitext:
        if not isinstance(other, Bitext):
            return NotImplemented
        return concatenate([self, other])

    def languages(self) -> tuple[str, ...]:
        """The languages present, in order of first appearance."""
        return tuple(dict.fromkeys(pair.language for pair in self.pairs))

    def by_language(self) -> dict[str, tuple[Pair, ...]]:
        """The pairs of each language, in the order of ``languages()``; order within a language is kept."""
        groups: dict[str, list[Pair]] = {}
        for pair in self.pairs:
            groups.setdefault(pair.language, []).append(pair)
        return {language: tuple(pairs) for language, pairs in groups.items()}

    def copied(self) -> Counter[str]:
        """Per language, how many pairs have the same text on both sides: untranslated names, copies.

        A query that equals its English translation proves nothing about crossing languages; count it apart.
        """
        return Counter(pair.language for pair in self.pairs if pair.text == pair.english)


def concatenate(bitexts: Iterable[Bitext]) -> Bitext:
    """Join bitexts in order; dropped lines add up, and the earliest first line of each reason is kept.

    Pairs that two of them share stay twice.
    """
    pairs: list[Pair] = []
    dropped: Counter[str] = Counter()
    first_dropped: dict[str, str] = {}
    for bitext in bitexts:
        pairs.extend(bitext.pairs)
        dropped.update(bitext.dropped)
        first_dropped = bitext.first_dropped | first_dropped
    return Bitext(tuple(pairs), dropped, first_dropped)
