"""Which of a model's languages, or English, a query looks like: by words that the model knows, else by its script."""

from __future__ import annotations

import contextlib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kivuko.bitext import word_list
from kivuko.encoders.bundle import read_about
from kivuko.encoders.word_counts import ENGLISH, WordCounts
from kivuko.encoders.word_counts import FILE as WORDS
from kivuko.errors import KivukoError
from kivuko.languages import language
from kivuko.report.lettering import script_of

_SMOOTHING = 0.1  # added to counts, as where misspelt words are read
_SURE = 0.6  # share of the likeliest language below which none is named
_UNSAID = ("Latn", "Zzzz")  # scripts that tell nothing: most languages are written in Latin letters


@dataclass(frozen=True)
class LanguageGuess:
    """A language, and how sure it is.

    Attributes:
        code: BCP 47; ``und`` where none can be told.
        name: in English; ``unknown`` where none can be told.
        share: probability among the model's languages, 0 to 1; 0 where none can be told.
        basis: ``words``, ``script`` or ``none``.
    """

    code: str = "und"
    name: str = "unknown"
    share: float = 0.0
    basis: str = "none"


UNKNOWN = LanguageGuess()


class LanguageGuesser:
    """Tells the language of queries among those that a model was trained on.

    Args:
        languages: BCP 47 codes.
        words, counts: how often each word stands in each language's training sentences, [languages, words]; without
            them only the script tells.
    """

    def __init__(
        self,
        languages: Sequence[str],
        words: Sequence[str] = (),
        counts: NDArray[np.float32] | None = None,
    ) -> None:
        self._languages = [language(code) for code in languages]
        self._row = {word: row for row, word in enumerate(words)}
        if counts is not None and len(words):
            smooth = counts.astype(np.float64) + _SMOOTHING
            self._spoken = np.log(smooth / smooth.sum(1, keepdims=True))  # [languages, words]

    @property
    def codes(self) -> tuple[str, ...]:
        """BCP 47 codes of the languages that the model was taught; English it has from its teacher."""
        return tuple(one.code for one in self._languages if one.code != ENGLISH)

    @classmethod
    def of(cls, model: Any, folder: Path | str) -> LanguageGuesser:
        """Make one of a loaded model and its folder, with whatever they tell."""
        route = model[0].sub_modules["text"] if hasattr(model[0], "sub_modules") else model
        with contextlib.suppress(KivukoError):  # what a model says of itself is not needed to search with it
            if (words := WordCounts.load(Path(folder) / WORDS)) is not None:
                return cls(words.languages, words.words, words.counts)
        spelling = getattr(route[0], "spelling", None)  # of a model from before there was such a file
        if spelling is not None:
            return cls(spelling.languages, spelling.words, spelling.counts)
        with contextlib.suppress(KivukoError):
            about = read_about(folder)
            return cls(about.languages if about else ())
        return cls(())

    def guess(self, text: str, readings: Mapping[str, Mapping[str, float]]) -> LanguageGuess:
        """Guess the language of a text.

        Args:
            readings: its misspelt words and what they may be, as ``misspelt_words`` tells.
        """
        words = word_list(unicodedata.normalize("NFKC", text))
        evidence = [(near, share) for word in words for near, share in readings.get(word, {word: 1.0}).items()]
        known = [(self._row[word], share) for word, share in evidence if word in self._row]
        return self._by_words(known) if known else self._by_script(text)

    def _by_words(self, known: Sequence[tuple[int, float]]) -> LanguageGuess:
        told = sum(self._spoken[:, row] * share for row, share in known)
        likely = np.exp(told - np.max(told))
        shares = likely / likely.sum()
        best = int(shares.argmax())
        if shares[best] < _SURE:
            return UNKNOWN
        found = self._languages[best]
        return LanguageGuess(found.code, found.name, float(shares[best]), "words")

    def _by_script(self, text: str) -> LanguageGuess:
        script = script_of(text)
        found = [one for one in self._languages if one.script == script and script not in _UNSAID]
        return LanguageGuess(found[0].code, found[0].name, 1.0, "script") if len(found) == 1 else UNKNOWN
