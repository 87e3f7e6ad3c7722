"""Taking so many pairs of a language out of a stream: exactly, always the same ones, and in bounded memory.

The stream is read twice. Each pair has a rank, a hash of the seed and its English sentence. The first reading counts
how many pairs lie in each of 65,536 equal intervals of ranks; from that follows up to which rank pairs are taken, and
how many of the last interval, so that the second reading takes exactly as many as it should. A smaller sample lies
within a larger one of the same seed, and languages with the same English sentences get the same ones, as far as their
numbers go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kivuko.bitext.bloom_filter import mixed
from kivuko.bitext.duplicates import sentence_keys
from kivuko.bitext.rules import Rules
from kivuko.bitext.sift import sift

if TYPE_CHECKING:
    from kivuko.bitext.source import PairSource

_BITS = 16

# A sample is taken of what is there: only what cannot be written or read again is left out.
_ANYTHING = Rules(
    keep_copied=True, max_length_ratio=None, min_script_share=0, boilerplate=False, duplicates=False, language_id="off"
)

Watch = Callable[[int], None]  # is told how many pairs were read so far


def _unwatched(_: int) -> None:
    pass


class RankCounts:
    """The first reading: counts pairs by rank.

    Args:
        seed: any integer; chooses the sample.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.counts = np.zeros(1 << _BITS, dtype=np.int64)

    @property
    def pairs(self) -> int:
        """Pairs counted so far."""
        return int(self.counts.sum())

    def add(self, english: Sequence[str]) -> None:
        """Count a batch of pairs by their English sides."""
        self.counts += np.bincount(_intervals(english, self.seed), minlength=len(self.counts))


class Selection:
    """The second reading: tells which pairs to take.

    Args:
        ranks: of the whole first reading.
        quota: how many to take, 0 to ``ranks.pairs``.
    """

    def __init__(self, ranks: RankCounts, quota: int) -> None:
        self._seed = ranks.seed
        below = np.concatenate(([0], np.cumsum(ranks.counts)))
        self._last = int(np.searchsorted(below, quota, side="right")) - 1  # all intervals before it are taken whole
        self._left = quota - int(below[self._last])

    def take(self, english: Sequence[str]) -> NDArray[np.bool_]:
        """Return which of the next batch of pairs to take [pairs]."""
        intervals = _intervals(english, self._seed)
        taken = intervals < self._last
        edge = np.flatnonzero(intervals == self._last)[: self._left]
        taken[edge] = True
        self._left -= len(edge)
        return taken


def count_ranks(source: PairSource, seed: int, watch: Watch = _unwatched) -> RankCounts:
    """Read a source for the first time."""
    ranks = RankCounts(seed)
    sifting = sift(source, _ANYTHING)
    for _, _, english in sifting.batches():
        ranks.add(english)
        watch(sifting.account.seen)
    return ranks


def sampled(
    source: PairSource, ranks: RankCounts, quota: int, watch: Watch = _unwatched
) -> Iterator[tuple[list[str], list[str]]]:
    """Read a source for the second time, and yield the texts and English sides that are taken, in batches.

    Args:
        source: the same as at the first reading, opened anew.
        ranks: from ``count_ranks``.
        quota: how many pairs to take, at most ``ranks.pairs``.
    """
    selection = Selection(ranks, quota)
    sifting = sift(source, _ANYTHING)
    for _, texts, english in sifting.batches():
        rows = np.flatnonzero(selection.take(english)).tolist()
        yield [texts[row] for row in rows], [english[row] for row in rows]
        watch(sifting.account.seen)


def _intervals(english: Sequence[str], seed: int) -> NDArray[np.int64]:
    salt = mixed(np.array([seed % (1 << 64)], dtype=np.uint64))
    keys = mixed(sentence_keys([sentence.casefold() for sentence in english]) ^ salt)
    return (keys >> np.uint64(64 - _BITS)).astype(np.int64)
