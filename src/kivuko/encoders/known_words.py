"""The known words of a model: the words of its training sentences with their frequencies (``words.json``)."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from kivuko.bitext.pairs import Bitext
from kivuko.errors import unreadable
from kivuko.text import word_list, words_normalized

WORDS_FILE = "words.json"
MOST_COUNTED_WORDS = 100_000  # of all languages
ENGLISH = "en"


@dataclass(frozen=True, eq=False)
class WordCounts:
    """Words, and their frequencies in each language."""

    languages: tuple[str, ...]  # BCP 47 codes
    words: tuple[str, ...]  # case folded
    counts: NDArray[np.float32]  # float32 [languages, words], occurrences of a word in the sentences of a language

    @classmethod
    def from_bitext(cls, bitext: Bitext, most: int = MOST_COUNTED_WORDS, *, english: bool = True) -> Self:
        """Count the words of a bitext; of more than ``most`` the rarest are left out."""
        sentences = {code: [pair.text for pair in pairs] for code, pairs in bitext.by_language().items()}
        if english:
            sentences[ENGLISH] = list(dict.fromkeys(pair.english for pair in bitext.pairs))
        counted = {
            code: Counter(word for text in texts for word in word_list(words_normalized(text)))
            for code, texts in sentences.items()
        }
        total: Counter[str] = sum(counted.values(), Counter())
        words = sorted(total, key=lambda word: (-total[word], word))[:most]
        counts = np.array([[own[word] for word in words] for own in counted.values()], dtype=np.float32)
        return cls(tuple(counted), tuple(words), counts.reshape(len(counted), len(words)))

    def save(self, file: Path) -> None:
        rows = [{w: int(n) for w, n in zip(self.words, own, strict=True) if n} for own in self.counts]
        content = json.dumps({"counts": dict(zip(self.languages, rows, strict=True))}, ensure_ascii=False)
        file.write_text(content + "\n", encoding="utf-8")

    @classmethod
    def load(cls, file: Path) -> Self | None:
        if not file.is_file():
            return None
        try:
            counted: dict[str, dict[str, int]] = json.loads(file.read_text(encoding="utf-8"))["counts"]
            words = tuple(dict.fromkeys(word for own in counted.values() for word in own))
            counts = np.array([[own.get(word, 0) for word in words] for own in counted.values()], dtype=np.float32)
            if not counts.size or not np.isfinite(counts).all() or (counts < 0).any():
                raise ValueError("not counts of words")
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as problem:
            what = f"{file}: corrupted or of another version. Make the model again."
            raise unreadable(file, problem, what) from problem
        return cls(tuple(counted), words, counts)
