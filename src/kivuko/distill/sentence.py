"""Sentence-level objectives: compare pooled vectors only."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from kivuko.distill.objective import ObjectiveValue
from kivuko.encoders.token_batch import TokenBatch
from kivuko.transport.precision import full_precision


@dataclass(frozen=True)
class SentenceMSE:
    """Mean squared error between pooled vectors, times the width.

    Source: Multilingual-CLIP (Carlsson et al. 2022), after Reimers & Gurevych 2020, "Making Monolingual Sentence
    Embeddings Multilingual". The mean over the width is taken as a sum, so that weights and learning rates mean the
    same for teachers of any width.
    """

    def __call__(self, student: TokenBatch, teacher: TokenBatch) -> ObjectiveValue:
        """See Objective."""
        total = (student.pooled - teacher.pooled).square().sum(-1).mean()
        return ObjectiveValue(total, {"mse": total.detach()})


@dataclass(frozen=True)
class SentenceCosine:
    """One minus the cosine of pooled vectors, averaged over the batch; 0 to 2."""

    def __call__(self, student: TokenBatch, teacher: TokenBatch) -> ObjectiveValue:
        """See Objective."""
        total = (1 - F.cosine_similarity(student.pooled, teacher.pooled, dim=-1)).mean()
        return ObjectiveValue(total, {"cosine": total.detach()})


@dataclass(frozen=True)
class SentenceContrastive:
    """Each sentence must find its own translation among the English sentences of the batch.

    Source: InfoNCE (van den Oord et al. 2018). Rows whose teacher vectors are equal are the same English sentence in
    several languages: they are not wrong answers to each other.

    Args:
        temperature: divides the cosines; below 0.1 the nearest wrong answers dominate.
    """

    temperature: float = 0.05

    def __call__(self, student: TokenBatch, teacher: TokenBatch) -> ObjectiveValue:
        """See Objective."""
        target = F.normalize(teacher.pooled, dim=-1)  # [batch, dim]
        scores = F.normalize(student.pooled, dim=-1) @ target.T / self.temperature  # [batch, batch]
        with full_precision(target.device):  # rounded to bfloat16, no cosine exceeds this bound
            same = target @ target.T > 1 - 1e-6
        same.fill_diagonal_(False)
        total = F.cross_entropy(
            scores.masked_fill(same, float("-inf")), torch.arange(len(scores), device=scores.device)
        )
        return ObjectiveValue(total, {"contrastive": total.detach()})
