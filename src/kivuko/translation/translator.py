"""Translators into English: their protocol, the translate-test baseline, and chrF to score them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kivuko.errors import UsageError

Progress = Callable[[int, int], None]  # (done, total)


class Translator(Protocol):
    """Any translator into English."""

    @property
    def name(self) -> str:
        """A short name for tables and records."""
        ...

    def translate(self, texts: list[str], language: str) -> list[str]:
        """Translate texts into English, one translation per text, in order; an empty text gives an empty text.

        Args:
            texts: all in one language.
            language: its BCP 47 code.

        Raises:
            ModelError: the translator does not know the language.
        """
        ...


EncodeTexts = Callable[[Sequence[str]], NDArray[np.float32]]


def translate_test(
    translator: Translator,
    encode_english: EncodeTexts,
    language: str,
    *,
    batch_size: int = 256,
    progress: Progress | None = None,
) -> EncodeTexts:
    """Return a function from texts in ``language`` to the English encoder's unit vectors of their translations.

    The baseline that OPTICAL (Huang, Yu and Allan 2023, arXiv 2301.12566) calls the translation method.

    Args:
        encode_english: the teacher: English texts -> float32 [texts, dim].
        language: BCP 47 code; "en" texts are encoded as they are.
        batch_size: texts translated at a time; ``progress`` is called with (done, total) after each batch.

    Returns:
        texts -> unit vectors, float32 [texts, dim]; a translation that encodes to zero stays zero.
    """
    if batch_size < 1:
        raise UsageError(f"batch size {batch_size}: give at least 1")

    def encode(texts: Sequence[str]) -> NDArray[np.float32]:
        english: list[str] = list(texts) if language == "en" else []
        for start in range(len(english), len(texts), batch_size):
            english += translator.translate(list(texts[start : start + batch_size]), language)
            if progress:
                progress(len(english), len(texts))
        vectors = np.asarray(encode_english(english), dtype=np.float32)
        unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(min=1e-12)
        return unit

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
            found, expected = _ngrams(translation, order), _ngrams(reference, order)
            matched += (found & expected).total()
            written, wanted = written + found.total(), wanted + expected.total()
        if wanted:  # a collection of short words has no long n-grams
            precision, recall = matched / max(written, 1), matched / wanted
            both = _BETA**2 * precision + recall
            scores.append((1 + _BETA**2) * precision * recall / both if both else 0.0)
    return sum(scores) / len(scores) if scores else 0.0


def _ngrams(text: str, order: int) -> Counter[str]:
    letters = "".join(text.casefold().split())
    return Counter(letters[start : start + order] for start in range(len(letters) - order + 1))
