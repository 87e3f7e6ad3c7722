"""Pairs that were there before, and sides that come too often, found in memory that does not grow with the file."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kivuko.bitext.bloom_filter import BloomFilter, Keys, mixed
from kivuko.bitext.count_sketch import CountMinSketch

RATE = 1e-6  # of new pairs taken for known ones when as many as expected are in; costs 39 bits a pair


class Duplicates:
    """Remembers pairs and counts sides.

    Args:
        expected_pairs: sizes the memory: about 5 bytes a pair for the pairs, 3 to 7 for the sides.
        max_translations: how many pairs may share one side; None: any number.
    """

    def __init__(self, expected_pairs: int, max_translations: int | None) -> None:
        self.pairs = BloomFilter(expected_pairs, RATE)
        self._limit = max_translations
        self._sides = (
            () if max_translations is None else (CountMinSketch(expected_pairs), CountMinSketch(expected_pairs))
        )

    @property
    def nbytes(self) -> int:
        """Memory, in bytes."""
        return self.pairs.nbytes + sum(side.nbytes for side in self._sides)

    def judge(self, texts: Sequence[str], english: Sequence[str]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Take in a batch of pairs; both sides in one case if case shall not matter.

        Returns:
            For each pair whether it was there before, and whether, as a new pair, one of its sides has now come more
            than ``max_translations`` times [pairs], [pairs].
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
    """Return a 64-bit key of each sentence, the same in every process: uint64 [sentences].

    Two of 10 million different sentences share one with a probability of 3 in a million.
    """
    blake = hashlib.blake2b
    digests = b"".join([blake(text.encode("utf-8", "surrogatepass"), digest_size=8).digest() for text in texts])
    return np.frombuffer(digests, dtype="<u8")
