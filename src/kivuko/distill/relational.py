"""Relational distillation: sentences must relate to each other as their English translations do.

Source: Passalis & Tefas 2018 ("Learning Deep Representations with Probabilistic Knowledge Transfer", arXiv
1803.10837), whose conditional probabilities are here softmaxes of cosines at a temperature, as in SEED (Fang et al.
2021, arXiv 2101.04731). Of Park et al. 2019 ("Relational Knowledge Distillation") and Tung & Mori 2019
("Similarity-Preserving Knowledge Distillation") it keeps the idea, not the squared difference of the two similarity
matrices: nearly all pairs of a batch are unrelated, all at about one cosine, and their squares would drown the few
near pairs, which are what search is about.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from kivuko.distill.objective import ObjectiveValue
from kivuko.distill.sentence_contrastive import same_sentences
from kivuko.encoders.token_batch import TokenBatch
from kivuko.transport.precision import full_precision, working_dtype


@dataclass(frozen=True)
class RelationalObjective:
    """Mean over the batch of KL(teacher | student), in nats, between how a sentence's likeness spreads over others.

    The likeness of two sentences is the cosine of their pooled vectors, both in the student's space or both in the
    teacher's. So the value does not change when the student's space is rotated: alone it does not bring the student
    into the teacher's space, and a recipe must add a sentence-level objective as an anchor. A sentence itself, and
    the same English sentence in other languages, take no part: they would draw nearly all of the likeness.

    Args:
        temperature: divides the cosines; the lower, the more only the nearest neighbours count.
    """

    temperature: float = 0.05

    def __call__(self, student: TokenBatch, teacher: TokenBatch) -> ObjectiveValue:
        """See Objective."""
        dtype = working_dtype(student.pooled, teacher.pooled)
        with full_precision(student.pooled.device):
            target = F.normalize(teacher.pooled.detach().to(dtype), dim=-1)  # [batch, dim]
            hidden = same_sentences(target).fill_diagonal_(True)  # [batch, batch]
            wanted = self._log_likeness(target, hidden)
            found = self._log_likeness(F.normalize(student.pooled.to(dtype), dim=-1), hidden)
            divergence = (wanted.exp() * (wanted - found)).masked_fill(hidden, 0.0).sum(1)  # [batch]
        total = divergence.mean()
        return ObjectiveValue(total, {"relational": total.detach()})

    def _log_likeness(self, directions: Tensor, hidden: Tensor) -> Tensor:
        scores = (directions @ directions.T) / self.temperature
        # Not minus infinity: of a row that is hidden as a whole, log_softmax would be NaN.
        return scores.masked_fill(hidden, -1e9).log_softmax(1)
