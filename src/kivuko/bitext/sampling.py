"""Smaller bitexts from larger ones: the same choice on every machine, larger samples holding smaller ones.

Each group of pairs (by default all translations of one English sentence) gets a number from 0 to 1 out of a
hash of the seed and the group itself. What is taken therefore does not depend on the order of the file, on
Python's hash randomisation, or on the other languages present.

A sample holds pairs only; the account of dropped lines stays with the bitext that was read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Literal

from kivuko.bitext.bitext import Bitext
from kivuko.bitext.pair import Pair
from kivuko.errors import UsageError

GroupBy = Literal["english", "pair"]

_BITS = 53  # of the hash, so that the quotient is an exact float below 1


def take_fraction(bitext: Bitext, fraction: float, seed: int, *, group_by: GroupBy = "english") -> Bitext:
    """Take a share of each language.

    Grouped by English sentence, a sentence taken in one language is taken in every language that has it; so
    the size is ``fraction`` of the pairs on average, not exactly. No language is left empty: at least its
    first group in the order of the hash is taken. The 20 % sample of a seed lies within its 50 % sample.
    Order is kept.

    Args:
        bitext: any number of languages.
        fraction: over 0, at most 1.
        seed: any integer; chooses the sample.
        group_by: ``english`` takes all translations of a sentence or none, ``pair`` judges each pair alone.

    Raises:
        UsageError: ``fraction`` is out of range.
    """
    if not 0 < fraction <= 1:
        raise UsageError(f"fraction {fraction}: give a number over 0 and at most 1")
    rank = _rank("take", seed, group_by)
    numbers = [rank(pair) for pair in bitext.pairs]
    lowest: dict[str, float] = {}
    for pair, number in zip(bitext.pairs, numbers, strict=True):
        lowest[pair.language] = min(number, lowest.get(pair.language, 1.0))
    return _selected(
        bitext.pairs,
        [
            number < fraction or number == lowest[pair.language]
            for pair, number in zip(bitext.pairs, numbers, strict=True)
        ],
    )


def take_pairs(bitext: Bitext, n_per_language: int, seed: int, *, group_by: GroupBy = "english") -> Bitext:
    """Take exactly ``n_per_language`` pairs of each language.

    Groups are taken whole in the order of their hash, except that the last one may be cut to meet the number.
    Languages with the same English sentences get the same ones. A smaller sample of a seed lies within a
    larger one. Order is kept.

    Args:
        bitext: any number of languages.
        n_per_language: at least 1.
        seed: any integer; chooses the sample.
        group_by: as in ``take_fraction``.

    Raises:
        UsageError: ``n_per_language`` is below 1, or more than a language has.
    """
    if n_per_language < 1:
        raise UsageError(f"{n_per_language} pairs per language: give at least 1")
    rank = _rank("take", seed, group_by)
    by_language: dict[str, list[int]] = {}
    for index, pair in enumerate(bitext.pairs):
        by_language.setdefault(pair.language, []).append(index)
    chosen = [False] * len(bitext)
    for language, indices in by_language.items():
        if len(indices) < n_per_language:
            raise UsageError(
                f"{n_per_language:,} pairs per language asked for, but {language} has {len(indices):,}; "
                f"ask for fewer or give more bitext"
            )
        for index in sorted(indices, key=lambda i: (rank(bitext.pairs[i]), i))[:n_per_language]:
            chosen[index] = True
    return _selected(bitext.pairs, chosen)


def hold_out(bitext: Bitext, fraction: float, seed: int) -> tuple[Bitext, Bitext]:
    """Split into (train, validation) so that no English sentence is on both sides, in whatever language.

    Case does not make two English sentences different. Validation gets ``fraction`` of the sentences on
    average, and neither side is ever empty. The choice has nothing to do with that of ``take_fraction`` for
    the same seed. Order is kept.

    Args:
        bitext: at least two different English sentences.
        fraction: share for validation, over 0 and below 1.
        seed: any integer; chooses the split.

    Raises:
        UsageError: ``fraction`` is out of range, or there are not two English sentences.
    """
    if not 0 < fraction < 1:
        raise UsageError(f"fraction {fraction}: give a number over 0 and below 1")
    rank = _rank("hold out", seed, "english")
    numbers = [rank(pair) for pair in bitext.pairs]
    if len(set(numbers)) < 2:
        raise UsageError("holding out needs at least two different English sentences; give more bitext")
    lowest, highest = min(numbers), max(numbers)
    held = [n == lowest or (n < fraction and n != highest) for n in numbers]
    return _selected(bitext.pairs, [not one for one in held]), _selected(bitext.pairs, held)


def _rank(purpose: str, seed: int, group_by: GroupBy) -> Callable[[Pair], float]:
    """A function from a pair to the number of its group, in [0, 1), the same in every process."""
    if group_by not in ("english", "pair"):
        raise UsageError(f"group_by {group_by!r}: give 'english' or 'pair'")

    def rank(pair: Pair) -> float:
        group = pair.english.casefold() if group_by == "english" else _joined(pair)
        hashed = f"{purpose}\0{seed}\0{group}".encode(errors="surrogatepass")
        number = int.from_bytes(hashlib.blake2b(hashed, digest_size=8).digest(), "big")
        return (number >> (64 - _BITS)) / (1 << _BITS)

    return rank


def _joined(pair: Pair) -> str:
    return f"{pair.language}\0{pair.text}\0{pair.english}"


def _selected(pairs: Iterable[Pair], chosen: Iterable[bool]) -> Bitext:
    return Bitext(tuple(pair for pair, taken in zip(pairs, chosen, strict=True) if taken))
