"""Large batches in parts: what a solver needs besides its answer is then a fraction of the batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace

from kivuko.transport.plan import figures_of
from kivuko.transport.problem import Problem, refuse_costs
from kivuko.transport.settings import Settings
from kivuko.transport.sinkhorn import Solver
from kivuko.transport.solution import Figures, Solution, zero_solution

# Cells solved together. Below it, parts would cost more in calls than they spare in memory: a GPU's cost a millisecond.
_CELLS, _CELLS_OF_A_GPU = 1 << 17, 1 << 24
# Parts of a very large batch: solvers need up to some ten times the cost of the part that they work on.
_PARTS = 8
_SOLVED = ("coupling", "marginal_error", "iterations", "converged", "row_potential", "col_potential")


def solve_in_chunks(problem: Problem, settings: Settings, solver: Solver, regularization: float | None) -> Solution:
    """Clean and check a posed problem and solve it, in parts if it is large. The figures are worked out as well.

    Args:
        regularization: of an entropic method, else None; see :func:`refuse_costs`.

    Raises:
        UsageError: see :func:`refuse_costs`.
    """
    whole = zero_solution(problem)
    cost = problem.cost.new_zeros(len(problem.cost))
    figures = Figures(cost, cost.clone(), cost.clone())
    for part in _parts(problem):
        own = Problem(problem.cost[part], problem.row_marginal[part], problem.col_marginal[part]).cleaned()
        refuse_costs(own, own.largest_cost(), regularization, first=part.start)
        solution = solver(own, settings)
        for name in _SOLVED:
            getattr(whole, name)[part] = getattr(solution, name)
        told = solution.figures or figures_of(own, solution.coupling)
        for field in fields(Figures):
            getattr(figures, field.name)[part] = getattr(told, field.name)
    return replace(whole, figures=figures)


def _parts(problem: Problem) -> Iterator[slice]:
    batch, cells = len(problem.cost), max(1, problem.cost[:1].numel())
    together = _CELLS if problem.cost.device.type == "cpu" else _CELLS_OF_A_GPU
    size = max(together // cells, -(-batch // _PARTS), 1)
    for first in range(0, batch, size):
        yield slice(first, min(batch, first + size))
