"""Cleaning a bitext as it streams by: pairs that pass every rule come out, the rest is counted.

Pairs are judged in batches, so that rules on characters run over arrays; memory does not grow with the source.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kivuko.bitext import pairs as reasons
from kivuko.bitext.characters import (
    BROKEN,
    SPACE,
    Characters,
    character_table,
    count_different,
    find_words,
    has_run,
    length_ratios,
    letter_counts,
    own_kinds,
    read_characters,
    script_shares,
    weighted_lengths,
)
from kivuko.bitext.duplicates import RATE, Duplicates
from kivuko.bitext.language_id import LanguageJudge, missing_library
from kivuko.bitext.pairs import Pair
from kivuko.bitext.rules import Rules, find_boilerplate, find_mojibake, scripts_of
from kivuko.bitext.verdict import Account, Gathering
from kivuko.text import clean_text

if TYPE_CHECKING:
    from kivuko.bitext.leak import LeakCheck
    from kivuko.bitext.pairs import PairSource


_COPIED_SHARE = 0.75  # of the words of both sides that must be the same for a copy with small changes
_COPIED_WORDS = 4  # that must be
_REPETITIVE_WORDS = 9  # of so many and more, a third must be different


@dataclass
class Judged:
    """A batch after judgment."""

    texts: list[str]  # cleaned, as ``english``
    english: list[str]
    codes: NDArray[np.uint8]  # [pairs], ``reasons.KEPT`` or the code of the reason against the pair
    copied: NDArray[np.bool_]  # [pairs], True where both sides have the same words
    counts: tuple[Characters, Characters]
    kinds: tuple[int, ...]  # classes of characters of the language's script

    @property
    def kept(self) -> list[int]:
        rows: list[int] = np.flatnonzero(self.codes == reasons.KEPT).tolist()
        return rows

    @property
    def dropped(self) -> list[tuple[int, str]]:
        """Return the rows that did not pass, with the reason."""
        rows = np.flatnonzero(self.codes)
        return [
            (row, reasons.ORDER[code - 1]) for row, code in zip(rows.tolist(), self.codes[rows].tolist(), strict=True)
        ]

    def gather(self, gathering: Gathering) -> None:
        rows = np.flatnonzero(self.codes == reasons.KEPT)
        sides = [counts.classes[rows] for counts in self.counts]
        ratios = length_ratios(weighted_lengths(sides[0]), weighted_lengths(sides[1]))
        gathering.add(
            lengths=np.stack([side.sum(axis=1) for side in sides]),
            words=np.stack([side[:, SPACE] + 1 for side in sides]),
            ratios=ratios,
            copied=self.copied[rows],
            letters=np.stack([sides[0][:, list(self.kinds)].sum(axis=1), letter_counts(sides[0])]),
        )


class PairJudge:
    """Judges batches in the order of the source, on which duplicates depend."""

    def __init__(self, language: str, rules: Rules, captions: LeakCheck | None = None) -> None:
        self._rules = rules
        self._captions = captions
        scripts = scripts_of(language, rules.scripts)
        self._kinds = own_kinds(scripts)
        self._english_kinds = own_kinds(("Latn",))[-1:]
        self._table = character_table(scripts)
        self._duplicates = Duplicates(rules.expected_pairs, rules.max_translations) if rules.duplicates else None
        self._language = None
        self.notes: list[str] = []
        if not scripts and rules.min_script_share:
            self.notes.append(f"the script of {language} is not known: its side's script was not judged")
            self._kinds = ()
        missing = missing_library() if rules.language_id == "auto" else None
        if rules.language_id == "off" or missing:
            self.notes.append(missing or "languages were not identified")
        else:
            self._language = LanguageJudge(language, full=rules.language_id == "full")
            if self._language.note:
                self.notes.append(self._language.note)

    @property
    def identified(self) -> int:
        return self._language.identified if self._language else 0

    @property
    def swapped(self) -> int:
        return self._language.swapped if self._language else 0

    def judge(self, texts: Sequence[str], english: Sequence[str], place: Callable[[int], str]) -> Judged:
        ours, theirs = [clean_text(text) for text in texts], [clean_text(text) for text in english]
        limit = self._rules.max_characters
        counted = ours, theirs
        if max(map(len, ours + theirs), default=0) > limit:
            counted = [text[: limit + 1] for text in ours], [text[: limit + 1] for text in theirs]
        counts = read_characters(counted[0], self._table), read_characters(counted[1], self._table)
        codes = np.zeros(len(ours), dtype=np.uint8)
        lower = [text.lower() for text in ours], [text.lower() for text in theirs]
        copied = np.zeros(len(ours), dtype=np.bool_)
        self._judge_sizes(codes, counts)
        self._judge_wording(codes, copied, (ours, theirs), lower, counts)
        # A copy that is to be kept is in English by design: neither script nor language speak against it.
        translated = ~copied
        self._judge_characters(codes, translated, counts)
        self._judge_company(codes, translated, lower, counts)
        if self._captions is not None:
            rows = np.flatnonzero(codes == reasons.KEPT).tolist()
            leaks = self._captions.look(
                [ours[row] for row in rows], [theirs[row] for row in rows], lambda index: place(rows[index])
            )
            for row, leak in zip(rows, leaks.tolist(), strict=True):
                if leak:
                    codes[row] = reasons.CODES[reasons.IN_CAPTIONS]
        return Judged(ours, theirs, codes, copied, counts, self._kinds)

    def finish(self) -> None:
        """Add a note if there were more pairs than memory was meant for."""
        if self._duplicates is None:
            return
        rate, pairs = self._duplicates.pairs.false_positive_rate(), self._duplicates.pairs.added
        if rate > 2 * RATE:
            self.notes.append(
                f"{pairs:,} different pairs are more than the {self._rules.expected_pairs:,} expected: by now about 1 "
                f"in {max(1, round(1 / rate)):,} new ones is taken for a duplicate; give --expected-pairs {2 * pairs:,}"
            )

    def _judge_sizes(self, codes: NDArray[np.uint8], counts: tuple[Characters, Characters]) -> None:
        lengths = [side.classes.sum(axis=1) for side in counts]
        _mark(codes, reasons.EMPTY_SIDE, np.minimum(*lengths) == 0)
        _mark(codes, reasons.TOO_LONG, np.maximum(*lengths) > self._rules.max_characters)
        _mark(codes, reasons.BROKEN_CHARACTERS, (counts[0].classes + counts[1].classes)[:, BROKEN] > 0)

    def _judge_wording(
        self,
        codes: NDArray[np.uint8],
        copied: NDArray[np.bool_],
        sides: tuple[list[str], list[str]],
        lower: tuple[list[str], list[str]],
        counts: tuple[Characters, Characters],
    ) -> None:
        for side, characters in zip(sides, counts, strict=True):
            broken = np.zeros(len(codes), dtype=np.bool_)
            broken[find_mojibake(side, characters)] = True
            _mark(codes, reasons.BROKEN_CHARACTERS, broken)
        words = find_words(counts[0]), find_words(counts[1])
        *different, shared = count_different(words)
        copied |= np.fromiter(map(str.__eq__, *lower), dtype=np.bool_, count=len(codes))
        copied |= (shared >= _COPIED_WORDS) & (shared >= _COPIED_SHARE * np.maximum(*different))
        if not self._rules.keep_copied:
            _mark(codes, reasons.UNTRANSLATED_COPY, copied)
        if not self._rules.boilerplate:
            return
        for row, reason in find_boilerplate(*sides, counts, words[1]):
            if codes[row] == reasons.KEPT:
                codes[row] = reasons.CODES[reason]
        letters = [letter_counts(side.classes) for side in counts]
        _mark(codes, reasons.NO_WORDS, np.minimum(*letters) == 0)
        repetitive = has_run(counts[0]) | has_run(counts[1])
        for side_words, variety in zip(words, different, strict=True):
            repetitive |= (side_words.numbers >= _REPETITIVE_WORDS) & (3 * variety < side_words.numbers)
        _mark(codes, reasons.REPETITION, repetitive)

    def _judge_characters(
        self,
        codes: NDArray[np.uint8],
        translated: NDArray[np.bool_],
        counts: tuple[Characters, Characters],
    ) -> None:
        rules = self._rules
        if rules.min_script_share > 0:
            wrong = script_shares(counts[1].classes, self._english_kinds) < rules.min_script_share
            if self._kinds:
                wrong |= script_shares(counts[0].classes, self._kinds) < rules.min_script_share
            _mark(codes, reasons.WRONG_SCRIPT, wrong & translated)
        if rules.max_length_ratio is not None:
            lengths = weighted_lengths(counts[0].classes), weighted_lengths(counts[1].classes)
            ratios = length_ratios(*lengths, rules.length_allowance)
            _mark(
                codes, reasons.LENGTH_RATIO, np.maximum(ratios, 1 / np.maximum(ratios, 1e-9)) > rules.max_length_ratio
            )

    def _judge_company(
        self,
        codes: NDArray[np.uint8],
        translated: NDArray[np.bool_],
        lower: tuple[list[str], list[str]],
        counts: tuple[Characters, Characters],
    ) -> None:
        if self._duplicates is not None:
            rows = np.flatnonzero(codes == reasons.KEPT)
            seen, often = self._duplicates.judge(*_picked(lower, rows))
            codes[rows[often]] = reasons.CODES[reasons.ONE_SIDE_TOO_OFTEN]
            codes[rows[seen]] = reasons.CODES[reasons.DUPLICATE]
        if self._language is not None:
            rows = np.flatnonzero((codes == reasons.KEPT) & translated)
            letters = np.stack([letter_counts(side.classes[rows]) for side in counts], axis=1)
            wrong = self._language.judge(*_picked(lower, rows), letters)
            codes[rows[wrong]] = reasons.CODES[reasons.WRONG_LANGUAGE]


def _mark(codes: NDArray[np.uint8], reason: str, where: NDArray[np.bool_]) -> None:
    codes[where & (codes == reasons.KEPT)] = reasons.CODES[reason]


def _picked(sides: tuple[list[str], list[str]], rows: NDArray[np.int64]) -> tuple[list[str], list[str]]:
    chosen = rows.tolist()
    return [sides[0][row] for row in chosen], [sides[1][row] for row in chosen]


BATCH = 4096  # pairs

# Called for each pair that is left out: reason, place, and the sides where there are any.
Rejected = Callable[[str, str, str | None, str | None], None]


class Sifting(Iterator[Pair]):
    """The pairs of a source that pass the rules, to be iterated once; ``account`` is final after the last."""

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
        """Yield batches of (numbers in the source, texts, English) that pass, instead of single pairs.

        A batch may be empty: one comes for every ``BATCH`` pairs read, so that progress can be shown.
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
        self.account.identified, self.account.swapped = self._judge.identified, self._judge.swapped
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
    """Return an iterator over the pairs of a source that pass the rules, cleaned, with the ``account`` of all."""
    return Sifting(source, rules, captions, rejected)
