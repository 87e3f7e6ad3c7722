"""Each sentence must find its own translation among the English sentences of the batch.

Source: InfoNCE (van den Oord et al. 2018, arXiv 1807.03748); the learned temperature is CLIP's (Radford et al. 2021,
arXiv 2103.00020, section 2.5).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kivuko.distill.objective import ObjectiveValue
from kivuko.encoders.token_batch import TokenBatch
from kivuko.transport.precision import full_precision

LEAST_LEARNED, LARGEST_LEARNED = 0.01, 1.0  # CLIP never scales a cosine by more than 100


@dataclass(frozen=True)
class SentenceContrastive:
    """Cross-entropy of each sentence's choice among the batch's English sentences, in nats.

    Rows whose teacher vectors are equal are the same English sentence in several languages: they are not wrong
    answers to each other.

    Args:
        temperature: divides the cosines; below 0.1 the nearest wrong answers dominate.
    """

    temperature: float = 0.05

    def __call__(self, student: TokenBatch, teacher: TokenBatch) -> ObjectiveValue:
        """See Objective."""
        total = _cross_entropy(student, teacher, self.temperature)
        return ObjectiveValue(total, {"contrastive": total.detach()})


class LearnedContrastive(nn.Module):
    """The same, with a temperature that training chooses; its logarithm is what is learned.

    Args:
        temperature: the first one, 0.01 to 1; it never leaves that range.
    """

    def __init__(self, temperature: float = 0.05) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)))

    def forward(self, student: TokenBatch, teacher: TokenBatch) -> ObjectiveValue:
        """See Objective. Adds the temperature to the parts."""
        with torch.no_grad():  # clamped inside the graph, a scale past the bound would have no gradient back
            self.log_scale.clamp_(-math.log(LARGEST_LEARNED), -math.log(LEAST_LEARNED))
        temperature = (-self.log_scale).exp()
        total = _cross_entropy(student, teacher, temperature)
        return ObjectiveValue(total, {"contrastive": total.detach(), "temperature": temperature.detach()})


def same_sentences(directions: Tensor) -> Tensor:
    """Return bool [batch, batch]: whether two unit vectors [batch, dim] are one; a row is not the same as itself."""
    with full_precision(directions.device):  # rounded to bfloat16, no cosine exceeds this bound
        same = directions @ directions.T > 1 - 1e-6
    return same.fill_diagonal_(False)


def _cross_entropy(student: TokenBatch, teacher: TokenBatch, temperature: float | Tensor) -> Tensor:
    target = F.normalize(teacher.pooled, dim=-1)  # [batch, dim]
    scores = F.normalize(student.pooled, dim=-1) @ target.T / temperature  # [batch, batch]
    scores = scores.masked_fill(same_sentences(target), float("-inf"))
    return F.cross_entropy(scores, torch.arange(len(scores), device=scores.device))
