"""The transport objective: match a sentence's tokens with its translation's along an optimal plan.

Source: OPTICAL (Huang, Yu, Allan 2023, arXiv 2301.12566): the cost of aligning student tokens with teacher tokens
is their cosine distance, the alignment is the optimal-transport plan, the loss is the Frobenius inner product of
plan and cost. What the paper's abstract does not fix (marginals, centring, solver settings) is an option here, with
the default that our own measurements favour (docs/experiments.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from kivuko.distill.objective import ObjectiveValue
from kivuko.encoders.token_batch import TokenBatch
from kivuko.transport import centred_cosine_cost, cosine_cost, solve


@dataclass(frozen=True)
class TransportObjective:
    """Mean over the batch of <plan, cost>; the plan is held fixed, the cost carries the gradient.

    That is the gradient of the regularised transport value itself (envelope theorem).

    Args:
        regularization: entropy weight of the plan, in units of the cost (0-2). A diffuse plan pulls every token to
            the sentence's mean; a sharp one holds each word to account for its own meaning.
        centre: float [dim], the teacher's corpus mean, subtracted from both sides before the cosine; None for the
            plain cosine. Token vectors of pretrained encoders share a large common part that hides their meaning.
        tolerance, max_iterations: of the solver; training needs no exact plan.
    """

    regularization: float = 0.05
    centre: Tensor | None = None
    tolerance: float = 1e-3
    max_iterations: int = 100

    def __call__(self, student: TokenBatch, teacher: TokenBatch) -> ObjectiveValue:
        """See Objective. Adds the share of plans that did not converge to the parts."""
        total, unconverged = student.tokens.new_zeros(()), student.tokens.new_zeros(())
        for rows in _alike_in_length(student.mask, teacher.mask):
            value, failed = self._chunk(_part(student, rows), _part(teacher, rows))
            total, unconverged = total + value, unconverged + failed
        # An empty problem (no content token on one side) teaches nothing and must not dilute the mean.
        filled = (student.mask.any(1) & teacher.mask.any(1)).sum().clamp(min=1)
        total, unconverged = total / filled, unconverged / max(1, len(student))
        return ObjectiveValue(total, {"transport": total.detach(), "unconverged": unconverged})

    def _chunk(self, student: TokenBatch, teacher: TokenBatch) -> tuple[Tensor, Tensor]:
        """Return the sum of <plan, cost> over a chunk, and how many of its plans did not converge."""
        if self.centre is None:
            cost = cosine_cost(student.tokens, teacher.tokens)  # [chunk, n, m]
        else:
            centre = self.centre.to(student.tokens.device)
            cost = centred_cosine_cost(student.tokens, teacher.tokens, centre, centre)
        plan = solve(
            cost.detach(),
            row_mask=student.mask,
            col_mask=teacher.mask,
            regularization=self.regularization,
            tolerance=self.tolerance,
            max_iterations=self.max_iterations,
            allow_empty=True,
        )
        return (plan.coupling * cost).sum(), (~plan.converged).sum()


_CHUNK = 64  # problems solved together


def _alike_in_length(first: Tensor, second: Tensor) -> Iterator[Tensor]:
    """Yield the rows in chunks of like length: a name of three words must not be padded to a list of forty."""
    lengths = first.sum(1) + second.sum(1)
    yield from torch.argsort(lengths, stable=True).split(_CHUNK)


def _part(batch: TokenBatch, rows: Tensor) -> TokenBatch:
    """Take some rows of a batch, cut to the last position that any of them uses."""
    mask = batch.mask[rows]
    used = mask.any(0).nonzero()
    length = int(used[-1]) + 1 if len(used) else 1
    return TokenBatch(batch.tokens[rows, :length], mask[:, :length], batch.pooled[rows])
