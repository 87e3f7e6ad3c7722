"""Figures about the pairs that were kept, gathered while they stream by, in memory that does not grow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
    """Figures about the kept pairs.

    Attributes:
        pairs: how many.
        text, english: of each side.
        length_ratio: 5th percentile, median and 95th percentile of the language's length over the English one, both
            weighted by script (``kivuko.bitext.length``); to 1.5 %.
        copied: pairs whose sides say the same in the same words.
        script_share: of the letters of the language's side, those that are of its script; 1 where there are none.
    """

    pairs: int
    text: SideStatistics
    english: SideStatistics
    length_ratio: tuple[float, float, float]
    copied: int
    script_share: float


class Gathering:
    """Adds up what ``Statistics`` are computed from.

    Args:
        max_characters: of one side; at least 1.
    """

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
        """Add a batch of kept pairs.

        Args:
            lengths, words: of both sides [2, pairs].
            ratios: of weighted lengths, over 0 [pairs].
            copied: [pairs].
            letters: of the language's side: those of its script, and all [2, pairs].
        """
        for side, counts in enumerate(self._lengths):
            counts += np.bincount(lengths[side], minlength=len(counts))
        self._words += words.sum(axis=1)
        place = (np.log(ratios) / _WIDEST + 1) / 2 * _RATIO_BINS
        self._ratios += np.bincount(np.clip(place, 0, _RATIO_BINS - 1).astype(np.int64), minlength=_RATIO_BINS)
        self._copied += int(copied.sum())
        self._letters += letters.sum(axis=1)

    def statistics(self) -> Statistics:
        """Return the figures as they stand."""
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
    """The lowest bin at or below which ``share`` of all lie; 0 where there are none."""
    total = int(counts.sum())
    if not total:
        return 0
    return int(np.searchsorted(np.cumsum(counts), share * total))
