"""The transport objective: match a sentence's tokens with its translation's along an optimal plan.

Source: OPTICAL (Huang, Yu, Allan 2023, arXiv 2301.12566): the cost of aligning student tokens with teacher tokens
is their cosine distance, the alignment is the optimal-transport plan, the loss is the Frobenius inner product of
plan and cost. What the paper's abstract does not fix (marginals, centring, solver settings) is an option here, with
the default that our own measurements favour (docs/experiments.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kivuko.distill.objective import ObjectiveValue
from kivuko.encoders.token_batch import TokenBatch
from kivuko.transport import TokenLists, align_lists


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
        rows, cols = student.mask.sum(1), teacher.mask.sum(1)
        centre = None if self.centre is None else self.centre.to(student.tokens.device)
        wanted = TokenLists(teacher.content().detach(), cols, centre)
        total, unconverged = _AlignedCost.apply(  # type: ignore[no-untyped-call]
            student.content(), rows, centre, wanted, self
        )
        # An empty problem (no content token on one side) teaches nothing and must not dilute the mean.
        filled = ((rows > 0) & (cols > 0)).sum().clamp(min=1)
        total, unconverged = total / filled, unconverged / max(1, len(student))
        return ObjectiveValue(total, {"transport": total.detach(), "unconverged": unconverged})


class _AlignedCost(torch.autograd.Function):
    """The sum of <plan, cosine cost> over a batch, and how many plans did not converge, as a function of the tokens."""

    @staticmethod
    def forward(
        ctx: Any, tokens: Tensor, lengths: Tensor, centre: Tensor | None, wanted: TokenLists, of: TransportObjective
    ) -> tuple[Tensor, Tensor]:
        found = align_lists(
            TokenLists(tokens, lengths, centre), wanted,
            regularization=of.regularization, tolerance=of.tolerance, max_iterations=of.max_iterations,
        )  # fmt: skip
        ctx.save_for_backward(found.gradient.to(tokens.dtype))
        unconverged = (~found.converged).sum().to(found.transport_cost.dtype)
        ctx.mark_non_differentiable(unconverged)
        return found.transport_cost.sum(), unconverged

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        (along_tokens,) = ctx.saved_tensors
        return along_tokens * gradient, None, None, None, None
