"""A set of fixed size that may, at a stated rate, take a new key for a known one, and never the other way round.

Source: Bloom, "Space/Time Trade-offs in Hash Coding with Allowable Errors" (CACM 1970), split into blocks of one cache
line as in Putze, Sanders and Singler, "Cache-, Hash- and Space-Efficient Bloom Filters" (WEA 2007): a key sets one bit
in each of the 16 words of one block, so that a look-up waits for memory once.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]

_WORDS, _BITS = 16, 32  # of a block, of a word
# Odd multipliers, one for each word; their upper bits choose the bit.
_MULTIPLIERS = np.random.default_rng(2007).integers(1 << 31, 1 << 32, _WORDS, dtype=np.uint32) | np.uint32(1)


class BloomFilter:
    """Remembers 64-bit keys in an array that does not grow.

    Args:
        capacity: keys for which ``rate`` holds, at least 1; with more, the rate rises (``false_positive_rate``).
        rate: probability that a new key is taken for a known one when ``capacity`` keys are in, over 0 and below 1.
    """

    def __init__(self, capacity: int, rate: float) -> None:
        few = max(1, capacity // 1024)  # so full that any key would be taken for a known one
        many = 2 * few
        while _rate(capacity / many) > rate:
            few, many = many, 2 * many
        while many - few > max(1, many // 100):
            middle = (few + many) // 2
            few, many = (middle, many) if _rate(capacity / middle) > rate else (few, middle)
        self.added = 0
        self._blocks = np.zeros((many, _WORDS), dtype=np.uint32)

    @property
    def nbytes(self) -> int:
        """Memory, in bytes."""
        return self._blocks.nbytes

    def add(self, keys: Keys) -> NDArray[np.bool_]:
        """Put keys in, and return for each whether it was there before, earlier in ``keys`` included [keys]."""
        unique, first = np.unique(keys, return_index=True)
        places, masks = self._places(unique)
        known: NDArray[np.bool_] = ((self._blocks[places] & masks) == masks).all(axis=1)
        self._set(places[~known], masks[~known])
        self.added += len(unique) - int(known.sum())
        seen = np.ones(len(keys), dtype=np.bool_)
        seen[first] = known
        return seen

    def false_positive_rate(self) -> float:
        """Return the probability, 0 to 1, that the next new key is taken for a known one."""
        return _rate(self.added / len(self._blocks))

    def _set(self, places: Keys, masks: NDArray[np.uint32]) -> None:
        # Where two keys meet in one block, one assignment undoes the other: so again, until none is missing.
        while len(places):
            self._blocks[places] |= masks
            missing = ((self._blocks[places] & masks) != masks).any(axis=1)
            places, masks = places[missing], masks[missing]

    def _places(self, keys: Keys) -> tuple[Keys, NDArray[np.uint32]]:
        """The block of each key [keys], and the bits it sets there [keys, _WORDS]."""
        hashed = mixed(keys)
        places = ((hashed >> np.uint64(32)) * np.uint64(len(self._blocks))) >> np.uint64(32)
        lower = hashed.astype(np.uint32) | np.uint32(1)
        with np.errstate(over="ignore"):
            chosen = (lower[:, None] * _MULTIPLIERS) >> np.uint32(27)
        return places, np.left_shift(np.uint32(1), chosen)


def _rate(load: float) -> float:
    """The false positive rate where blocks hold ``load`` keys on average: their numbers follow Poisson's law."""
    if not load:
        return 0.0
    spread = 12 * math.sqrt(load)
    total = 0.0
    for keys in range(max(1, int(load - spread)), int(load + spread + 30)):
        probability = math.exp(keys * math.log(load) - load - math.lgamma(keys + 1))
        total += probability * (1 - (1 - 1 / _BITS) ** keys) ** _WORDS
    return min(1.0, total)


def mixed(keys: Keys) -> Keys:
    """Return keys whose every bit depends on every bit of the old ones (SplitMix64's finalizer, Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return keys ^ (keys >> np.uint64(31))
