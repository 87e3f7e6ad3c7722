"""Cleaning a bitext as it streams by: pairs that pass every rule come out, the rest is counted.

Pairs are judged in batches, so that what concerns single characters runs over arrays. Memory does not grow with the
source: duplicates are remembered in structures of fixed size, figures in histograms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

from kivuko.bitext.pair import Pair
from kivuko.bitext.pair_judge import PairJudge
from kivuko.bitext.rules import Rules
from kivuko.bitext.sifting_account import Account
from kivuko.bitext.statistics import Gathering

if TYPE_CHECKING:
    from kivuko.bitext.leak import LeakCheck
    from kivuko.bitext.source import PairSource

BATCH = 4096  # pairs

# What is told of each pair that is left out: reason, place, and the sides as far as there are any.
Rejected = Callable[[str, str, str | None, str | None], None]


class Sifting(Iterator[Pair]):
    """The pairs of a source that pass the rules, to be iterated once.

    Attributes:
        account: up to date with every batch of 4,096; final once the iteration has ended.
    """

    def __init__(
        self, source: PairSource, rules: Rules, captions: LeakCheck | None = None, rejected: Rejected | None = None
    ) -> None:
        self._source = source
        self._judge = PairJudge(source.language, rules, captions)
        self.account = Account(source.name, source.language, Gathering(rules.max_characters), notes=self._judge.notes)
        self._rejected = rejected
        self._pairs = self._iterate()

    def __next__(self) -> Pair:
        return next(self._pairs)

    def batches(self) -> Iterator[tuple[list[int], list[str], list[str]]]:
        """Yield what passes in batches: numbers in the source, texts, English; instead of single pairs.

        A batch may be empty: it comes as often as ``BATCH`` more were read, so that progress can be shown.
        """
        account, place = self.account, self._source.place
        stream = iter(self._source)
        while batch := list(islice(stream, BATCH)):
            account.seen += len(batch)
            numbers, texts, english = [], [], []
            for raw in batch:
                if raw.reason is None:
                    numbers.append(raw.number)
                    texts.append(raw.text or "")
                    english.append(raw.english or "")
                else:
                    self._drop(raw.reason, place(raw.number), raw.text, raw.english)
            if numbers:
                kept = self._sift(numbers, texts, english)
                account.kept += len(kept[0])
                yield kept
        self._judge.finish()

    def drain(self) -> Account:
        """Judge everything there is, keep nothing, and return the account."""
        for _ in self.batches():
            pass
        return self.account

    def _iterate(self) -> Iterator[Pair]:
        language, place = self._source.language, self._source.place
        for numbers, texts, english in self.batches():
            for number, text, translation in zip(numbers, texts, english, strict=True):
                yield Pair(language, text, translation, place(number))

    def _sift(self, numbers: list[int], texts: list[str], english: list[str]) -> tuple[list[int], list[str], list[str]]:
        place = self._source.place
        judged = self._judge.judge(texts, english, lambda row: place(numbers[row]))
        for row, reason in judged.dropped:
            self._drop(reason, place(numbers[row]), judged.texts[row], judged.english[row])
        judged.gather(self.account.gathering)
        self.account.asked, self.account.swapped = self._judge.asked, self._judge.swapped
        rows = judged.kept
        return (
            [numbers[row] for row in rows],
            [judged.texts[row] for row in rows],
            [judged.english[row] for row in rows],
        )

    def _drop(self, reason: str, place: str, text: str | None, english: str | None) -> None:
        self.account.drop(reason, place, text, english)
        if self._rejected is not None:
            self._rejected(reason, place, text, english)


def sift(
    source: PairSource, rules: Rules, *, captions: LeakCheck | None = None, rejected: Rejected | None = None
) -> Sifting:
    """Clean a source while it is read.

    Args:
        source: read once, from its start.
        rules: what a pair must be like.
        captions: evaluation captions; pairs in which one is found are left out.
        rejected: is told of each pair that is left out: reason, place, text and English.

    Returns:
        An iterator over the pairs that pass, each side cleaned (``clean_text``) and ``origin`` its place, with the
        ``account`` of all.

    Raises:
        MissingDependencyError: languages are to be identified and the library for it is not installed.
        DataError: while iterating, as the source raises it.
    """
    return Sifting(source, rules, captions, rejected)
