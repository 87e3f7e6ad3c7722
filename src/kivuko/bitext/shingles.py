"""Sentences as hashes of their words and of runs of words, computed over whole batches at once.

A word is a run of letters, marks and digits, case folded. In scripts that write no spaces between words (Han, kana,
Thai, Lao, Khmer, Burmese, Tibetan) each character is a word of its own.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import regex
from numpy.typing import NDArray

from kivuko.bitext.bloom_filter import Keys, mixed
from kivuko.bitext.characters import TABLE_SIZE, code_points

_SPACELESS = ["Hani", "Hira", "Kana", "Thai", "Laoo", "Khmr", "Mymr", "Tibt", "Lana", "Talu", "Tale", "Java", "Bali"]
_PRIME = np.uint64(0x100000001B3)
_ODD = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class WordHashes:
    """The words of a batch of sentences, one after the other.

    Attributes:
        words: uint64 [words]: a hash of each.
        rows: int64 [words]: the sentence each stands in, ascending.
        counts: int64 [sentences]: words of each sentence.
        spaceless: bool [sentences]: whether most of its words are single characters of a script without spaces.
    """

    words: Keys
    rows: NDArray[np.int64]
    counts: NDArray[np.int64]
    spaceless: NDArray[np.bool_]


def hash_words(texts: Sequence[str]) -> WordHashes:
    """Find and hash the words of sentences, cleaned or not; some may be empty."""
    folds, is_word, alone = _tables()
    lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts)) + 1
    points = np.minimum(code_points("\n".join([*texts, ""])), TABLE_SIZE - 1)
    within = is_word[points]
    single = alone[points]
    before = np.concatenate(([False], within[:-1] & ~single[:-1]))
    is_start = within & (~before | single)
    starts = np.flatnonzero(is_start)
    rows = np.repeat(np.arange(len(texts)), lengths)[starts]
    counts = np.bincount(rows, minlength=len(texts))
    if not len(starts):
        nothing = np.zeros(0, dtype=np.uint64)
        return WordHashes(nothing, rows, counts, np.zeros(len(texts), dtype=np.bool_))
    places = np.flatnonzero(within)
    word = np.cumsum(is_start[places]) - 1
    offsets = places - starts[word]
    with np.errstate(over="ignore"):
        values = mixed(folds[points[places]]) * _powers(int(offsets.max()) + 1)[offsets]
    hashes = mixed(np.add.reduceat(values, np.flatnonzero(is_start[places])))
    singles = np.bincount(rows, weights=single[starts], minlength=len(texts))
    return WordHashes(hashes, rows, counts, singles * 2 > counts)


def hash_runs(hashes: WordHashes, length: int) -> tuple[Keys, NDArray[np.int64]]:
    """Return a hash of each run of ``length`` words within one sentence, and the sentence it stands in, in order."""
    count = len(hashes.words) - length + 1
    if count <= 0:
        return np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.int64)
    runs = np.zeros(count, dtype=np.uint64)
    with np.errstate(over="ignore"):
        for step in range(length):
            runs = runs * _ODD + hashes.words[step : step + count]
    whole = hashes.rows[:count] == hashes.rows[length - 1 :]
    return mixed(runs[whole]), hashes.rows[:count][whole]


def hash_sentences(hashes: WordHashes) -> Keys:
    """Return a hash of each sentence's words in order [sentences]; 0 where it has none."""
    sentences = np.zeros(len(hashes.counts), dtype=np.uint64)
    if len(hashes.words):
        starts = _row_starts(hashes)
        present = hashes.counts > 0
        offsets = np.arange(len(hashes.words)) - starts[hashes.rows]
        with np.errstate(over="ignore"):
            values = hashes.words * _powers(int(offsets.max()) + 1)[offsets]
        sentences[present] = mixed(np.add.reduceat(values, starts[present]))
    return sentences


def hash_edged_bigrams(hashes: WordHashes) -> tuple[Keys, NDArray[np.int64]]:
    """Return hashes of each two neighbouring words, edges of the sentence being words too, and their sentences.

    A sentence of n words has n + 1 of them, in order; one without words has none.
    """
    present = np.flatnonzero(hashes.counts)
    rank = np.cumsum(hashes.counts > 0) - 1
    rows = np.repeat(present, hashes.counts[present] + 2)
    with_edges = np.ones(len(rows), dtype=np.uint64)
    with_edges[np.arange(len(hashes.words)) + 2 * rank[hashes.rows] + 1] = hashes.words
    if len(rows) < 2:
        return np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.int64)
    with np.errstate(over="ignore"):
        bigrams = mixed(with_edges[:-1] * _ODD + with_edges[1:])
    whole = rows[:-1] == rows[1:]
    return bigrams[whole], rows[:-1][whole]


def _row_starts(hashes: WordHashes) -> NDArray[np.int64]:
    return np.cumsum(hashes.counts) - hashes.counts


def _powers(count: int) -> Keys:
    powers = np.full(count, _PRIME, dtype=np.uint64)
    powers[0] = 1
    with np.errstate(over="ignore"):
        return np.multiply.accumulate(powers)


@functools.cache
def _tables() -> tuple[Keys, NDArray[np.bool_], NDArray[np.bool_]]:
    """For each code point: what it is folded to, whether it belongs to a word, and whether it is one by itself."""
    every = "".join(map(chr, range(TABLE_SIZE)))
    folds = np.array([ord(one.casefold()[0]) for one in every], dtype=np.uint64)
    is_word = np.zeros(TABLE_SIZE, dtype=np.bool_)
    alone = np.zeros(TABLE_SIZE, dtype=np.bool_)
    for found in regex.finditer(r"[\p{L}\p{M}\p{N}]+", every):
        is_word[found.start() : found.end()] = True
    scripts = "".join(rf"\p{{Script={script}}}" for script in _SPACELESS)
    for found in regex.finditer(rf"(?V1)[[{scripts}]&&[\p{{L}}\p{{N}}]]+", every):
        alone[found.start() : found.end()] = True
    return folds, is_word, alone
