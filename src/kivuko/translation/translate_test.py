"""Translate-test: a query goes through machine translation, and the English teacher searches with what comes out.

The baseline that OPTICAL (Huang, Yu and Allan 2023, arXiv 2301.12566) calls the translation method.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from kivuko.errors import UsageError
from kivuko.translation.translator import Progress, Translator

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

    Args:
        encode_english: English texts -> float32 [texts, dim], the teacher's.
        language: BCP 47 code; "en" texts go to the encoder as they are.
        batch_size: texts handed to the translator at a time; ``progress`` is told (done, total) after each such batch.

    Returns:
        texts -> unit vectors, float32 [texts, dim], in order; a translation that encodes to zero stays zero.
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
