"""First subword vectors that know which words translate each other.

A transformer with random vectors spends its first thousands of steps finding out which word goes with which; counting
tells that at once. Each subword is described by the English sentences whose pairs it occurs in, on either side: Levy,
Søgaard and Goldberg 2017, "A Strong Baseline for Learning Cross-Lingual Word Embeddings from Sentence Alignments".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from kivuko.translation.batches import Numbered

_MOST_SENTENCES = 20_000  # columns; rarer sentences than these many share columns, which memory asks for


def sentence_vectors(
    sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]], subwords: int, width: int, seed: int
) -> Tensor:
    """Return one vector per subword, float32 [subwords, width], of length 1; a subword that never occurs gets a zero.

    The vectors are the left singular vectors, each times the square root of its singular value, of the positive
    pointwise mutual information between subwords and English sentences.

    Args:
        sources, targets: the two sides of every pair, as subword numbers.
        seed: of the randomised decomposition.
    """
    column = {english: place for place, english in enumerate(dict.fromkeys(map(tuple, targets)))}
    columns = min(len(column), _MOST_SENTENCES)
    counts = torch.zeros(subwords, columns)
    for source, target in zip(sources, targets, strict=True):
        place = column[tuple(target)] % columns
        counts[torch.tensor([*source, *target]), place] = 1.0
    total, rows, sums = counts.sum(), counts.sum(1, keepdim=True), counts.sum(0, keepdim=True)
    information = (counts * total / (rows * sums).clamp(min=1e-12)).clamp(min=1.0).log()
    torch.manual_seed(seed)
    rank = min(width, *information.shape)
    left, singular, _ = torch.svd_lowrank(information, q=rank, niter=3)
    vectors = torch.zeros(subwords, width)
    vectors[:, :rank] = left * singular.sqrt()
    unit: Tensor = vectors / vectors.norm(dim=1, keepdim=True).clamp(min=1e-12)
    return torch.where(rows > 0, unit, 0.0)  # the decomposition leaves rounding where nothing was counted


@torch.no_grad()
def start_from_counts(model: Any, pairs: Numbered, seed: int) -> None:
    """Give the subwords of ``pairs`` their ``sentence_vectors``, and let the decoder pass on what it attends to.

    With vectors in which translations are alike, and value and output projections of the attention to the source that
    are the identity, the untrained model already favours the translations of the words in front of it.
    """
    read, written = model.get_encoder().embed_tokens.weight, model.get_decoder().embed_tokens.weight
    found = sentence_vectors(pairs.source, pairs.target, read.shape[0], read.shape[1], seed)
    for weight in (read, written):
        own = found[: len(weight)]
        weight.copy_(torch.where(own.any(1, keepdim=True), own, weight))
    for layer in model.get_decoder().layers:
        for projection in (layer.encoder_attn.v_proj, layer.encoder_attn.out_proj):
            projection.weight.copy_(torch.eye(len(projection.weight)))
