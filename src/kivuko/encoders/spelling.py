"""What a misspelt word may have meant: the words of the training sentences that are spelt nearly like it.

A noisy channel, as in Kernighan, Church and Gale 1990 ("A Spelling Correction Program Based on a Noisy Channel Model"),
that does not decide: the misspelt word's vector becomes a mean over what it may be, itself among it. Which language
the text is in it guesses from the other words. Why and how much: docs/experiments.md, 20.
"""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from kivuko.bitext import Bitext, word_list, word_spans
from kivuko.errors import CorruptFileError

FILE = "spelling.json"
MOST_EDITS = 2  # letters put in, left out, exchanged, or swapped with their neighbour
MOST_WORDS = 50_000  # of all languages; the search for neighbours takes time with their number
_SHORTEST = 3  # letters of a word that may be misspelt: of two letters anything can be made
_EDIT = 3.0  # nats that an edit costs
_FREQUENCY = 0.5  # exponent of a word's frequency
_ITSELF = 0.03  # weight of the word as it stands; a word of frequency 1 without an edit would have 1
_SMOOTHING = 0.1  # added to counts where languages are told apart
_TOGETHER = 256  # words that are searched for at a time
_MOST_REMEMBERED = 200_000

Subwords = tuple[list[int], list[float] | None]  # numbers, and their weights where they are not all 1
_Near = tuple[NDArray[np.int64], NDArray[np.float64]]  # rows of the words, their distances in edits


@dataclass(frozen=True, eq=False)
class SpellingNeighbours:
    """The words of a bitext, by which misspelt ones are read.

    Attributes:
        languages: BCP 47 codes.
        words: case folded.
        counts: float32 [languages, words], times that a word stands in the sentences of a language.
    """

    languages: tuple[str, ...]
    words: tuple[str, ...]
    counts: NDArray[np.float32]
    _row: dict[str, int] = field(init=False, repr=False)
    _near: dict[str, _Near] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_row", {word: row for row, word in enumerate(self.words)})

    @classmethod
    def from_bitext(cls, bitext: Bitext, most: int = MOST_WORDS) -> SpellingNeighbours:
        """Count the words of a bitext's own sentences; of more than ``most`` the rarest are left out."""
        counted = {
            code: Counter(word for pair in pairs for word in word_list(unicodedata.normalize("NFKC", pair.text)))
            for code, pairs in bitext.by_language().items()
        }
        total: Counter[str] = sum(counted.values(), Counter())
        words = sorted(total, key=lambda word: (-total[word], word))[:most]
        counts = np.array([[own[word] for word in words] for own in counted.values()], dtype=np.float32)
        return cls(tuple(counted), tuple(words), counts.reshape(len(counted), len(words)))

    def subwords(self, tokenizer: Tokenizer, texts: Sequence[str]) -> list[Subwords]:
        """Return the subwords that the vector of each text is a weighted mean of.

        A text of known words, or of words that are like no known one, has its own subwords and no weights. Of a word
        that may be misspelt, the own subwords count less, and those of its neighbours come in.
        """
        whole = [unicodedata.normalize("NFKC", text) for text in texts]
        spans = [word_spans(text) for text in whole]
        self._look_for({word for found in spans for word, _, _ in found if self._may_be_misspelt(word)})
        readings = [self.readings([word for word, _, _ in found]) for found in spans]
        near = sorted({word for text in readings for own in text if len(own) > 1 for word in own})
        cut = [one.ids for one in tokenizer.encode_batch_fast(near, add_special_tokens=False)]
        pieces = dict(zip(near, cut, strict=True))
        encoded = tokenizer.encode_batch(whole, add_special_tokens=False)
        return [_weighed(*one, pieces) for one in zip(encoded, spans, readings, strict=True)]

    def readings(self, words: Sequence[str]) -> list[dict[str, float]]:
        """Return what each word of a text may be: word -> share, the shares of a word adding up to 1.

        Args:
            words: all words of the text, case folded, in order: they tell its language.
        """
        self._look_for({word for word in words if self._may_be_misspelt(word)})
        spoken: NDArray[np.float64] | None = None
        found = []
        for word in words:
            rows, distances = self._near.get(word, _NOTHING) if self._may_be_misspelt(word) else _NOTHING
            if not len(rows):
                found.append({word: 1.0})
                continue
            spoken = self._language(words) if spoken is None else spoken
            weights = (spoken @ self.counts[:, rows] ** _FREQUENCY) * np.exp(-_EDIT * distances)
            shares = weights / (weights.sum() + _ITSELF)
            own = {self.words[row]: float(share) for row, share in zip(rows, shares, strict=True) if share > 1e-3}
            found.append({word: 1.0 - sum(own.values()), **own})
        return found

    def save(self, folder: Path) -> None:
        """Write the words into a model's folder."""
        rows = [{w: int(n) for w, n in zip(self.words, own, strict=True) if n} for own in self.counts]
        content = json.dumps({"counts": dict(zip(self.languages, rows, strict=True))}, ensure_ascii=False)
        (folder / FILE).write_text(content + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path | str) -> SpellingNeighbours | None:
        """Read the words of a model; None if it has none.

        Raises:
            CorruptFileError: the file is there but damaged.
        """
        file = Path(folder) / FILE
        if not file.is_file():
            return None
        try:
            counted: dict[str, dict[str, int]] = json.loads(file.read_text(encoding="utf-8"))["counts"]
            words = tuple(dict.fromkeys(word for own in counted.values() for word in own))
            counts = np.array([[own.get(word, 0) for word in words] for own in counted.values()], dtype=np.float32)
            if not counts.size or not np.isfinite(counts).all() or (counts < 0).any():
                raise ValueError("not counts of words")
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as problem:
            raise CorruptFileError(f"{file}: corrupted or of another version. Make the model again.") from problem
        return cls(tuple(counted), words, counts)

    def _may_be_misspelt(self, word: str) -> bool:
        return len(word) >= _SHORTEST and word not in self._row

    def _look_for(self, words: set[str]) -> None:
        from rapidfuzz.distance import OSA
        from rapidfuzz.process import cdist

        new = sorted(words - self._near.keys())
        if len(self._near) + len(new) > _MOST_REMEMBERED:
            self._near.clear()
            new = sorted(words)
        for start in range(0, len(new), _TOGETHER):
            part = new[start : start + _TOGETHER]
            distances = cdist(part, self.words, scorer=OSA.distance, score_cutoff=MOST_EDITS, dtype=np.uint8)
            for word, own in zip(part, distances, strict=True):
                # At least two letters must be left of a word that was changed so much.
                rows = np.flatnonzero(own <= min(MOST_EDITS, len(word) - 2))
                self._near[word] = rows, own[rows].astype(np.float64)

    def _language(self, words: Sequence[str]) -> NDArray[np.float64]:
        """Return how probable each language is, [languages], by the words, misspelt ones among them."""
        totals = self.counts.sum(1)
        found = np.zeros(len(self.languages))
        for word in words:
            row = self._row.get(word)
            if row is not None:
                found += np.log((self.counts[:, row] + _SMOOTHING) / (totals + _SMOOTHING * len(self.words)))
            elif self._may_be_misspelt(word) and len(self._near[word][0]):
                rows, distances = self._near[word]
                found += np.log(self.counts[:, rows] @ np.exp(-_EDIT * distances) / totals.clip(min=1) + 1e-7)
        likely = np.exp(found - found.max())
        shares: NDArray[np.float64] = likely / likely.sum()
        return shares


_NOTHING: _Near = (np.zeros(0, dtype=np.int64), np.zeros(0))


def _weighed(
    encoded: Any,
    spans: Sequence[tuple[str, int, int]],
    readings: Sequence[Mapping[str, float]],
    pieces: Mapping[str, list[int]],
) -> Subwords:
    ids, weights = list(encoded.ids), [1.0] * len(encoded.ids)
    misspelt = [(*span, own) for span, own in zip(spans, readings, strict=True) if len(own) > 1]
    for word, start, end, own in misspelt:
        for place, (first, last) in enumerate(encoded.offsets):
            if first < end and last > start:
                weights[place] = own[word]
        for near, share in own.items():
            if near != word:
                ids += pieces[near]
                weights += [share] * len(pieces[near])
    return ids, weights if misspelt else None
