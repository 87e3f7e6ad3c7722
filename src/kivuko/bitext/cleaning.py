"""Cleaning a bitext as it streams by: pairs that pass every rule come out, the rest is counted.

Pairs are judged in batches, so that rules on characters run over arrays; memory does not grow with the source.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

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
from kivuko.bitext.leak import LeakCheck
from kivuko.bitext.pairs import PairSource, RawPair
from kivuko.bitext.rules import Rules, find_boilerplate, find_mojibake, scripts_of
from kivuko.bitext.verdict import Account, Gathering
from kivuko.errors import check_number
from kivuko.text import clean_text

BATCH = 4096  # pairs

_COPIED_SHARE = 0.75  # of the words of both sides that must be the same for a copy with small changes
_COPIED_WORDS = 4  # that must be
_REPETITIVE_WORDS = 9  # of so many and more, a third must be different

# Called for each pair that is left out: reason, place, and the sides where there are any.
Rejected = Callable[[str, str, str | None, str | None], None]


@dataclass
class _Batch:
    """Pairs under judgment, with both sides of each as (language, English)."""

    sides: tuple[list[str], list[str]]  # cleaned
    lower: tuple[list[str], list[str]]
    counts: tuple[Characters, Characters]
    codes: NDArray[np.uint8]  # [pairs], ``reasons.KEPT`` or the code of the reason against the pair
    copied: NDArray[np.bool_]  # [pairs], True where both sides have the same words

    def rows(self) -> NDArray[np.int64]:
        """Return the rows that nothing speaks against so far."""
        return np.flatnonzero(self.codes == reasons.KEPT)

    def mark(self, reason: str, where: NDArray[np.bool_]) -> None:
        self.codes[where & (self.codes == reasons.KEPT)] = reasons.CODES[reason]


class Sifting:
    """Lets the pairs of a source pass that keep to the rules; ``account`` is up to date after every batch.

    ``first`` is the number of pairs to read; None: all. Duplicates depend on the order of the source.
    """

    def __init__(
        self,
        source: PairSource,
        rules: Rules,
        captions: LeakCheck | None = None,
        rejected: Rejected | None = None,
        first: int | None = None,
    ) -> None:
        check_number("first", first, least=1, whole=True, optional=True)
        if first is not None:
            source.size = None  # how many bytes these pairs take is not known
        self.source, self.captions = source, captions
        self._rules, self._rejected, self._first = rules, rejected, first
        language = source.language
        scripts = scripts_of(language, rules.scripts)
        self._kinds = own_kinds(scripts)
        self._english_kinds = own_kinds(("Latn",))[-1:]
        self._table = character_table(scripts)
        self._duplicates = Duplicates(rules.expected_pairs, rules.max_translations) if rules.duplicates else None
        self._language = None
        self.account = Account(source.name, language, Gathering(rules.max_characters))
        notes = self.account.notes
        if not scripts and rules.min_script_share:
            notes.append(f"the script of {language} is not known: its side's script was not judged")
            self._kinds = ()
        missing = missing_library() if rules.language_id == "auto" else None
        if rules.language_id == "off" or missing:
            notes.append(missing or "languages were not identified")
        else:
            self._language = LanguageJudge(language, full=rules.language_id == "full")
            if self._language.note:
                notes.append(self._language.note)

    def batches(self) -> Iterator[tuple[list[int], list[str], list[str]]]:
        """Yield batches of (numbers in the source, texts, English) that pass.

        A batch may be empty: one comes for every ``BATCH`` pairs read, so that progress can be shown.
        """
        stream = islice(self.source, self._first)
        while batch := list(islice(stream, BATCH)):
            self.account.seen += len(batch)
            pairs = [raw for raw in batch if raw.reason is None]
            for raw in batch:
                if raw.reason is not None:
                    self._drop(raw.reason, self.source.place(raw.number), raw.text, raw.english)
            if pairs:
                kept = self._sift(pairs)
                self.account.kept += len(kept[0])
                yield kept
        self._note_many_pairs()

    def _sift(self, pairs: Sequence[RawPair]) -> tuple[list[int], list[str], list[str]]:
        numbers = [raw.number for raw in pairs]
        batch = self._judge([raw.text or "" for raw in pairs], [raw.english or "" for raw in pairs], numbers)
        for row in np.flatnonzero(batch.codes).tolist():
            reason = reasons.ORDER[int(batch.codes[row]) - 1]
            self._drop(reason, self.source.place(numbers[row]), batch.sides[0][row], batch.sides[1][row])
        rows = batch.rows()
        self._gather(batch, rows)
        return [numbers[row] for row in rows.tolist()], *_picked(batch.sides, rows)

    def _drop(self, reason: str, place: str, text: str | None, english: str | None) -> None:
        self.account.drop(reason, place, text, english)
        if self._rejected is not None:
            self._rejected(reason, place, text, english)

    def _gather(self, batch: _Batch, rows: NDArray[np.int64]) -> None:
        sides = [counts.classes[rows] for counts in batch.counts]
        self.account.gathering.add(
            lengths=np.stack([side.sum(axis=1) for side in sides]),
            words=np.stack([side[:, SPACE] + 1 for side in sides]),
            ratios=length_ratios(weighted_lengths(sides[0]), weighted_lengths(sides[1])),
            copied=batch.copied[rows],
            letters=np.stack([sides[0][:, list(self._kinds)].sum(axis=1), letter_counts(sides[0])]),
        )
        if self._language is not None:
            self.account.identified, self.account.swapped = self._language.identified, self._language.swapped

    def _judge(self, texts: Sequence[str], english: Sequence[str], numbers: Sequence[int]) -> _Batch:
        sides = counted = [clean_text(text) for text in texts], [clean_text(text) for text in english]
        limit = self._rules.max_characters
        if max(map(len, sides[0] + sides[1]), default=0) > limit:
            counted = [text[: limit + 1] for text in sides[0]], [text[: limit + 1] for text in sides[1]]
        batch = _Batch(
            sides,
            lower=([text.lower() for text in sides[0]], [text.lower() for text in sides[1]]),
            counts=(read_characters(counted[0], self._table), read_characters(counted[1], self._table)),
            codes=np.zeros(len(numbers), dtype=np.uint8),
            copied=np.zeros(len(numbers), dtype=np.bool_),
        )
        self._judge_sizes(batch)
        self._judge_wording(batch)
        self._judge_characters(batch)
        self._judge_duplicates(batch)
        self._judge_language(batch)
        if self.captions is not None:
            rows = batch.rows()
            leaks = self.captions.look(
                *_picked(sides, rows), lambda index: self.source.place(numbers[int(rows[index])])
            )
            batch.codes[rows[leaks]] = reasons.CODES[reasons.IN_CAPTIONS]
        return batch

    def _judge_sizes(self, batch: _Batch) -> None:
        counts = batch.counts
        lengths = [side.classes.sum(axis=1) for side in counts]
        batch.mark(reasons.EMPTY_SIDE, np.minimum(*lengths) == 0)
        batch.mark(reasons.TOO_LONG, np.maximum(*lengths) > self._rules.max_characters)
        batch.mark(reasons.BROKEN_CHARACTERS, (counts[0].classes + counts[1].classes)[:, BROKEN] > 0)

    def _judge_wording(self, batch: _Batch) -> None:
        counts, codes, copied = batch.counts, batch.codes, batch.copied
        for side, characters in zip(batch.sides, counts, strict=True):
            broken = np.zeros(len(codes), dtype=np.bool_)
            broken[find_mojibake(side, characters)] = True
            batch.mark(reasons.BROKEN_CHARACTERS, broken)
        words = find_words(counts[0]), find_words(counts[1])
        *different, shared = count_different(words)
        copied |= np.fromiter(map(str.__eq__, *batch.lower), dtype=np.bool_, count=len(codes))
        copied |= (shared >= _COPIED_WORDS) & (shared >= _COPIED_SHARE * np.maximum(*different))
        if not self._rules.keep_copied:
            batch.mark(reasons.UNTRANSLATED_COPY, copied)
        if not self._rules.boilerplate:
            return
        for row, reason in find_boilerplate(*batch.sides, counts, words[1]):
            if codes[row] == reasons.KEPT:
                codes[row] = reasons.CODES[reason]
        letters = [letter_counts(side.classes) for side in counts]
        batch.mark(reasons.NO_WORDS, np.minimum(*letters) == 0)
        repetitive = has_run(counts[0]) | has_run(counts[1])
        for side_words, variety in zip(words, different, strict=True):
            repetitive |= (side_words.numbers >= _REPETITIVE_WORDS) & (3 * variety < side_words.numbers)
        batch.mark(reasons.REPETITION, repetitive)

    def _judge_characters(self, batch: _Batch) -> None:
        rules, (ours, theirs) = self._rules, (side.classes for side in batch.counts)
        if rules.min_script_share > 0:
            wrong = script_shares(theirs, self._english_kinds) < rules.min_script_share
            if self._kinds:
                wrong |= script_shares(ours, self._kinds) < rules.min_script_share
            # A copy that is to be kept is in English by design: neither script nor language speak against it.
            batch.mark(reasons.WRONG_SCRIPT, wrong & ~batch.copied)
        if rules.max_length_ratio is not None:
            ratios = length_ratios(weighted_lengths(ours), weighted_lengths(theirs), rules.length_allowance)
            larger = np.maximum(ratios, 1 / np.maximum(ratios, 1e-9))
            batch.mark(reasons.LENGTH_RATIO, larger > rules.max_length_ratio)

    def _judge_duplicates(self, batch: _Batch) -> None:
        if self._duplicates is not None:
            rows = batch.rows()
            seen, often = self._duplicates.judge(*_picked(batch.lower, rows))
            batch.codes[rows[often]] = reasons.CODES[reasons.ONE_SIDE_TOO_OFTEN]
            batch.codes[rows[seen]] = reasons.CODES[reasons.DUPLICATE]

    def _judge_language(self, batch: _Batch) -> None:
        if self._language is not None:
            rows = np.flatnonzero((batch.codes == reasons.KEPT) & ~batch.copied)
            letters = np.stack([letter_counts(side.classes[rows]) for side in batch.counts], axis=1)
            wrong = self._language.judge(*_picked(batch.lower, rows), letters)
            batch.codes[rows[wrong]] = reasons.CODES[reasons.WRONG_LANGUAGE]

    def _note_many_pairs(self) -> None:
        """Add a note if there were more pairs than memory was meant for."""
        if self._duplicates is None:
            return
        rate, pairs = self._duplicates.pairs.false_positive_rate(), self._duplicates.pairs.added
        if rate > 2 * RATE:
            self.account.notes.append(
                f"{pairs:,} different pairs are more than the {self._rules.expected_pairs:,} expected: by now about 1 "
                f"in {max(1, round(1 / rate)):,} new ones is taken for a duplicate; give --expected-pairs {2 * pairs:,}"
            )


def _picked(sides: tuple[list[str], list[str]], rows: NDArray[np.int64]) -> tuple[list[str], list[str]]:
    chosen = rows.tolist()
    return [sides[0][row] for row in chosen], [sides[1][row] for row in chosen]
