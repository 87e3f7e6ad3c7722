"""What an objective is, and how a recipe's objectives add up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from kivuko.encoders.token_batch import TokenBatch


@dataclass(frozen=True, slots=True)
class ObjectiveValue:
    """A scalar to minimise, and its named parts for the eye (each a scalar, before weighting)."""

    total: Tensor
    parts: dict[str, Tensor]


class Objective(Protocol):
    """Maps a student's and a teacher's view of the same sentences to a scalar."""

    def __call__(self, student: TokenBatch, teacher: TokenBatch) -> ObjectiveValue:
        """Compare row i of ``student`` with row i of ``teacher``; the teacher carries no gradient."""
        ...


@dataclass(frozen=True)
class WeightedSum:
    """The sum of objectives, each times its weight."""

    terms: Sequence[tuple[float, Objective]]

    def __call__(self, student: TokenBatch, teacher: TokenBatch) -> ObjectiveValue:
        """See Objective."""
        values = [(weight, objective(student, teacher)) for weight, objective in self.terms]
        parts = {name: part for _, value in values for name, part in value.parts.items()}
        total = sum((weight * value.total for weight, value in values), student.pooled.new_zeros(()))
        return ObjectiveValue(total, parts)
