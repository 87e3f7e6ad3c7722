"""Sinkhorn's algorithm in the log domain, batched and masked, with regularization scaling."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch

from kivuko.transport.plan import Plan, describe, marginal_error
from kivuko.transport.problem import Problem

# Iterations between two looks at the marginal error, and at each regularization on the way down.
_BLOCK = 10
# Where the way down starts, as a fraction of the spread of the cost. Above it, plans are all but flat.
_START = 0.25
# How far scalings may move within a block. Any positive scaling keeps the plan in the right family, so a
# bound can delay convergence but never falsify it; it keeps products of two of them within float32.
_LEAST, _MOST = 1e-15, 1e15


def sinkhorn(problem: Problem, *, regularization: float, tolerance: float, max_iterations: int) -> Plan:
    """Solve each problem by alternately matching the rows and the columns of its plan to the marginals.

    An iteration is one match of the rows, then one of the columns (Cuturi 2013, algorithm 1). The state is
    the logarithm of the plan, which is always -cost/regularization plus one number per row and per column;
    that is the log-domain iteration of Peyré & Cuturi (2019, sec. 4.4) with the potentials added in, and
    keeps its accuracy in float32 at small regularization since the entries that matter stay near zero.

    Two things make it fast. Each block of ten iterations takes one exponential and works on scalings of the
    plan at its start, which are then folded back into the logarithm (the stabilisation of the same section).
    And regularization starts large and is halved block by block down to the value asked for, each time from
    the plan found so far; at most half of ``max_iterations`` goes into that.

    The marginal error is looked at every ten iterations. A problem that has converged leaves the batch.
    Returns a :class:`Plan`; raises nothing of its own.
    """
    batch = problem.cost.shape[0]
    coupling = torch.zeros_like(problem.cost)
    error = problem.cost.new_zeros(batch)
    iterations = torch.zeros(batch, dtype=torch.int64, device=problem.cost.device)

    active = _start(problem, regularization, most_halvings=max_iterations // 2 // _BLOCK)
    spent = 0
    while spent < max_iterations and len(active.index):
        length = min(_BLOCK, max_iterations - spent)
        log_plan = _advance(active.log_plan, active.row, active.col, length)
        spent += length

        plan = log_plan.exp()  # [active, n, m]
        now = marginal_error(plan, problem.row_marginal[active.index], problem.col_marginal[active.index])
        finished = (now <= tolerance) & (active.halvings == 0)
        if spent == max_iterations:
            finished = torch.ones_like(finished)
        if finished.any():
            found = active.index[finished]
            coupling[found], error[found], iterations[found] = plan[finished], now[finished], spent
        active = _next(active, log_plan, ~finished)
    return describe(problem, coupling, error=error, iterations=iterations, tolerance=tolerance)


@dataclass(frozen=True, eq=False)
class _Active:
    """The problems still being solved. A row or column without mass has 1 in place of its marginal here:
    its plan is zero whatever it is scaled by, and no logarithm or quotient then needs a special case."""

    index: torch.Tensor  # int64 [active], place in the batch
    log_plan: torch.Tensor  # [active, n, m], -inf where the plan is zero
    row: torch.Tensor  # [active, n, 1]
    col: torch.Tensor  # [active, m, 1]
    halvings: torch.Tensor  # int64 [active], how many times regularization is still to be halved


def _start(problem: Problem, regularization: float, *, most_halvings: int) -> _Active:
    index = problem.row_marginal.any(dim=1).nonzero()[:, 0]  # empty problems are solved by zero
    cost = problem.cost[index]
    row, col = problem.row_marginal[index, :, None], problem.col_marginal[index, :, None]
    dead = (row == 0) | (col == 0).transpose(1, 2)  # [active, n, m]
    halvings = _halvings(cost, dead, regularization).clamp(0, most_halvings)
    # A power of two, so that the halvings end exactly at the regularization asked for.
    scale = regularization * halvings.to(cost.dtype).exp2()[:, None, None]
    return _Active(
        index=index,
        log_plan=(-cost / scale).masked_fill(dead, -torch.inf),
        row=row.masked_fill(row == 0, 1.0),
        col=col.masked_fill(col == 0, 1.0),
        halvings=halvings,
    )


def _halvings(cost: torch.Tensor, dead: torch.Tensor, regularization: float) -> torch.Tensor:
    """Return int64 [active]: how often the starting regularization must be halved to reach the one asked."""
    if cost.numel() == 0:
        return torch.zeros(cost.shape[0], dtype=torch.int64, device=cost.device)
    highest = cost.masked_fill(dead, -torch.inf).amax(dim=(1, 2))
    lowest = cost.masked_fill(dead, torch.inf).amin(dim=(1, 2))
    return (_START * (highest - lowest) / regularization).clamp(1.0, 2.0**60).log2().ceil().long()


def _advance(log_plan: torch.Tensor, row: torch.Tensor, col: torch.Tensor, length: int) -> torch.Tensor:
    """Return the log plan after ``length`` >= 1 iterations."""
    # The first iteration is in the log domain: after it every entry of the plan is at most 1, so that the
    # exponential cannot overflow whatever the cost was.
    log_plan = log_plan + (row.log() - _log_sum(log_plan, dim=2))
    log_plan = log_plan + (col.log().transpose(1, 2) - _log_sum(log_plan, dim=1))
    if length == 1:
        return log_plan

    kernel = log_plan.exp()
    flipped = kernel.transpose(1, 2)
    col_scaling = torch.ones_like(col)
    for _ in range(length - 1):
        row_scaling = (row / (kernel @ col_scaling)).clamp_(_LEAST, _MOST)  # [active, n, 1]
        col_scaling = (col / (flipped @ row_scaling)).clamp_(_LEAST, _MOST)  # [active, m, 1]
    return log_plan + row_scaling.log() + col_scaling.log().transpose(1, 2)


def _log_sum(log_plan: torch.Tensor, dim: int) -> torch.Tensor:
    """Log of the sum along ``dim``; a finite stand-in where all is zero, since -inf - -inf is NaN."""
    return log_plan.logsumexp(dim, keepdim=True).clamp_min(torch.finfo(log_plan.dtype).min / 4)


def _next(active: _Active, log_plan: torch.Tensor, unfinished: torch.Tensor) -> _Active:
    """Drop the finished problems, and halve the regularization of those that are on their way down."""
    if not unfinished.all():
        kept = {field.name: getattr(active, field.name)[unfinished] for field in fields(active)}
        active, log_plan = _Active(**kept), log_plan[unfinished]
    descending = active.halvings > 0
    if descending.any():
        # Half the regularization, the same potentials: twice the log plan.
        log_plan = torch.where(descending[:, None, None], 2 * log_plan, log_plan)
    return _Active(active.index, log_plan, active.row, active.col, (active.halvings - 1).clamp_min(0))
