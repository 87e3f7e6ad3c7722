"""How often each word stands in a model's training sentences of each language: what tells the language of a query."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kivuko.bitext import Bitext, word_list
from kivuko.errors import CorruptFileError

FILE = "words.json"
MOST_WORDS = 30_000  # of all languages
ENGLISH = "en"


@dataclass(frozen=True, eq=False)
class WordCounts:
    """Words and where they stand.

    Attributes:
        languages: BCP 47 codes.
        words: case folded.
        counts: float32 [languages, words], times that a word stands in the sentences of a language.
    """

    languages: tuple[str, ...]
    words: tuple[str, ...]
    counts: NDArray[np.float32]

    @classmethod
    def from_bitext(cls, bitext: Bitext, most: int = MOST_WORDS, *, english: bool = True) -> WordCounts:
        """Count the words of a bitext; of more than ``most`` the rarest are left out.

        Args:
            english: count the English sides too.
        """
        sentences = {code: [pair.text for pair in pairs] for code, pairs in bitext.by_language().items()}
        if english:
            sentences[ENGLISH] = list(dict.fromkeys(pair.english for pair in bitext.pairs))
        counted = {
            code: Counter(word for text in texts for word in word_list(unicodedata.normalize("NFKC", text)))
            for code, texts in sentences.items()
        }
        total: Counter[str] = sum(counted.values(), Counter())
        words = sorted(total, key=lambda word: (-total[word], word))[:most]
        counts = np.array([[own[word] for word in words] for own in counted.values()], dtype=np.float32)
        return cls(tuple(counted), tuple(words), counts.reshape(len(counted), len(words)))

    def save(self, file: Path) -> None:
        """Write them as JSON."""
        rows = [{w: int(n) for w, n in zip(self.words, own, strict=True) if n} for own in self.counts]
        content = json.dumps({"counts": dict(zip(self.languages, rows, strict=True))}, ensure_ascii=False)
        file.write_text(content + "\n", encoding="utf-8")

    @classmethod
    def load(cls, file: Path) -> WordCounts | None:
        """Read them; None if there is no such file.

        Raises:
            CorruptFileError: the file is there but damaged.
        """
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
