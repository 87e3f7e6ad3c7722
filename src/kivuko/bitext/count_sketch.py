"""How often keys were seen, in memory of fixed size: never too low, now and then too high.

Source: Cormode and Muthukrishnan, "An Improved Data Stream Summary: The Count-Min Sketch" (J. Algorithms 2005).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kivuko.bitext.bloom_filter import Keys, mixed

DEPTH = 4


class CountMinSketch:
    """Counts 64-bit keys in ``DEPTH`` rows of one-byte counters, which stop at 255.

    Args:
        expected: distinct keys, at least 1. With so many, a row's counter holds 2.5 others on average; that all four
            are over by 20 has a probability below 1e-40.
    """

    def __init__(self, expected: int) -> None:
        self._shift = np.uint64(64 - max(10, int(expected / 2.5).bit_length()))
        self._rows = np.zeros((DEPTH, 1 << (64 - int(self._shift))), dtype=np.uint8)

    @property
    def nbytes(self) -> int:
        """Memory, in bytes."""
        return self._rows.nbytes

    def add(self, keys: Keys) -> NDArray[np.int64]:
        """Count each key once more, and return the counts as they stand after each, in order [keys]."""
        unique, inverse, times = np.unique(keys, return_inverse=True, return_counts=True)
        before = np.full(len(unique), 255, dtype=np.int64)
        for row, counters in enumerate(self._rows):
            with np.errstate(over="ignore"):
                places = mixed(unique + np.uint64(row) * np.uint64(0x9E3779B97F4A7C15)) >> self._shift
            found = counters[places].astype(np.int64)
            np.minimum(before, found, out=before)
            after = np.minimum(found + times, 255).astype(np.uint8)
            order = np.argsort(after, kind="stable")  # where keys meet, the highest count is written last and stays
            counters[places[order]] = after[order]
        return before[inverse] + _occurrence(inverse, times)


def _occurrence(inverse: NDArray[np.int64], times: NDArray[np.int64]) -> NDArray[np.int64]:
    """Which occurrence of its key each one is within the batch, counted from 1."""
    order = np.argsort(inverse, kind="stable")
    starts = np.repeat(np.cumsum(times) - times, times)
    occurrence = np.empty(len(inverse), dtype=np.int64)
    occurrence[order] = np.arange(len(inverse)) - starts + 1
    return occurrence
