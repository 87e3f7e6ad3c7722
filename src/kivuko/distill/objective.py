"""What an objective is, how a recipe's objectives add up, and how tokens are laid out for those that compare them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from kivuko.encoders.token_batch import TokenBatch
from kivuko.transport.precision import working_dtype


@dataclass(frozen=True, slots=True)
class ObjectiveValue:
    """A scalar to minimise, and its named parts for the eye (each a scalar, before weighting)."""

    total: Tensor
    parts: dict[str, Tensor]


class Objective(Protocol):
    """Maps a student's and a teacher's view of the same sentences to a scalar.

    One that has weights of its own to learn is a torch module: the trainer then learns and keeps them.
    """

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
        parts: dict[str, Tensor] = {}
        for place, (_, value) in enumerate(values, start=1):  # no part hides another of its name
            parts |= {f"{name}_{place}" if name in parts else name: part for name, part in value.parts.items()}
        total = sum((weight * value.total for weight, value in values), student.pooled.new_zeros(()))
        return ObjectiveValue(total, parts)

    def learned(self) -> nn.ModuleDict:
        """Return the objectives that have weights of their own, by their place in the sum; most sums have none."""
        places = enumerate(objective for _, objective in self.terms)
        return nn.ModuleDict({str(place): one for place, one in places if isinstance(one, nn.Module)})


def centred_tokens(
    student: TokenBatch, teacher: TokenBatch, centre: Tensor | None, student_centred: bool
) -> tuple[Tensor, Tensor]:
    """Return the student's tokens [batch, n, dim] and the teacher's [batch, m, dim], without the common part.

    Args:
        centre: [dim], taken from every token of the teacher's; None: from none.
        student_centred: whether it is taken from the student's tokens as well.

    Returns:
        Both zero where masked, whatever the padding holds; float64 if a side is, else float32. Only the student's
        carry a gradient.
    """
    dtype = working_dtype(student.tokens, teacher.tokens)
    mine, theirs = student.tokens.to(dtype), teacher.tokens.detach().to(dtype)
    if centre is not None:
        theirs = theirs - centre.to(theirs)
        mine = mine - centre.to(mine) if student_centred else mine
    return _zero_where_masked(mine, student.mask), _zero_where_masked(theirs, teacher.mask)


def filled_rows(student: TokenBatch, teacher: TokenBatch) -> Tensor:
    """Count the sentences that have content tokens on both sides; 1 if there are none.

    An empty problem teaches nothing and must not dilute a mean.
    """
    return (student.mask.any(1) & teacher.mask.any(1)).sum().clamp(min=1)


def _zero_where_masked(tokens: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask[:, :, None], tokens, 0.0)
