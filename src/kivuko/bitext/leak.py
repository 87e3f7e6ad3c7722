"""Looking in training text for the captions that a model is to be evaluated on.

800 of XTD's 1,000 images, for one, are in MSCOCO's training set, so bitext derived from it may hold their captions.
Memory grows with the captions, not with the training text.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import regex
from numpy.typing import NDArray

from kivuko.bitext.characters import TABLE_SIZE, code_points
from kivuko.bitext.duplicates import Keys, mixed
from kivuko.errors import UsageError
from kivuko.text import word_list

# Near-duplicates by MinHash signatures and locality-sensitive hashing. Source: Broder, "On the Resemblance and
# Containment of Documents" (1997); bands as in Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets", chapter 3.
# With 16 bands of 4 hashes, two sentences whose sets of word pairs overlap by Jaccard 0.8, 0.65, 0.5 and 0.1 meet in a
# band with probability 1.00, 0.96, 0.64 and 0.002.

BANDS, IN_BAND = 16, 4


def band_keys(shingles: Keys, rows: NDArray[np.int64]) -> tuple[Keys, NDArray[np.int64]]:
    """Return the band keys of each sentence, uint64 [sentences, BANDS], and its row, from the hashes of its parts."""
    present, starts = np.unique(rows, return_index=True)
    keys = np.zeros((len(present), BANDS), dtype=np.uint64)
    if not len(present):
        return keys, present
    with np.errstate(over="ignore"):
        for band in range(BANDS):
            for number in range(band * IN_BAND, (band + 1) * IN_BAND):
                # A fixed mixing of shingle and number serves as the random order of one hash function.
                order = mixed(shingles ^ mixed(np.array([number + 1], dtype=np.uint64)))
                keys[:, band] = keys[:, band] * np.uint64(0x9E3779B97F4A7C15) + np.minimum.reduceat(order, starts)
            keys[:, band] = mixed(keys[:, band] + np.uint64(band))
    return keys, present


_BITS = 22  # of the bitmap that answers most look-ups: 4 MiB


class Posting:
    """A map from hashes, uint64 [entries], perhaps repeated, to the items they belong to, int64 [entries]."""

    def __init__(self, keys: Keys, items: NDArray[np.int64]) -> None:
        order = np.argsort(keys, kind="stable")
        self._keys, self._items = keys[order], items[order]
        self._bitmap = np.zeros(1 << _BITS, dtype=np.bool_)
        self._bitmap[self._places(keys)] = True

    def may_hold(self, keys: Keys) -> NDArray[np.bool_]:
        """Return which keys may be there: never False for one that is [keys]."""
        return self._bitmap[self._places(keys)]

    def find(self, keys: Keys) -> list[tuple[int, NDArray[np.int64]]]:
        """Return, for each place in ``keys`` whose key is there, the place and the items of the key."""
        places = np.flatnonzero(self.may_hold(keys))
        low = np.searchsorted(self._keys, keys[places], side="left")
        high = np.searchsorted(self._keys, keys[places], side="right")
        there = np.flatnonzero(high > low)
        return [(int(places[one]), self._items[low[one] : high[one]]) for one in there]

    def _places(self, keys: Keys) -> Keys:
        return keys >> np.uint64(64 - _BITS)


# A word is a run of letters, marks and digits, case folded. In scripts that write no spaces between words (Han, kana,
# Thai, Lao, Khmer, Burmese, Tibetan) each character is a word of its own.

_SPACELESS = ["Hani", "Hira", "Kana", "Thai", "Laoo", "Khmr", "Mymr", "Tibt", "Lana", "Talu", "Tale", "Java", "Bali"]
_PRIME = np.uint64(0x100000001B3)
_ODD = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class WordHashes:
    """The words of a batch of sentences, one after the other."""

    words: Keys  # [words], a hash of each
    rows: NDArray[np.int64]  # [words], the sentence of each, ascending
    counts: NDArray[np.int64]  # [sentences], words of each
    spaceless: NDArray[np.bool_]  # [sentences], most words are single characters of a script without spaces


def hash_words(texts: Sequence[str]) -> WordHashes:
    """Return the words of sentences as hashes; a sentence may be empty."""
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
        starts = np.cumsum(hashes.counts) - hashes.counts
        present = hashes.counts > 0
        offsets = np.arange(len(hashes.words)) - starts[hashes.rows]
        with np.errstate(over="ignore"):
            values = hashes.words * _powers(int(offsets.max()) + 1)[offsets]
        sentences[present] = mixed(np.add.reduceat(values, starts[present]))
    return sentences


def hash_edged_bigrams(hashes: WordHashes) -> tuple[Keys, NDArray[np.int64]]:
    """Return hashes of each two neighboring words, edges of the sentence being words too, and their sentences."""
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


def _powers(count: int) -> Keys:
    powers = np.full(count, _PRIME, dtype=np.uint64)
    powers[0] = 1
    with np.errstate(over="ignore"):
        return np.multiply.accumulate(powers)


@functools.cache
def _tables() -> tuple[Keys, NDArray[np.bool_], NDArray[np.bool_]]:
    """Return per code point: its case folding, True if it is part of a word, True if it is a word by itself."""
    every = "".join(map(chr, range(TABLE_SIZE)))
    folds = np.array([ord(one.casefold()[0]) for one in every], dtype=np.uint64)
    is_word = np.zeros(TABLE_SIZE, dtype=np.bool_)
    alone = np.zeros(TABLE_SIZE, dtype=np.bool_)
    for match in regex.finditer(r"[\p{L}\p{M}\p{N}]+", every):
        is_word[match.start() : match.end()] = True
    scripts = "".join(rf"\p{{Script={script}}}" for script in _SPACELESS)
    for match in regex.finditer(rf"(?V1)[[{scripts}]&&[\p{{L}}\p{{N}}]]+", every):
        alone[match.start() : match.end()] = True
    return folds, is_word, alone


SAME, RUN, NEAR = "the same words", "a long run of words in common", "nearly the same words"
KINDS = (SAME, RUN, NEAR)  # the surest first
WORD_RUN, CHARACTER_RUN = 8, 13

_NEAR_WORDS = 4  # shorter captions are not held to be nearly anything
_SHARED_BIGRAMS = 0.4  # of a sentence's, without which it is near no caption
EXAMPLES = 5  # that are kept of each kind


class LeakExample(NamedTuple):
    """A caption and the place of the sentence that holds it."""

    kind: str
    caption: str
    sentence: str
    place: str


@dataclass
class LeakReport:
    """Captions that leaked so far."""

    captions: int  # different captions that were looked for
    leaked: dict[str, int] = field(default_factory=dict)  # kind -> captions leaked so and in no surer way
    pairs: int = 0  # of the training text that hold any
    looked: int = 0  # pairs that were looked at
    examples: list[LeakExample] = field(default_factory=list)

    @property
    def total(self) -> int:
        return sum(self.leaked.values())

    @property
    def share(self) -> float:
        return self.total / self.captions if self.captions else 0.0


class LeakCheck:
    """Looks for captions in the pairs of a training text, batch after batch, in three ways, the surest first.

    The same words in the same order; a run of 8 words in common (13 characters in scripts without spaces; Brown et al.
    2020, appendix C, use 13 words of longer texts); nearly the same words: candidates by MinHash, then a normalized
    edit ``similarity`` over 0.5 and up to 1.
    """

    def __init__(self, captions: Iterable[str], *, similarity: float = 0.85) -> None:
        if not 0.5 < similarity <= 1:
            raise UsageError(f"similarity {similarity}: give a number over 0.5 and at most 1")
        self._similarity = similarity
        given = list(dict.fromkeys(captions))
        hashes = hash_words(given)
        _, first = np.unique(hash_sentences(hashes), return_index=True)
        chosen = [given[row] for row in sorted(first.tolist()) if hashes.counts[row]]
        if not chosen:
            raise UsageError("no evaluation caption to look for: give a file with a caption on each line")
        self._captions = chosen
        hashes = hash_words(chosen)
        self._same = Posting(hash_sentences(hashes), np.arange(len(chosen)))
        self._runs = Posting(*_runs(hashes))
        shingles, rows = hash_edged_bigrams(hashes)
        self._bigrams = Posting(shingles, rows)
        keys, present = band_keys(shingles, rows)
        self._bands = Posting(keys.ravel(), np.repeat(present, keys.shape[1]))
        self._normal = [" ".join(word_list(caption)) for caption in chosen]
        self._counts = hashes.counts
        self._kind = np.full(len(chosen), len(KINDS), dtype=np.int64)  # in which each leaked; the lowest is the surest
        self._pairs = self._looked = 0
        self._examples: dict[str, list[LeakExample]] = {kind: [] for kind in KINDS}

    def look(self, texts: Sequence[str], english: Sequence[str], place: Callable[[int], str]) -> NDArray[np.bool_]:
        """Return True for the pairs of a batch, both sides cleaned, that hold a caption [pairs]."""
        leaks = np.zeros(len(texts), dtype=np.bool_)
        for side in (texts, english):
            for kind, row, items in self._leaks(side):
                leaks[row] = True
                self._remember(KINDS.index(kind), items, side[row], place(row))
        self._looked += len(texts)
        self._pairs += int(leaks.sum())
        return leaks

    def report(self) -> LeakReport:
        leaked = {kind: int((self._kind == number).sum()) for number, kind in enumerate(KINDS)}
        examples = [example for kind in KINDS for example in self._examples[kind]]
        return LeakReport(len(self._captions), leaked, self._pairs, self._looked, examples)

    def _leaks(self, side: Sequence[str]) -> Iterable[tuple[str, int, NDArray[np.int64]]]:
        hashes = hash_words(side)
        for row, items in self._same.find(hash_sentences(hashes)):
            yield SAME, row, items
        keys, rows = _runs(hashes)
        for place, items in self._runs.find(keys):
            yield RUN, int(rows[place]), items
        yield from self._near(side, hashes)

    def _near(self, side: Sequence[str], hashes: WordHashes) -> Iterable[tuple[str, int, NDArray[np.int64]]]:
        from rapidfuzz import fuzz

        shingles, rows = hash_edged_bigrams(hashes)
        # Most sentences share few neighboring words with any caption; signatures are made of the others alone.
        shared = np.bincount(rows, weights=self._bigrams.may_hold(shingles), minlength=len(side))
        able = (shared >= _SHARED_BIGRAMS * (hashes.counts + 1)) & (hashes.counts >= _NEAR_WORDS)
        chosen = able[rows]
        keys, present = band_keys(shingles[chosen], rows[chosen])
        candidates: dict[int, set[int]] = {}
        for place, items in self._bands.find(keys.ravel()):
            candidates.setdefault(int(present[place // keys.shape[1]]), set()).update(items.tolist())
        for row, captions in candidates.items():
            sentence = " ".join(word_list(side[row]))
            near = [
                caption for caption in sorted(captions)
                if self._counts[caption] >= _NEAR_WORDS
                and fuzz.ratio(sentence, self._normal[caption], score_cutoff=100 * self._similarity)
            ]  # fmt: skip
            if near:
                yield NEAR, row, np.array(near)

    def _remember(self, number: int, items: NDArray[np.int64], sentence: str, place: str) -> None:
        examples = self._examples[KINDS[number]]
        if len(examples) < EXAMPLES:
            new = items[self._kind[items] > number]
            if len(new):
                examples.append(LeakExample(KINDS[number], self._captions[int(new[0])], sentence, place))
        self._kind[items] = np.minimum(self._kind[items], number)


def _runs(hashes: WordHashes) -> tuple[Keys, NDArray[np.int64]]:
    """Return hashes of the runs that count: of 8 words, or of 13 characters in sentences without spaces."""
    words, word_rows = hash_runs(hashes, WORD_RUN)
    characters, character_rows = hash_runs(hashes, CHARACTER_RUN)
    by_word, by_character = ~hashes.spaceless[word_rows], hashes.spaceless[character_rows]
    keys = np.concatenate((words[by_word], characters[by_character]))
    return keys, np.concatenate((word_rows[by_word], character_rows[by_character]))
