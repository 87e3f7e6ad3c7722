"""Token-level mean squared error along a transport plan.

Source: the barycentric projection of a plan (Courty et al. 2017, "Optimal Transport for Domain Adaptation", equation
14): each student token is held against the mean of the teacher's tokens, weighted by the student token's row of the
plan. Where the transport objective turns tokens, this one also sets their lengths.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kivuko.distill.objective import ObjectiveValue, centred_tokens, filled_rows
from kivuko.encoders.token_batch import TokenBatch
from kivuko.transport import Plan, cosine_cost, solve
from kivuko.transport.precision import full_precision, working_dtype

_CHUNK = 64  # sentences whose plans are solved together


@dataclass(frozen=True)
class BarycentreObjective:
    """Mean over the batch, and over a sentence's tokens, of the squared distance from the plan's barycentre.

    The square is summed over the width, as in SentenceMSE. The plan (cosine cost, uniform marginals) is held fixed.

    Args:
        regularization: entropy weight of the plan, in units of the cost (0-2). The more diffuse the plan, the nearer
            all barycentres are to the sentence's mean.
        centre: float [dim], the teacher's corpus mean; None: tokens as they are.
        student_centred: True: the plan is made of centred tokens on both sides, and the squares, which do not change
            when both sides are moved, are those of the tokens as they are. False: the centre is taken from the
            teacher's tokens only, and the student learns those.
        tolerance, max_iterations: of the solver; training needs no exact plan.
    """

    regularization: float = 0.05
    centre: Tensor | None = None
    student_centred: bool = True
    tolerance: float = 1e-3
    max_iterations: int = 100

    def __call__(self, student: TokenBatch, teacher: TokenBatch) -> ObjectiveValue:
        """See Objective. Adds the share of plans that did not converge to the parts."""
        error, converged = error_along_plans(
            student, teacher, self.centre, self.student_centred,
            regularization=self.regularization, tolerance=self.tolerance, max_iterations=self.max_iterations,
        )  # fmt: skip
        total = error / filled_rows(student, teacher)
        unconverged = (~converged).to(total.dtype).sum() / max(1, len(student))
        return ObjectiveValue(total, {"barycentre": total.detach(), "unconverged": unconverged})


def error_along_plans(
    student: TokenBatch, teacher: TokenBatch, centre: Tensor | None, student_centred: bool, **how: Any
) -> tuple[Tensor, Tensor]:
    """Return how far the student's tokens are from their barycentres, and bool [batch]: whether the plan converged.

    The first is a sum over all content tokens: the squared distance from the barycentre of the token's row of the
    plan, times the mass of that row. A row without mass counts for nothing. The gradient goes along the content
    tokens, not through the padding. ``how``: options of ``transport.solve`` for the plans.
    """
    content = student.content()  # [content tokens, dim]
    wanted = torch.zeros_like(content, dtype=working_dtype(content, teacher.tokens))
    mass = wanted[:, 0].clone()  # [content tokens]
    converged = torch.ones(len(student), dtype=torch.bool, device=mass.device)
    places = student.mask.flatten().cumsum(0).view_as(student.mask) - 1  # of a token among the content tokens
    for rows in _alike_in_length(student.mask.sum(1), teacher.mask.sum(1)):
        mine, theirs = _trimmed(student, rows), _trimmed(teacher, rows)
        plan, barycentres = _barycentres(mine, theirs, centre, student_centred, how)
        at = places[rows, : mine.mask.shape[1]][mine.mask]
        wanted[at], mass[at] = barycentres[mine.mask], plan.coupling.sum(2)[mine.mask]
        converged[rows] = plan.converged
    return ((content - wanted).square().sum(-1) * mass).sum(), converged


@torch.no_grad()
def _barycentres(
    student: TokenBatch, teacher: TokenBatch, centre: Tensor | None, student_centred: bool, how: dict[str, Any]
) -> tuple[Plan, Tensor]:
    mine, theirs = centred_tokens(student, teacher, centre, student_centred)
    plan = solve(cosine_cost(mine, theirs), row_mask=student.mask, col_mask=teacher.mask, **how)
    mass = plan.coupling.sum(2, keepdim=True)
    with full_precision(theirs.device):
        found = plan.coupling @ theirs / mass.masked_fill(mass == 0, 1.0)  # [chunk, n, dim]
    # Taken from both sides, the centre served the plan; the student learns the tokens as they are.
    return plan, found if centre is None or not student_centred else found + centre.to(found)


def _alike_in_length(first: Tensor, second: Tensor) -> Iterator[Tensor]:
    """Yield the rows that have tokens on both sides, in chunks of like length: one long list must not pad them all."""
    order = torch.argsort(first + second, stable=True)
    order = order[(first[order] > 0) & (second[order] > 0)]
    yield from order.split(_CHUNK) if len(order) else ()


def _trimmed(batch: TokenBatch, rows: Tensor) -> TokenBatch:
    mask = batch.mask[rows]
    length = int(mask.any(0).nonzero().max()) + 1
    return TokenBatch(batch.tokens[rows, :length], mask[:, :length], batch.pooled[rows])
