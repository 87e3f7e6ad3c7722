"""Reading of misspelled, split and joined words, by the words of the training sentences that are spelled nearly so.

A noisy channel (Kernighan, Church and Gale 1990) whose result is a mean over all readings; docs/experiments.md, 20 and
37.
"""

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from kivuko.bitext.language_id import language_shares, log_probabilities
from kivuko.bitext.pairs import Bitext
from kivuko.encoders.known_words import WordCounts
from kivuko.encoders.reading import Subwords
from kivuko.text import word_spans, words_normalized

SPELLING_FILE = "spelling.json"
MOST_EDITS = 2  # letters put in, left out, exchanged, or swapped with their neighbor
MOST_WORDS = 50_000  # of all languages; the search for neighbors takes time with their number
_SHORTEST = 3  # letters of a word that may be misspelled: two letters are near too many words
_EDIT = 3.0  # nats that an edit costs
_FREQUENCY = 0.5  # exponent of a word's frequency
_ITSELF = 0.01  # weight of the word as written; a word of frequency 1 without an edit would have 1
_FRAGMENT = 3  # letters of the shorter of two unknown words that may be one word, split
_WHOLE = 0.5  # share of the one word in the reading of such two
_PART = 2  # letters of each of two known words that may have been run together
_UNSEEN_PART = 4  # letters of the one that is not known, beside a known one of three letters or more
_APART = (0.5, 0.9)  # share of the two words in the reading of what may be two, run together: one known, both
_MOST_REMEMBERED = 20_000  # misspelled words whose neighbors are kept in memory: some 12 MB


@dataclass(frozen=True, eq=False)
class _Near:
    """Words near a misspelled one."""

    rows: NDArray[np.int64]  # [near]
    channel: NDArray[np.float64]  # [near], the cost of their edits, as a factor
    spoken: NDArray[np.float64]  # [languages], log probability of all of them in each
    apart: str  # the two words that it may be, run together; "" for none


@dataclass(frozen=True, eq=False)
class SpellingNeighbors(WordCounts):
    """The words of a bitext, by which misspelled ones are read."""

    file: ClassVar[str] = SPELLING_FILE
    in_english: ClassVar[bool] = False
    _row: dict[str, int] = field(init=False, repr=False)
    _near: dict[str, _Near] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_row", {word: row for row, word in enumerate(self.words)})

    @classmethod
    def from_bitext(cls, bitext: Bitext, most: int = MOST_WORDS, *, english: bool = False) -> Self:
        return super().from_bitext(bitext, most, english=english)

    def weighted(self, tokenizer: Tokenizer, texts: Sequence[str]) -> dict[int, Subwords]:
        """Return the subwords of misspelled texts, by the row of the text, and their weights."""
        normalized = [words_normalized(text) for text in texts]
        whole = [self.restored(text) for text in normalized]
        spans = [word_spans(text) for text in whole]
        readings = self._all_readings(
            [[word for word, _, _ in span] for span in spans],
            [_ends(text, span) for text, span in zip(whole, spans, strict=True)],
        )
        rows = [
            row
            for row, text in enumerate(readings)
            if whole[row] != normalized[row] or any(len(own) > 1 for own in text)
        ]
        near = sorted({word for row in rows for own in readings[row] if len(own) > 1 for word in own})
        cut = [one.ids for one in tokenizer.encode_batch_fast(near, add_special_tokens=False)]
        pieces = dict(zip(near, cut, strict=True))
        encoded = tokenizer.encode_batch([whole[row] for row in rows], add_special_tokens=False)
        return {row: _weighed(one, spans[row], readings[row], pieces) for row, one in zip(rows, encoded, strict=True)}

    def sentences(self, texts: Sequence[str]) -> None:
        """Return None: nothing is added to the vectors of texts."""

    def fits(self, vocabulary: int, dim: int) -> bool:
        return True

    def other_readings(self, tokenizer: Tokenizer, text: str) -> dict[str, dict[str, float]]:
        """Return the words that are read as others: word -> {reading: share}, likeliest first."""
        whole = self.restored(words_normalized(text))
        spans = word_spans(whole)
        words = [word for word, _, _ in spans]
        result = zip(words, self.readings(words, _ends(whole, spans)), strict=True)
        ranked = {word: dict(sorted(own.items(), key=lambda entry: -entry[1])) for word, own in result}
        return {word: own for word, own in ranked.items() if next(iter(own)) != word}

    def restored(self, text: str) -> str:
        """Return a text without look-alike letters, and without spaces that split a word of the bitext.

        Of the parts of such a word one at least is no word of the bitext.
        """
        text = text.translate(self._lookalikes)
        spans = word_spans(text)
        if len(spans) < 2:
            return text
        dropped, joined = [], False
        for (first, _, end), (second, start, _) in itertools.pairwise(spans):
            joined = (
                not joined
                and text[end:start].isspace()
                and first + second in self._row
                and not (first in self._row and second in self._row)
            )
            if joined:
                dropped.append((end, start))
        for end, start in reversed(dropped):
            text = text[:end] + text[start:]
        return text

    def readings(self, words: Sequence[str], ends: Collection[int] = ()) -> list[dict[str, float]]:
        """Return the possible readings of each word of a text: word -> share, the shares of a word adding up to 1.

        ``ends``: the places of words that punctuation follows, which are no fragments of a word with the next.
        """
        return self._all_readings([words], [ends])[0]

    def _all_readings(
        self, texts: Sequence[Sequence[str]], ends: Sequence[Collection[int]]
    ) -> list[list[dict[str, float]]]:
        parts = [self._fragments(words, own) for words, own in zip(texts, ends, strict=True)]
        wholes = [words[place] + words[place + 1] for words, own in zip(texts, parts, strict=True) for place in own]
        self._look_for({word for words in (*texts, wholes) for word in words if self._may_be_misspelled(word)})
        return [self._readings(words, own) for words, own in zip(texts, parts, strict=True)]

    def _readings(self, words: Sequence[str], fragments: Sequence[int]) -> list[dict[str, float]]:
        if all(word in self._row for word in words):
            return [{word: 1.0} for word in words]
        spoken = self._language(words)
        result = [self._reading(word, spoken) for word in words]
        for place in fragments:
            whole = self._reading(words[place] + words[place + 1], spoken)
            for at in (place, place + 1):
                mixed = {word: share * (1 - _WHOLE) for word, share in result[at].items()}
                for word, share in whole.items():
                    mixed[word] = mixed.get(word, 0.0) + share * _WHOLE
                result[at] = mixed
        return result

    def _reading(self, word: str, spoken: NDArray[np.float64]) -> dict[str, float]:
        near = self._near[word] if self._may_be_misspelled(word) else None
        if near is None:
            return {word: 1.0}
        if near.apart:
            share = _APART[all(part in self._row for part in near.apart.split())]
            return {word: 1.0 - share, near.apart: share}
        weights = (spoken @ self._frequencies[:, near.rows]) * near.channel
        shares = weights / (weights.sum() + _ITSELF)
        own = {
            self.words[row]: share
            for row, share in zip(near.rows.tolist(), shares.tolist(), strict=True)
            if share > 1e-3
        }
        return {word: 1.0 - sum(own.values()), **own}

    def _fragments(self, words: Sequence[str], ends: Collection[int]) -> list[int]:
        """Return the places of words that may be one word with the next: fragments of it, or a letter and the rest."""
        unknown = [word not in self._row for word in words]
        return [
            place
            for place, (first, second) in enumerate(itertools.pairwise(words))
            if place not in ends
            and any(unknown[place : place + 2])
            and min(len(first), len(second)) <= (_FRAGMENT if all(unknown[place : place + 2]) else 1)
        ]

    def _may_be_misspelled(self, word: str) -> bool:
        return len(word) >= _SHORTEST and word not in self._row

    def _look_for(self, words: set[str]) -> None:
        from rapidfuzz.distance import OSA
        from rapidfuzz.process import cdist

        new = sorted(word for word in words if word not in self._near)
        if new and len(self._near) + len(new) > _MOST_REMEMBERED:
            self._near.clear()
            new = sorted(words)
        for word in new:
            # Two letters at least must be left of a word that was changed so much.
            most = min(MOST_EDITS, len(word) - 2)
            rows = self._candidates(word, most)
            likely = self._listed[rows].tolist()
            distances = cdist([word], likely, scorer=OSA.distance, score_cutoff=most, dtype=np.uint8)[0]
            kept = distances <= most
            channel = np.exp(-_EDIT * distances[kept].astype(np.float64))
            chance = self.counts[:, rows[kept]] @ channel / self.counts.sum(1).clip(min=1)
            apart = "" if (distances[kept] <= 1).any() else self._apart(word, beside_unseen=not kept.any())
            self._near[word] = _Near(rows[kept], channel, np.log(chance + 1e-7), apart)

    def _apart(self, word: str, beside_unseen: bool) -> str:
        """Return the likeliest two words of one language that give ``word`` when run together, "" for none.

        Two known ones, or else, if ``beside_unseen``, the most frequent known one beside one that the bitext lacks.
        """
        best, apart = (0.0, 0.0), ""
        for place in range(_PART, len(word) - _PART + 1):
            parts = word[:place], word[place:]
            known = [part for part in parts if part in self._row]
            unseen = len(word) - sum(map(len, known))
            if not known:
                continue
            if unseen and (not beside_unseen or unseen < _UNSEEN_PART or len(known[0]) < _SHORTEST):
                continue
            chance = float(np.prod([self.counts[:, self._row[part]] for part in known], axis=0).max())
            if chance and (len(known), chance) > best:
                best, apart = (len(known), chance), " ".join(parts)
        return apart

    @cached_property
    def _lookalikes(self) -> dict[int, str]:
        """Letters that no known word has, as the known letters that they look like (Unicode's confusables)."""
        from confusable_homoglyphs import confusables

        known = {letter for word in self.words for letter in word if letter.isalpha()}
        table: dict[int, str] = {}
        for letter in sorted(known):
            for form in dict.fromkeys((letter, letter.upper())):
                for entry in confusables.is_confusable(form, greedy=True) or ():
                    for alike in entry["homoglyphs"]:
                        if len(alike["c"]) == 1 and alike["c"].isalpha() and alike["c"].casefold() not in known:
                            table.setdefault(ord(alike["c"]), letter)
        return table

    def _candidates(self, word: str, edits: int) -> NDArray[np.int64]:
        """Return the rows of the words that may be so near: an edit changes the set of letters by two at most."""
        lengths, letters = self._shapes
        like = np.bitwise_count(letters ^ _letters(word)) <= 2 * edits
        like &= np.abs(lengths - len(word)) <= edits
        return np.flatnonzero(like)

    @cached_property
    def _listed(self) -> NDArray[np.object_]:
        return np.array(self.words, dtype=object)

    @cached_property
    def _frequencies(self) -> NDArray[np.float64]:
        return np.power(self.counts, _FREQUENCY, dtype=np.float64)

    @cached_property
    def _spoken(self) -> NDArray[np.float64]:
        """Log probability of each word in each language, [languages, words]."""
        return log_probabilities(self.counts)

    @cached_property
    def _shapes(self) -> tuple[NDArray[np.int32], NDArray[np.uint64]]:
        return (
            np.array([len(word) for word in self.words], dtype=np.int32),
            np.array([_letters(word) for word in self.words], dtype=np.uint64),
        )

    def _language(self, words: Sequence[str]) -> NDArray[np.float64]:
        result = np.zeros(len(self.languages))
        for word in words:
            if (row := self._row.get(word)) is not None:
                result += self._spoken[:, row]
            elif (near := self._near.get(word)) is not None and len(near.rows):
                result += near.spoken
        return language_shares(result)


def _ends(text: str, spans: Sequence[tuple[str, int, int]]) -> set[int]:
    """Return the places of the words of a text that something but spaces follows."""
    pairs = enumerate(itertools.pairwise(spans))
    return {place for place, ((_, _, end), (_, start, _)) in pairs if not text[end:start].isspace()}


def _letters(word: str) -> np.uint64:
    """Return the set of a word's letters as bits; letters may share one."""
    result = 0
    for letter in word:
        result |= 1 << (ord(letter) % 64)
    return np.uint64(result)


def _weighed(
    encoded: Any,
    spans: Sequence[tuple[str, int, int]],
    readings: Sequence[Mapping[str, float]],
    pieces: Mapping[str, list[int]],
) -> Subwords:
    ids, weights = list(encoded.ids), [1.0] * len(encoded.ids)
    misspelled = [(*span, own) for span, own in zip(spans, readings, strict=True) if len(own) > 1]
    for word, start, end, own in misspelled:
        for place, (first, last) in enumerate(encoded.offsets):
            if first < end and last > start:
                weights[place] = own[word]
        for near, share in own.items():
            if near != word:
                ids += pieces[near]
                weights += [share] * len(pieces[near])
    return ids, weights
