"""Cosine distance between sentence vectors.

Source: the cosine embedding loss by which DistilBERT's hidden states follow their teacher's (Sanh et al. 2019,
arXiv 1910.01108), here of pooled vectors. Search ranks by cosines, so a vector's length is left free.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch.nn import functional as F

from kivuko.distill.objective import ObjectiveValue
from kivuko.encoders.token_batch import TokenBatch


@dataclass(frozen=True)
class SentenceCosine:
    """One minus the cosine of pooled vectors, averaged over the batch; 0 to 2."""

    def __call__(self, student: TokenBatch, teacher: TokenBatch) -> ObjectiveValue:
        """See Objective."""
        total = (1 - F.cosine_similarity(student.pooled, teacher.pooled, dim=-1)).mean()
        return ObjectiveValue(total, {"cosine": total.detach()})
