"""Detect duplicate pairs and sides that occur too often, in memory of fixed size."""

import hashlib
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# Source of the filter: Bloom, "Space/Time Trade-offs in Hash Coding with Allowable Errors" (CACM 1970), split into
# blocks of one cache line as in Putze, Sanders and Singler, "Cache-, Hash- and Space-Efficient Bloom Filters" (WEA
# 2007): a key sets one bit in each of the 16 words of one block, so that a look-up waits for memory once.

Keys = NDArray[np.uint64]

_WORDS, _BITS = 16, 32  # of a block, of a word
# Odd multipliers, one for each word; their upper bits choose the bit.
_MULTIPLIERS = np.random.default_rng(2007).integers(1 << 31, 1 << 32, _WORDS, dtype=np.uint32) | np.uint32(1)


class BloomFilter:
    """Remembers 64-bit keys in an array that does not grow; a new key is taken for a known one at ``rate``.

    That holds for ``capacity`` keys; with more, the rate rises (``false_positive_rate``).
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
        return self._blocks.nbytes

    def add(self, keys: Keys) -> NDArray[np.bool_]:
        """Add keys, and return True for those that were there before, earlier in ``keys`` included [keys]."""
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
        """Return the block of each key [keys], and the bits it sets there [keys, _WORDS]."""
        hashed = mixed(keys)
        places = ((hashed >> np.uint64(32)) * np.uint64(len(self._blocks))) >> np.uint64(32)
        lower = hashed.astype(np.uint32) | np.uint32(1)
        with np.errstate(over="ignore"):
            chosen = (lower[:, None] * _MULTIPLIERS) >> np.uint32(27)
        return places, np.left_shift(np.uint32(1), chosen)


def _rate(load: float) -> float:
    """Return the false positive rate where blocks hold ``load`` keys on average (Poisson)."""
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


# Source: Cormode and Muthukrishnan, "An Improved Data Stream Summary: The Count-Min Sketch" (J. Algorithms 2005).
# Counts are never too low, now and then too high.

DEPTH = 4


class CountMinSketch:
    """Counts 64-bit keys in ``DEPTH`` rows of one-byte counters, which stop at 255.

    With ``expected`` distinct keys, a counter holds 2.5 others on average; that all four are over by 20 has a
    probability below 1e-40.
    """

    def __init__(self, expected: int) -> None:
        self._shift = np.uint64(64 - max(10, int(expected / 2.5).bit_length()))
        self._rows = np.zeros((DEPTH, 1 << (64 - int(self._shift))), dtype=np.uint8)

    @property
    def nbytes(self) -> int:
        return self._rows.nbytes

    def add(self, keys: Keys) -> NDArray[np.int64]:
        """Count each key once more, and return the counts after each, in order [keys]."""
        unique, inverse, times = np.unique(keys, return_inverse=True, return_counts=True)
        before = np.full(len(unique), 255, dtype=np.int64)
        for row, counters in enumerate(self._rows):
            with np.errstate(over="ignore"):
                places = mixed(unique + np.uint64(row) * np.uint64(0x9E3779B97F4A7C15)) >> self._shift
            counts = counters[places].astype(np.int64)
            np.minimum(before, counts, out=before)
            after = np.minimum(counts + times, 255).astype(np.uint8)
            order = np.argsort(after, kind="stable")  # where keys meet, the highest count is written last and stays
            counters[places[order]] = after[order]
        return before[inverse] + _occurrence(inverse, times)


def _occurrence(inverse: NDArray[np.int64], times: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the number of each occurrence of its key within the batch, counted from 1."""
    order = np.argsort(inverse, kind="stable")
    starts = np.repeat(np.cumsum(times) - times, times)
    occurrence = np.empty(len(inverse), dtype=np.int64)
    occurrence[order] = np.arange(len(inverse)) - starts + 1
    return occurrence


RATE = 1e-6  # of new pairs taken for known ones when as many as expected are in; costs 39 bits a pair


class Duplicates:
    """Remembers pairs and counts sides, in about 5 bytes a pair for the pairs and 3 to 7 for the sides."""

    def __init__(self, expected_pairs: int, max_translations: int | None) -> None:
        self.pairs = BloomFilter(expected_pairs, RATE)
        self._limit = max_translations
        self._sides = (
            () if max_translations is None else (CountMinSketch(expected_pairs), CountMinSketch(expected_pairs))
        )

    @property
    def nbytes(self) -> int:
        return self.pairs.nbytes + sum(side.nbytes for side in self._sides)

    def judge(self, texts: Sequence[str], english: Sequence[str]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return for each new pair whether it is known, and whether a side came over ``max_translations`` times.

        Give both sides in one case if case shall not matter.
        """
        keys = sentence_keys(texts), sentence_keys(english)
        with np.errstate(over="ignore"):
            seen = self.pairs.add(mixed(keys[0]) + keys[1] * np.uint64(0x9E3779B97F4A7C15))
        often = np.zeros(len(texts), dtype=np.bool_)
        if self._limit is not None:
            fresh = np.flatnonzero(~seen)
            for sketch, side in zip(self._sides, keys, strict=True):
                often[fresh[sketch.add(side[fresh]) > self._limit]] = True
        return seen, often


def sentence_keys(texts: Sequence[str]) -> Keys:
    """Return a 64-bit key of each sentence, the same in every process: uint64 [sentences]."""
    blake = hashlib.blake2b
    digests = b"".join([blake(text.encode("utf-8", "surrogatepass"), digest_size=8).digest() for text in texts])
    return np.frombuffer(digests, dtype="<u8")
