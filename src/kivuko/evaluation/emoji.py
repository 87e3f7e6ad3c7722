"""Text-to-image retrieval in the emoji world: every query in a language, all images as the gallery."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kivuko.datasets.emoji import EmojiWorld
from kivuko.evaluation.run import PROTOCOL, per_query
from kivuko.evaluation.summary import LanguageScores

EncodeTexts = Callable[[Sequence[str]], NDArray[np.float32]]
DATASET = "emoji"


def score_languages(
    encode: EncodeTexts,
    images: NDArray[np.float32],
    world: EmojiWorld,
    languages: Sequence[str],
    split: str = "test",
) -> list[LanguageScores]:
    """Search every query of a split in all images.

    Args:
        encode: texts -> unit vectors, float32 [texts, dim].
        images: unit vectors of all images, float32 [images, dim].
        languages: codes, "en" for the English names.

    Returns:
        One entry per language, see :func:`measure_queries`.
    """
    return [measure_queries(lambda texts: encode(texts) @ images.T, world, code, split) for code in languages]


def measure_queries(
    score: Callable[[Sequence[str]], ArrayLike], world: EmojiWorld, language: str, split: str
) -> LanguageScores:
    """Measure the queries of one language, each of which should find its own image, or that image's document.

    Args:
        score: texts -> [texts, images], higher is better, columns as in ``world.image_sequences``.
        language: code, "en" for the English names.

    Returns:
        Subsets "copied", "compositional" and "lexical" (the latter two without copied queries); clusters: concepts.
    """
    documents = world.image_sequences
    queries = world.queries(language, split)
    ids = [query.id for query in queries]
    qrels = {query.id: {documents[query.image]} for query in queries}
    copied = np.array([query.copied for query in queries], dtype=bool)
    compositional = np.array([query.compositional for query in queries], dtype=bool)
    return LanguageScores(
        language=language,
        query_ids=ids,
        values=per_query(score([query.text for query in queries]), ids, documents, qrels),
        subsets={
            "copied": copied,
            "compositional": compositional & ~copied,
            "lexical": ~compositional & ~copied,
        },
        clusters=[query.concept for query in queries],
    )


def protocol(world: EmojiWorld, split: str) -> dict[str, Any]:
    """Say what the numbers mean: for the records' header."""
    return {
        **PROTOCOL,
        "dataset": DATASET,
        "split": split,
        "task": "text to image: one query per emoji name, one relevant image per query",
        "gallery": f"all {len(world.images)} distinct emoji images of every split, on white",
        "intervals": "95 % percentile bootstrap over concepts, drawn together in all languages; Poisson, 2,000 samples",
        "headline": "queries equal to the English name (copied) are left out",
        "fingerprint": world.fingerprint,
    }
