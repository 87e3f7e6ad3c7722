"""Text-to-image retrieval in the emoji world: every query in a language, all images as the gallery."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kivuko.datasets.emoji.world import EmojiWorld
from kivuko.evaluation.evaluator import EncodedQueries
from kivuko.evaluation.group_means import LanguageScores
from kivuko.evaluation.measures import PROTOCOL, per_query

DATASET, DOCUMENTS = "emoji", "emoji-text"


@dataclass(frozen=True, eq=False)
class EmojiTask:
    """One split's queries against all images; ``images``: unit vectors, float32 [images, dim]."""

    world: EmojiWorld
    images: NDArray[np.float32]
    split: str = "test"
    scoring: str = "cosine"
    has_english: bool = True

    @cached_property
    def _texts(self) -> dict[str, list[str]]:
        return {}

    def texts(self, language: str) -> list[str]:
        if language not in self._texts:
            self._texts[language] = [query.text for query in self.world.queries(language, self.split)]
        return self._texts[language]

    def measure(self, queries: Iterable[EncodedQueries]) -> Iterator[tuple[EncodedQueries, dict[str, LanguageScores]]]:
        for one in queries:
            scores = one.vectors @ self.images.T
            yield one, {DATASET: measure_queries(scores, self.world, one.language, self.split)}

    def protocol(self, languages: Sequence[str]) -> dict[str, Any]:
        return {**protocol(self.world, self.split), "languages": list(languages)}


def measure_queries(scores: ArrayLike, world: EmojiWorld, language: str, split: str) -> LanguageScores:
    """Measure the queries of one language, each of which should retrieve its own image, or that image's document.

    ``scores``: [queries, images], rows as in ``world.queries``, columns as in ``world.image_sequences``. Subsets are
    "copied", "compositional" (seen words only) and "lexical" (with unseen words); clusters are concepts.
    """
    documents = world.image_sequences
    queries = world.queries(language, split)
    ids = [query.id for query in queries]
    qrels = {query.id: {documents[query.image]} for query in queries}
    copied = np.array([query.copied for query in queries], dtype=bool)
    seen = np.array([query.compositional for query in queries], dtype=bool)
    return LanguageScores(
        language=language,
        query_ids=ids,
        values=per_query(scores, ids, documents, qrels),
        subsets={"copied": copied, "compositional": seen & ~copied, "lexical": ~seen & ~copied},
        clusters=[query.concept for query in queries],
    )


def protocol(world: EmojiWorld, split: str) -> dict[str, Any]:
    """Return the protocol for the records' header."""
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


def documents_protocol(world: EmojiWorld, split: str) -> dict[str, Any]:
    """Return the protocol of searching English documents, an image's names and keywords, in place of images."""
    return {
        **protocol(world, split),
        "dataset": DOCUMENTS,
        "task": "text to English text: one query per emoji name, one relevant document per query",
        "gallery": f"{len(world.images)} documents, one for each distinct emoji image of every split: the English "
        "names and keywords of the emoji that are drawn so",
    }
