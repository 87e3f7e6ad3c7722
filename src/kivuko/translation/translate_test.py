"""Translators into English: their protocol, the translate-test baseline, and chrF to score them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Translator(Protocol):
    """Any translator into English."""

    @property
    def name(self) -> str:
        """A short name for tables and records."""
        ...

    def translate(self, texts: list[str], language: str) -> list[str]:
        """Translate texts, all in one language (BCP 47), into English, in order; an empty text stays empty."""
        ...


EncodeTexts = Callable[[Sequence[str]], NDArray[np.float32]]


def translate_test(translator: Translator, encode_english: EncodeTexts, language: str) -> EncodeTexts:
    """Return a function from texts in ``language`` to the English encoder's vectors of their translations.

    The baseline that OPTICAL (Huang, Yu and Allan 2023, arXiv 2301.12566) calls the translation method. Each distinct
    text is translated once; English is not translated.
    """
    english: dict[str, str] = {}

    def encode(texts: Sequence[str]) -> NDArray[np.float32]:
        new = [] if language == "en" else [text for text in dict.fromkeys(texts) if text not in english]
        if new:  # all at once: the translator batches texts of like length
            english.update(zip(new, translator.translate(new, language), strict=True))
        return encode_english([english.get(text, text) for text in texts])

    return encode


_ORDERS, _BETA = range(1, 7), 2.0


def chrf(translations: Sequence[str], references: Sequence[str]) -> float:
    """Return chrF over a whole collection, 0 to 1; case and white space are ignored.

    Popović 2015, "chrF: character n-gram F-score for automatic MT evaluation": n = 1 to 6, recall counts twice; the
    mean of the F-scores of all n (sacrebleu takes the F-score of their mean precision and recall).

    >>> chrf(["black cat"], ["Black cat"])
    1.0
    """
    scores = []
    for order in _ORDERS:
        matched = written = wanted = 0
        for translation, reference in zip(translations, references, strict=True):
            counts, expected = _ngrams(translation, order), _ngrams(reference, order)
            matched += (counts & expected).total()
            written, wanted = written + counts.total(), wanted + expected.total()
        if wanted:  # a collection of short words has no long n-grams
            precision, recall = matched / max(written, 1), matched / wanted
            both = _BETA**2 * precision + recall
            scores.append((1 + _BETA**2) * precision * recall / both if both else 0.0)
    return sum(scores) / len(scores) if scores else 0.0


def _ngrams(text: str, order: int) -> Counter[str]:
    letters = "".join(text.casefold().split())
    return Counter(letters[start : start + order] for start in range(len(letters) - order + 1))
