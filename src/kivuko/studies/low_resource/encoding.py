"""Every query of a study encoded once by one system, for all ways of scoring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kivuko.encoders.token_batch import Encoder
from kivuko.studies.low_resource.bench import SPLITS, Bench, unit
from kivuko.translation.translator import Translator
from kivuko.transport import TokenLists

Texts = Mapping[str, Sequence[str]]  # language to distinct texts
_BATCH = 128


@dataclass(frozen=True, eq=False)
class EncodedQueries:
    """``rows``: (language, text) to its row; ``pooled``: unit vectors, float32 [rows, dim]; ``tokens``: per row."""

    rows: Mapping[tuple[str, str], int]
    pooled: NDArray[np.float32]
    tokens: TokenLists


def query_texts(bench: Bench, languages: Sequence[str]) -> dict[str, list[str]]:
    """Return the distinct queries of both splits in each language."""
    return {
        code: list(dict.fromkeys(query.text for split in SPLITS for query in bench.world.queries(code, split)))
        for code in languages
    }


def encode_queries(encoder: Encoder, texts: Texts, mean: NDArray[np.float32] | None = None) -> EncodedQueries:
    """Encode queries as they are.

    Args:
        encoder: a student in evaluation mode, or the teacher.
        mean: taken from every token before it is compared; None: tokens as they are.
    """
    return _encoded(encoder, {(code, text): text for code, own in texts.items() for text in own}, mean)


def encode_translations(
    translator: Translator, encoder: Encoder, texts: Texts, mean: NDArray[np.float32]
) -> EncodedQueries:
    """Translate each query once and encode the English with the teacher.

    Raises:
        ModelError: the translator does not know a language.
    """
    english = {
        (code, text): translation
        for code, own in texts.items()
        for text, translation in zip(own, translator.translate(list(own), code), strict=True)
    }
    return _encoded(encoder, english, mean)


def _encoded(
    encoder: Encoder, spoken: Mapping[tuple[str, str], str], mean: NDArray[np.float32] | None
) -> EncodedQueries:
    """Encode what stands for each query; equal texts once."""
    row_of = {text: row for row, text in enumerate(dict.fromkeys(spoken.values()))}
    pooled, vectors = _encode(encoder, list(row_of))
    lengths = torch.tensor([len(one) for one in vectors], dtype=torch.long)
    tokens = TokenLists(torch.cat(vectors), lengths, None if mean is None else torch.from_numpy(mean))
    return EncodedQueries({query: row_of[text] for query, text in spoken.items()}, unit(pooled.numpy()), tokens)


@torch.no_grad()
def _encode(encoder: Encoder, texts: list[str]) -> tuple[Tensor, list[Tensor]]:
    """Return sentence vectors float32 [texts, dim] and each text's content tokens, from one pass."""
    # Texts of like length go together, which spares padding; the results are put back in order.
    order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
    pooled, found = torch.zeros(len(texts), encoder.dim), [torch.empty(0, encoder.dim)] * len(texts)
    for start in range(0, len(order), _BATCH):
        rows = order[start : start + _BATCH]
        batch = encoder.encode_tokens([texts[row] for row in rows]).to("cpu")
        pooled[rows] = batch.pooled.float()
        for row, vectors in zip(rows, batch.content().float().split(batch.mask.sum(1).tolist()), strict=True):
            found[row] = vectors
    return pooled, found
