"""The transport objective: match a sentence's tokens with its translation's along an optimal plan.

Source: OPTICAL (Huang, Yu, Allan 2023, arXiv 2301.12566): the cost of aligning student tokens with teacher tokens
is their cosine distance, the alignment is the optimal-transport plan, the loss is the Frobenius inner product of
plan and cost. What the paper's abstract does not fix (marginals, centring, solver settings) is an option here, with
the default that our own measurements favour (docs/experiments.md).
"""

from __future__ import annotations

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
        if self.centre is None:
            cost = cosine_cost(student.tokens, teacher.tokens)
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
        )
        # An empty problem (no content token on one side) teaches nothing and must not dilute the mean.
        filled = (student.mask.any(1) & teacher.mask.any(1)).sum().clamp(min=1)
        total = (plan.coupling * cost).sum() / filled
        unconverged = 1 - plan.converged.float().mean() if len(student) else torch.zeros(())
        return ObjectiveValue(total, {"transport": total.detach(), "unconverged": unconverged})
