"""Mean squared error between sentence vectors.

Source: Multilingual-CLIP (Carlsson et al. 2022), after Reimers & Gurevych 2020, "Making Monolingual Sentence
Embeddings Multilingual Using Knowledge Distillation" (arXiv 2004.09813).
"""

from __future__ import annotations

from dataclasses import dataclass

from kivuko.distill.objective import ObjectiveValue
from kivuko.encoders.token_batch import TokenBatch


@dataclass(frozen=True)
class SentenceMSE:
    """Mean squared error between pooled vectors, times the width.

    The mean over the width is taken as a sum, so that weights and learning rates mean the same for teachers of any
    width.
    """

    def __call__(self, student: TokenBatch, teacher: TokenBatch) -> ObjectiveValue:
        """See Objective."""
        total = (student.pooled - teacher.pooled).square().sum(-1).mean()
        return ObjectiveValue(total, {"mse": total.detach()})
