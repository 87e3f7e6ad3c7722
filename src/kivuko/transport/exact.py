"""Exact optimal transport by POT's network simplex."""

from __future__ import annotations

from dataclasses import replace

import torch

from kivuko.errors import MissingDependencyError
from kivuko.transport.problem import Problem
from kivuko.transport.settings import Settings
from kivuko.transport.solution import Solution, marginal_error, within, zero_solution


def exact(problem: Problem, settings: Settings) -> Solution:
    """Solve the unregularised problem, one at a time, on the CPU in float64 (Bonneel et al. 2011, through POT).

    The plan is a vertex: at most n + m - 1 entries are not zero. Where several plans are optimal it is one of them.
    ``iterations`` is 1; a problem that needs more than ``max_iterations`` pivots or 100,000, whichever is more, counts
    as not converged.

    Raises:
        MissingDependencyError: POT is not installed.
    """
    try:
        from ot.lp import emd
    except ImportError as problem_:
        raise MissingDependencyError("method 'exact' needs POT. Run: pip install 'kivuko[exact]'") from problem_

    solution = zero_solution(problem)
    cost, row, col = (part.double().cpu() for part in (problem.cost, problem.row_marginal, problem.col_marginal))
    for index in row.any(dim=1).nonzero()[:, 0].tolist():
        rows, cols = row[index].nonzero()[:, 0], col[index].nonzero()[:, 0]
        # The simplex wants masses that agree to the last bit: they are float64 sums of what may have been float32.
        a, b = row[index, rows], col[index, cols]
        plan, log = emd(
            (a / a.sum()).numpy(), (b / b.sum()).numpy(), cost[index][rows][:, cols].contiguous().numpy(),
            numItermax=max(settings.max_iterations, 100_000), log=True, center_dual=False,
        )  # fmt: skip
        block = torch.from_numpy(plan).to(solution.coupling)
        solution.coupling[index, rows[:, None], cols[None, :]] = block
        solution.row_potential[index, rows] = torch.from_numpy(log["u"]).to(block)
        solution.col_potential[index, cols] = torch.from_numpy(log["v"]).to(block)
        solution.iterations[index] = 1
        solution.converged[index] = log["warning"] is None
    error = marginal_error(solution.coupling, problem.row_marginal, problem.col_marginal)
    return replace(solution, marginal_error=error, converged=solution.converged & within(error, settings))
