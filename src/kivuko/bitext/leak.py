"""Whether training text holds the captions that a model is going to be evaluated on.

800 of XTD's 1,000 pictures, for one, are in MSCOCO's training set, so their captions may well be in bitext made of it.
Both sides of a pair are held against captions of any language, in three ways, the surest first:

- the same words in the same order, whatever case and punctuation;
- a run of 8 words in common (13 characters in scripts that write no spaces), as is usual for test sets of language
  models (Brown et al. 2020, appendix C, use 13 words of longer texts);
- nearly the same words: candidates by MinHash, held to a normalized edit similarity.

What is remembered grows with the captions, not with the training text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kivuko.bitext.bloom_filter import Keys
from kivuko.bitext.min_hash import band_keys
from kivuko.bitext.posting import Posting
from kivuko.bitext.shingles import WordHashes, hash_edged_bigrams, hash_runs, hash_sentences, hash_words
from kivuko.bitext.words import word_list
from kivuko.errors import UsageError

SAME, RUN, NEAR = "the same words", "a long run of words in common", "nearly the same words"
KINDS = (SAME, RUN, NEAR)  # the surest first
WORD_RUN, CHARACTER_RUN = 8, 13

_NEAR_WORDS = 4  # shorter captions are not held to be nearly anything
_SHARED_BIGRAMS = 0.4  # of a sentence's, without which it is near no caption
EXAMPLES = 5  # that are kept of each kind


class LeakExample(NamedTuple):
    """A caption and where it was found."""

    kind: str
    caption: str
    sentence: str
    place: str


@dataclass
class LeakReport:
    """What was found so far.

    Attributes:
        captions: different captions that were looked for.
        found: kind -> captions that were found so and not in a surer way.
        pairs: pairs of the training text in which any was found.
        looked: pairs that were looked at.
        examples: the first few of each kind.
    """

    captions: int
    found: dict[str, int] = field(default_factory=dict)
    pairs: int = 0
    looked: int = 0
    examples: list[LeakExample] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Captions that were found in any way."""
        return sum(self.found.values())

    @property
    def share(self) -> float:
        """Of the captions, those that were found, 0 to 1."""
        return self.total / self.captions if self.captions else 0.0


class LeakCheck:
    """Looks for captions in the pairs of a training text, batch after batch.

    Args:
        captions: of any language; those without a letter or number are left out.
        similarity: of two sentences that are nearly the same, over 0.5 and up to 1 (the share of characters that
            stay when one is edited into the other, insertions and deletions counted).

    Raises:
        UsageError: there is no caption, or ``similarity`` is out of range.
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
        self._kind = np.full(len(chosen), len(KINDS), dtype=np.int64)  # how each was found; the lowest is the surest
        self._pairs = self._looked = 0
        self._examples: dict[str, list[LeakExample]] = {kind: [] for kind in KINDS}

    def look(self, texts: Sequence[str], english: Sequence[str], place: Callable[[int], str]) -> NDArray[np.bool_]:
        """Look for captions in a batch of pairs, on both sides.

        Args:
            texts, english: cleaned sides.
            place: gives the place of a pair, for the examples.

        Returns:
            Which pairs hold a caption [pairs].
        """
        leaks = np.zeros(len(texts), dtype=np.bool_)
        for side in (texts, english):
            for kind, row, items in self._found(side):
                leaks[row] = True
                self._remember(KINDS.index(kind), items, side[row], place(row))
        self._looked += len(texts)
        self._pairs += int(leaks.sum())
        return leaks

    def report(self) -> LeakReport:
        """Return what was found so far."""
        found = {kind: int((self._kind == number).sum()) for number, kind in enumerate(KINDS)}
        examples = [example for kind in KINDS for example in self._examples[kind]]
        return LeakReport(len(self._captions), found, self._pairs, self._looked, examples)

    def _found(self, side: Sequence[str]) -> Iterable[tuple[str, int, NDArray[np.int64]]]:
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
        # Most sentences share few neighbouring words with any caption; signatures are made of the others alone.
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
    """Hashes of the runs that count: of 8 words, or of 13 characters in sentences without spaces."""
    words, word_rows = hash_runs(hashes, WORD_RUN)
    characters, character_rows = hash_runs(hashes, CHARACTER_RUN)
    by_word, by_character = ~hashes.spaceless[word_rows], hashes.spaceless[character_rows]
    keys = np.concatenate((words[by_word], characters[by_character]))
    return keys, np.concatenate((word_rows[by_word], character_rows[by_character]))
