"""Text-to-text retrieval across languages in the emoji world: queries in a language, English documents of all images.

The queries, their subsets and their clusters are those of :mod:`kivuko.evaluation.emoji`; a document is what people
call an image in English, see :func:`kivuko.datasets.emoji.world.english_documents`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import ArrayLike

from kivuko.datasets.emoji import EmojiWorld
from kivuko.evaluation import emoji
from kivuko.evaluation.emoji import measure_queries
from kivuko.evaluation.summary import LanguageScores

DATASET = "emoji-text"


def score_documents(
    score: Callable[[Sequence[str]], ArrayLike], world: EmojiWorld, languages: Sequence[str], split: str = "test"
) -> list[LanguageScores]:
    """Search every query of a split in the English documents of all splits; its own document is the relevant one.

    Args:
        score: texts -> [texts, documents], higher is better, columns as in ``english_documents(world)``. One vector per
            text, ``lambda texts: encode(texts) @ documents.T``, or MaxSim, ``lambda texts:
            maxsim(encode_token_lists(student, texts), tokens_of_documents).numpy()``, serve alike.
        languages: codes, "en" for the English names.

    Returns:
        One entry per language, see :func:`kivuko.evaluation.emoji.measure_queries`.
    """
    return [measure_queries(score, world, code, split) for code in languages]


def protocol(world: EmojiWorld, split: str) -> dict[str, Any]:
    """Say what the numbers mean: for the records' header."""
    return {
        **emoji.protocol(world, split),
        "dataset": DATASET,
        "task": "text to English text: one query per emoji name, one relevant document per query",
        "gallery": f"{len(world.images)} documents, one for each distinct emoji image of every split: the English "
        "names and keywords of the emoji that are drawn so",
    }
