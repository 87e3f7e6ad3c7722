"""The account of a cleaning, statistics of what was kept, and the verdict: usable, with care, or not."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kivuko.bitext import pairs as reasons
from kivuko.bitext.leak import LeakReport

_RATIO_BINS = 400  # of the logarithm of the length ratio, from 1/20 to 20
_WIDEST = float(np.log(20))


@dataclass(frozen=True)
class SideStatistics:
    """Lengths of one side of the kept pairs, in characters: mean, median, 95th percentile and longest; and words."""

    characters: int
    words: int
    mean: float
    median: int
    percentile_95: int
    longest: int


@dataclass(frozen=True)
class Statistics:
    """Figures about the kept pairs."""

    pairs: int
    text: SideStatistics
    english: SideStatistics
    length_ratio: tuple[float, float, float]  # 5th percentile, median, 95th: language over English, weighted by script
    copied: int  # pairs with the same words on both sides
    script_share: float  # of the language's letters, those of its script; 1 for no letters


class Gathering:
    """Sums from which ``Statistics`` are computed, for sides of up to ``max_characters``."""

    def __init__(self, max_characters: int) -> None:
        self._lengths = np.zeros((2, max_characters + 1), dtype=np.int64)
        self._words = np.zeros(2, dtype=np.int64)
        self._ratios = np.zeros(_RATIO_BINS, dtype=np.int64)
        self._copied = 0
        self._letters = np.zeros(2, dtype=np.int64)  # of the script, all

    def add(
        self,
        lengths: NDArray[np.int64],
        words: NDArray[np.int64],
        ratios: NDArray[np.float64],
        copied: NDArray[np.bool_],
        letters: NDArray[np.int64],
    ) -> None:
        for side, counts in enumerate(self._lengths):
            counts += np.bincount(lengths[side], minlength=len(counts))
        self._words += words.sum(axis=1)
        place = (np.log(ratios) / _WIDEST + 1) / 2 * _RATIO_BINS
        self._ratios += np.bincount(np.clip(place, 0, _RATIO_BINS - 1).astype(np.int64), minlength=_RATIO_BINS)
        self._copied += int(copied.sum())
        self._letters += letters.sum(axis=1)

    def statistics(self) -> Statistics:
        sides = [_side(counts, int(words)) for counts, words in zip(self._lengths, self._words, strict=True)]
        middles = np.exp(((np.arange(_RATIO_BINS) + 0.5) / _RATIO_BINS * 2 - 1) * _WIDEST)
        low, median, high = (round(float(middles[_percentile(self._ratios, share)]), 2) for share in (0.05, 0.5, 0.95))
        own, letters = self._letters.tolist()
        return Statistics(
            pairs=int(self._lengths[0].sum()),
            text=sides[0],
            english=sides[1],
            length_ratio=(low, median, high),
            copied=self._copied,
            script_share=own / letters if letters else 1.0,
        )


def _side(counts: NDArray[np.int64], words: int) -> SideStatistics:
    pairs = int(counts.sum())
    characters = int(counts @ np.arange(len(counts)))
    present = np.flatnonzero(counts)
    return SideStatistics(
        characters=characters,
        words=words,
        mean=characters / pairs if pairs else 0.0,
        median=_percentile(counts, 0.5),
        percentile_95=_percentile(counts, 0.95),
        longest=int(present[-1]) if len(present) else 0,
    )


def _percentile(counts: NDArray[np.int64], share: float) -> int:
    """Return the lowest bin at or below which ``share`` of all are; 0 where there are none."""
    total = int(counts.sum())
    if not total:
        return 0
    return int(np.searchsorted(np.cumsum(counts), share * total))


EXAMPLES = 3  # that are kept of each reason


class Example(NamedTuple):
    """A rejected pair: its place, and its sides, cleaned."""

    place: str
    text: str
    english: str


@dataclass
class Account:
    """The account of a cleaning, up to date after every batch of pairs."""

    source: str
    language: str
    gathering: Gathering = field(repr=False)
    seen: int = 0  # lines, rows or units read so far
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)  # reason -> place of the first of them
    examples: dict[str, list[Example]] = field(default_factory=dict)  # reason -> the first ``EXAMPLES`` with two sides
    identified: int = 0  # sentences whose language lingua identified
    swapped: int = 0  # pairs whose sides were each in the other's language
    notes: list[str] = field(default_factory=list)  # rules that were not applied, and why

    def share(self, *reasons: str) -> float:
        """Return the share, 0 to 1, of all lines read that were left out for these reasons."""
        return sum(self.dropped[reason] for reason in reasons) / self.seen if self.seen else 0.0

    def drop(self, reason: str, place: str, text: str | None = None, english: str | None = None) -> None:
        self.dropped[reason] += 1
        self.first.setdefault(reason, place)
        if text and english:
            examples = self.examples.setdefault(reason, [])
            if len(examples) < EXAMPLES:
                examples.append(Example(place, text, english))

    def by_reason(self) -> list[tuple[str, int, str]]:
        """Return reason, count and first place of the rejected lines, the commonest reason first."""
        return [
            (reason, count, self.first.get(reason, ""))
            for reason, count in sorted(self.dropped.items(), key=lambda item: (-item[1], item[0]))
        ]


Level = Literal["usable", "with care", "not usable"]
_LEVELS: tuple[Level, ...] = ("usable", "with care", "not usable")

FEW, TOO_FEW = 1000, 100  # pairs: below the first a student learns little beyond the words they hold
_LITTLE_KEPT, _HARDLY_KEPT = 0.8, 0.3  # shares of all that was read
_NOTABLE, _MOST = 0.05, 0.5  # shares that one reason takes
_LEAKS_MATTER = 0.01  # share of the captions above which figures on them cannot be trusted
_LONG = 300  # characters: about what CLIP's text towers read (77 tokens)

# What a reason that takes a notable share most often comes from, and what to do about it.
_REMEDIES = {
    reasons.WRONG_LANGUAGE: "see whether {language} is the right code",
    reasons.WRONG_SCRIPT: "see whether {language} is the right code, or name its script with --script",
    reasons.LENGTH_RATIO: "the sides may have slipped out of step: look at the lines around the first place",
    reasons.UNTRANSLATED_COPY: "much of it was never translated",
    reasons.DUPLICATE: "concatenated corpora overlap, or the file holds itself twice",
    reasons.ONE_SIDE_TOO_OFTEN: "one sentence is paired with many others: a failed alignment, or a template",
    reasons.BROKEN_CHARACTERS: "it was decoded wrongly somewhere: fetch it again, or convert it from its true encoding",
    reasons.EMPTY_SIDE: "the columns may be the wrong ones: name them with --columns",
    "missing column": "the columns may be the wrong ones: name them with --columns",
}


@dataclass
class Verdict:
    """The verdict on a bitext."""

    level: Level  # ``with care``: after cleaning, or knowing the findings
    findings: list[str] = field(default_factory=list)  # the gravest first
    advice: list[str] = field(default_factory=list)  # next steps, in order


def judge_bitext(account: Account, leaks: LeakReport | None = None) -> Verdict:
    findings: list[tuple[int, str, str]] = [
        *_against_size(account),
        *_against_shares(account),
        *_against_figures(account),
    ]
    if leaks is not None:
        findings += _against_leaks(leaks)
    findings.sort(key=lambda finding: -finding[0])
    gravest = findings[0][0] if findings else 0
    advice = dict.fromkeys(remedy.format(language=account.language) for _, _, remedy in findings if remedy)
    return Verdict(_LEVELS[gravest], [text for _, text, _ in findings], list(advice))


def _against_size(account: Account) -> list[tuple[int, str, str]]:
    findings = []
    kept = account.kept / account.seen if account.seen else 0.0
    if account.kept < FEW:
        grave = 2 if account.kept < TOO_FEW else 1
        pairs = "1 usable pair" if account.kept == 1 else f"{account.kept:,} usable pairs"
        findings.append((grave, f"only {pairs}", f"find more bitext: {FEW:,} pairs teach a little"))
    if account.seen and kept < _LITTLE_KEPT:
        grave = 2 if kept < _HARDLY_KEPT else 1
        findings.append((grave, f"only {kept:.0%} of what was read is usable", ""))
    return findings


def _against_shares(account: Account) -> list[tuple[int, str, str]]:
    findings = []
    for reason, count, first in account.by_reason():
        share = account.share(reason)
        if share < _NOTABLE or reason == reasons.IN_CAPTIONS:
            continue
        telling = reason in (reasons.WRONG_LANGUAGE, reasons.WRONG_SCRIPT) and share >= _MOST
        findings.append(
            (2 if telling else 1, f"{share:.0%} {reason} ({count:,}; first at {first})", _remedy(account, reason))
        )
    return findings


def _remedy(account: Account, reason: str) -> str:
    if reason == reasons.WRONG_LANGUAGE and 2 * account.swapped > account.dropped[reason]:
        return "the columns are the wrong way round: name them with --columns 2,1"
    return _REMEDIES.get(reason, "")


def _against_figures(account: Account) -> list[tuple[int, str, str]]:
    findings = []
    figures = account.gathering.statistics()
    if figures.pairs and not 0.5 <= figures.length_ratio[1] <= 2:
        text = f"its sentences are {figures.length_ratio[1]:.2f} times as long as the English ones (median)"
        findings.append((1, text, "see whether the sides belong together"))
    if figures.english.percentile_95 > _LONG:
        text = f"5 % of the English sentences are over {figures.english.percentile_95:,} characters long"
        findings.append((1, text, "a CLIP text tower reads 77 tokens: the rest of a long sentence is not learned from"))
    return findings


def _against_leaks(leaks: LeakReport) -> list[tuple[int, str, str]]:
    if not leaks.total:
        return []
    text = f"{leaks.total:,} of {leaks.captions:,} evaluation captions ({leaks.share:.1%}) are in it"
    return [(2 if leaks.share >= _LEAKS_MATTER else 1, text, "leave them out: kivuko bitext clean ... --against")]
