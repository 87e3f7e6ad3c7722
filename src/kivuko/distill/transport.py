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

from kivuko.distill.objective import ObjectiveValue, centred_tokens, filled_rows
from kivuko.encoders.token_batch import TokenBatch
from kivuko.transport import TokenLists, align_lists, cosine_cost, normalize, solve, squared_euclidean_cost

COSTS = {"cosine": cosine_cost, "squared_euclidean": squared_euclidean_cost}
MARGINALS = ("uniform", "norm", "teacher_norm")


@dataclass(frozen=True)
class TransportObjective:
    """Mean over the batch of <plan, cost>; the plan is held fixed, the cost carries the gradient.

    That is the gradient of the regularised transport value itself (envelope theorem).

    Args:
        regularization: entropy weight of the plan, in units of the cost. A diffuse plan pulls every token to the
            sentence's mean; a sharp one holds each word to account for its own meaning.
        centre: float [dim], the teacher's corpus mean, subtracted before the cost; None: nothing is. Token vectors
            of pretrained encoders share a large common part that hides their meaning.
        student_centred: whether the centre is subtracted from the student's tokens too. If it is much longer than
            they are, that makes them all alike; False lets the student live in the centred space.
        marginal_penalty: weight of the marginals, in units of the cost; None: they must hold. Where they need not,
            about exp(-c / (2 penalty)) of the mass moves whose way costs c; ``mass`` among the parts is the total.
        method: of ``transport.solve``.
        marginals: "uniform"; "norm": a token's mass is the length of its vector, less the centre, without gradient
            (Yokoi et al. 2020, "Word Rotator's Distance"; of centred vectors, the length tells how much a word says,
            Oyama et al. 2023); "teacher_norm": the teacher's so, the student's uniform.
        cost: "cosine" (0-2), or "squared_euclidean", in the teacher's squared units: mind the regularization.
        tolerance, max_iterations: of the solver; training needs no exact plan.
    """

    regularization: float = 0.05
    centre: Tensor | None = None
    student_centred: bool = True
    marginal_penalty: float | None = None
    method: str = "sinkhorn"
    marginals: str = "uniform"
    cost: str = "cosine"
    tolerance: float = 1e-3
    max_iterations: int = 100

    def __call__(self, student: TokenBatch, teacher: TokenBatch) -> ObjectiveValue:
        """See Objective. Adds the share of plans that did not converge to the parts (greedy: nothing to converge)."""
        asked = (self.marginal_penalty, self.method, self.marginals, self.cost)
        if asked == (None, "sinkhorn", "uniform", "cosine"):
            return self._of_lists(student, teacher)
        return self._of_padded(student, teacher)

    def _of_lists(self, student: TokenBatch, teacher: TokenBatch) -> ObjectiveValue:
        """The one problem that has a path without padding, several times as fast."""
        rows, cols = student.mask.sum(1), teacher.mask.sum(1)
        centre = None if self.centre is None else self.centre.to(student.tokens.device)
        wanted = TokenLists(teacher.content().detach(), cols, centre)
        total, unconverged = _AlignedCost.apply(  # type: ignore[no-untyped-call]
            student.content(), rows, centre if self.student_centred else None, wanted, self
        )
        total, unconverged = total / filled_rows(student, teacher), unconverged / max(1, len(student))
        return ObjectiveValue(total, {"transport": total.detach(), "unconverged": unconverged})

    def _of_padded(self, student: TokenBatch, teacher: TokenBatch) -> ObjectiveValue:
        mine, theirs = centred_tokens(student, teacher, self.centre, self.student_centred)
        plan = solve(
            COSTS[self.cost](mine, theirs),
            _mass(mine, student.mask) if self.marginals == "norm" else None,
            _mass(theirs, teacher.mask) if self.marginals != "uniform" else None,
            row_mask=student.mask, col_mask=teacher.mask, regularization=self.regularization,
            marginal_penalty=self.marginal_penalty, method=self.method, gradient="envelope", tolerance=self.tolerance,
            max_iterations=self.max_iterations, allow_empty=True,
        )  # fmt: skip
        filled = filled_rows(student, teacher)
        total = plan.transport_cost.sum() / filled
        parts = {"transport": total.detach()}
        if self.method != "greedy":
            parts["unconverged"] = (~plan.converged).to(total.dtype).sum() / max(1, len(student))
        if self.marginal_penalty is not None:
            parts["mass"] = plan.coupling.sum() / filled
        return ObjectiveValue(total, parts)


def _mass(tokens: Tensor, mask: Tensor) -> Tensor:
    """Return the marginal [batch, n] in proportion to the lengths of the tokens."""
    # Where all of a sentence's vectors are zero they share its mass.
    return normalize(torch.linalg.vector_norm(tokens.detach(), dim=-1).clamp_min(1e-8), mask)


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
