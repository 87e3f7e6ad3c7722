"""Keys of the words of sentences, to count how many are different and how many two sides share.

A key is the sum of a fixed random number for each letter, upper and lower case alike, so words of the same letters in
another order share one. That is close enough to tell copies and repetitions, and takes two passes over the letters.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kivuko.bitext.bloom_filter import Keys, mixed
from kivuko.bitext.characters import (
    CLASSES,
    DIGIT,
    FOREIGN,
    LATIN,
    OWN,
    OWN_IDEOGRAPH,
    OWN_SYLLABLE,
    TABLE_SIZE,
    Characters,
    character_table,
    read_characters,
)

_IN_WORD = np.zeros(CLASSES, dtype=np.bool_)
_IN_WORD[[DIGIT, LATIN, OWN, OWN_SYLLABLE, OWN_IDEOGRAPH, FOREIGN]] = True
_ROW_BITS = 24  # of a number that holds a row and the upper bits of a key


@dataclass(frozen=True, eq=False)
class WordKeys:
    """The words of a batch of sentences.

    Attributes:
        keys: uint64 [words].
        rows: int64 [words]: the sentence each stands in, ascending.
        numbers: int64 [sentences]: words of each.
    """

    keys: Keys
    rows: NDArray[np.int64]
    numbers: NDArray[np.int64]


def find_words(characters: Characters) -> WordKeys:
    """Find the words: runs of letters, marks and digits."""
    within = np.zeros(len(characters.points) + 1, dtype=np.bool_)
    within[1:] = _IN_WORD[characters.kinds]
    edges = np.flatnonzero(within[1:] != within[:-1])  # every sentence ends in a line end, so ends come in time
    starts, ends = edges[::2], edges[1::2]
    numbers = _numbers()[characters.points]
    with np.errstate(over="ignore"):
        sums = np.cumsum(numbers)
        keys = mixed(sums[ends - 1] - sums[starts] + numbers[starts])
    numbers_of_words = np.diff(np.searchsorted(starts, characters.ends), prepend=0)
    return WordKeys(keys, np.repeat(np.arange(len(numbers_of_words)), numbers_of_words), numbers_of_words)


def word_keys(words: Sequence[str]) -> Keys:
    """Return the keys of single words [words]."""
    return find_words(read_characters(words, character_table(("Latn",)))).keys


def count_different(sides: tuple[WordKeys, WordKeys]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return how many different words each side of each pair has, and how many of them both have: three of [pairs]."""
    different = [_each_once(_with_rows(side)) for side in sides]
    length = len(sides[0].numbers)
    together = np.sort(np.concatenate(different))
    shared = together[1:][together[1:] == together[:-1]]
    first, second, both = (np.bincount(_rows(some), minlength=length) for some in (*different, shared))
    return first, second, both


def _with_rows(words: WordKeys) -> Keys:
    upper = words.rows.astype(np.uint64) << np.uint64(64 - _ROW_BITS)
    return upper | (words.keys >> np.uint64(_ROW_BITS))


def _each_once(keys: Keys) -> Keys:
    keys.sort()  # np.unique takes several times as long
    once: Keys = keys[np.concatenate((keys[:1] == keys[:1], keys[1:] != keys[:-1]))]
    return once


def _rows(combined: Keys) -> NDArray[np.int64]:
    return (combined >> np.uint64(64 - _ROW_BITS)).astype(np.int64)


@functools.cache
def _numbers() -> Keys:
    """A number for each code point, the same for its upper and lower case [TABLE_SIZE]."""
    folded = np.array([ord(chr(point).casefold()[0]) for point in range(TABLE_SIZE)], dtype=np.uint64)
    return mixed(folded + np.uint64(1))
