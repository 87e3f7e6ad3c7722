"""Gradients of a solved problem: along the cost with the plan held fixed, or through the plan itself."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from kivuko.transport.problem import Plan, Problem, Settings, Solution, describe

Adjoint = Callable[[torch.Tensor, torch.Tensor, Settings], tuple[torch.Tensor, torch.Tensor]]
Marginals = tuple[torch.Tensor | None, torch.Tensor | None]


def envelope(problem: Problem, cost: torch.Tensor, settings: Settings, solution: Solution, regularized: bool) -> Plan:
    """Return a plan whose costs carry the plan itself as gradient: the plan is held fixed.

    For ``value`` that is exact (envelope theorem: at an optimum, a change of plan changes the value by nothing).
    """
    live = replace(problem, cost=_live_cost(problem, cost))
    return describe(live, settings, replace(solution, figures=None), regularized=regularized)


def implicit(
    problem: Problem,
    cost: torch.Tensor,
    marginals: Marginals,
    settings: Settings,
    solution: Solution,
    *,
    on_triton: bool = False,
) -> Plan:
    """Return a plan whose coupling is a differentiable function of the cost and of the given marginals.

    The implicit function theorem on the optimality conditions (Luise et al. 2018; Eisenberger et al. 2022): exact at
    the optimum, so solve to a small tolerance.
    """
    solver: Adjoint = adjoint
    if on_triton:
        from kivuko.transport.triton_sinkhorn import fits, triton_adjoint

        solver = triton_adjoint if fits(solution.coupling, torch.float64) else adjoint
    row, col = (
        own if given is None else _live_marginal(own, given)
        for own, given in zip((problem.row_marginal, problem.col_marginal), marginals, strict=True)
    )
    live = Problem(_live_cost(problem, cost), row, col)
    coupling = _Coupling.apply(  # type: ignore[no-untyped-call]
        live.cost, row, col, solution, settings, solver
    )
    return describe(live, settings, replace(solution, coupling=coupling, figures=None), regularized=True)


def _live_cost(problem: Problem, cost: torch.Tensor) -> torch.Tensor:
    massive = (problem.row_marginal > 0)[:, :, None] & (problem.col_marginal > 0)[:, None, :]
    return torch.where(massive, cost.to(problem.cost.dtype), 0.0)


def _live_marginal(own: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
    mass = torch.where(own > 0, given.to(own.dtype), 0.0)
    total = mass.sum(dim=1, keepdim=True)
    return mass / total.masked_fill(total == 0, 1.0)


class _Coupling(torch.autograd.Function):
    """The solved coupling, with the gradient that the optimality conditions give it."""

    @staticmethod
    def forward(
        ctx: Any,
        cost: torch.Tensor,
        row_marginal: torch.Tensor,
        col_marginal: torch.Tensor,
        solution: Solution,
        settings: Settings,
        adjoint: Adjoint,
    ) -> torch.Tensor:
        ctx.save_for_backward(solution.coupling, row_marginal, col_marginal)
        ctx.settings, ctx.adjoint = settings, adjoint
        return solution.coupling

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        coupling, row_marginal, col_marginal = ctx.saved_tensors
        settings: Settings = ctx.settings
        weighted = coupling * gradient
        x, y = ctx.adjoint(coupling, weighted, settings)
        along_cost = (coupling * (x[:, :, None] + y[:, None, :]) - weighted) / settings.regularization
        row_felt = _felt(row_marginal, coupling.sum(2), settings.row_penalty, settings.row_share)
        col_felt = _felt(col_marginal, coupling.sum(1), settings.col_penalty, settings.col_share)
        return along_cost, x * row_felt, y * col_felt, None, None, None


def _felt(marginal: torch.Tensor, sums: torch.Tensor, penalty: float, share: float) -> torch.Tensor:
    """Return by how much a side's sums follow its marginal, its total scaling u held fixed.

    Relaxed, sums = marginal^(1 / share) * u^(-regularization / penalty).
    """
    if math.isinf(penalty):
        return torch.ones_like(marginal)
    tiny = torch.finfo(marginal.dtype).tiny
    return torch.where(marginal > 0, sums / marginal.clamp_min(tiny), 0.0) / share


def adjoint(coupling: torch.Tensor, weighted: torch.Tensor, settings: Settings) -> tuple[torch.Tensor, torch.Tensor]:
    """Solve the transposed linearized optimality conditions: x [batch, n], y [batch, m], 0 where there is no mass.

    With row and column sums r, c and k = 1 + regularization / penalty (1 where a marginal must hold): ``k_r r x + P y =
    weighted's row sums``, ``P' x + k_c c y = weighted's column sums``. Of several solutions, the least.
    """
    if coupling.numel() == 0:
        return weighted.sum(2), weighted.sum(1)
    if coupling.shape[1] > coupling.shape[2]:  # eliminate the longer side
        flipped = replace(settings, row_penalty=settings.col_penalty, col_penalty=settings.row_penalty)
        y, x = adjoint(coupling.transpose(1, 2), weighted.transpose(1, 2), flipped)
        return x, y
    plan, scaled = coupling.double(), weighted.double()  # the system is ill-conditioned for sharp plans
    rows = plan.sum(2) / settings.row_share
    cols = plan.sum(1) / settings.col_share
    right_x, right_y = scaled.sum(2), scaled.sum(1)
    per_col = torch.where(cols > 0, 1 / cols.clamp_min(torch.finfo(cols.dtype).tiny), 0.0)
    reduced = torch.diag_embed(rows) - (plan * per_col[:, None, :]) @ plan.transpose(1, 2)  # [batch, n, n]
    right = right_x - torch.einsum("bnm,bm->bn", plan, per_col * right_y)
    x = _solve_semidefinite(reduced, right)
    y = per_col * (right_y - torch.einsum("bnm,bn->bm", plan, x))
    return x.to(coupling.dtype), y.to(coupling.dtype)


def _solve_semidefinite(matrix: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Return the least solution of a batch of symmetric, positive semidefinite systems."""
    values, vectors = torch.linalg.eigh(matrix)
    least = values.amax(dim=1, keepdim=True).clamp_min(0) * (matrix.shape[1] * 1e-13)
    inverse = torch.where(values > least, 1 / values.where(values > least, 1.0), 0.0)
    return torch.einsum("bij,bj->bi", vectors, inverse * torch.einsum("bij,bi->bj", vectors, right))
