"""The proximal-point method: the unregularised optimum by entropic steps, with a certificate."""

from __future__ import annotations

from dataclasses import replace

import torch

from kivuko.transport.problem import Problem
from kivuko.transport.settings import Settings
from kivuko.transport.sinkhorn import sinkhorn_backend
from kivuko.transport.solution import Solution, marginal_error, within, zero_solution

# How far, as a share of the transport cost, a plan may be from the optimum to count as converged.
_RELATIVE_GAP = 5e-4
# The same where the optimum costs all but nothing, in units of the largest cost times the type's precision.
_ABSOLUTE_GAP = 4.0
# More steps would need a regularization below 1e-12 of the first.
_MOST_STEPS = 40


def proximal(problem: Problem, settings: Settings) -> Solution:
    """Minimise ``<P, cost>`` by steps ``P <- argmin <P, cost> + weight KL(P | previous P)`` (IPOT, Xie et al. 2020).

    Every step is an entropic problem on the cost reduced by the potentials so far, solved by the fast Sinkhorn path.
    (With one iteration a step, as in the paper, the marginals stay far from met.) The first weight is
    ``settings.regularization``; each further one is such that the regularization left in the plan halves.

    Each step's plan is made feasible (Altschuler et al. 2017, algorithm 2), and the potentials give a lower bound of
    the optimum by c-transforms (Villani 2003, sec. 1.2). A problem has converged when the two are within 0.05 % of
    each other, or as near as rounding lets them be, and the marginal error is within the tolerance. ``iterations``
    counts Sinkhorn iterations over all steps.
    """
    solution = zero_solution(problem)
    sinkhorn = sinkhorn_backend("auto", problem.cost.device, potentials=True).solver
    index = problem.row_marginal.any(dim=1).nonzero()[:, 0]  # empty problems are solved by zero
    weight = settings.regularization
    finest = float(problem.largest_cost().max()) * torch.finfo(problem.cost.dtype).eps if len(index) else 0.0
    for _ in range(_MOST_STEPS):
        if not len(index):
            break
        part = Problem(*(each[index] for each in (problem.cost, problem.row_marginal, problem.col_marginal)))
        f, g = solution.row_potential[index], solution.col_potential[index]
        left = settings.max_iterations - int(solution.iterations[index].max())
        found = sinkhorn(
            replace(part, cost=part.cost - f[:, :, None] - g[:, None, :]),
            replace(settings, regularization=weight, max_iterations=left),
        )
        f, g = f + found.row_potential, g + found.col_potential
        coupling = _feasible(found.coupling, part)
        error = marginal_error(coupling, part.row_marginal, part.col_marginal)
        optimal = within(error, settings) & _closed(part, coupling, f, g)

        solution.row_potential[index], solution.col_potential[index] = f, g
        solution.coupling[index], solution.marginal_error[index] = coupling, error
        solution.iterations[index] += found.iterations
        solution.converged[index] = optimal
        spent = solution.iterations[index] >= settings.max_iterations
        weight /= 2
        index = index[~(optimal | spent)]
        if weight < finest:  # the log of the plan would be rounding
            break
    return solution


def _feasible(coupling: torch.Tensor, problem: Problem) -> torch.Tensor:
    """Move the little mass that is in the wrong place, so that both marginals hold."""
    tiny = torch.finfo(coupling.dtype).tiny
    rows = (problem.row_marginal / coupling.sum(2).clamp_min(tiny)).clamp_max(1.0)
    coupling = coupling * rows[:, :, None]
    cols = (problem.col_marginal / coupling.sum(1).clamp_min(tiny)).clamp_max(1.0)
    coupling = coupling * cols[:, None, :]
    row_lack = (problem.row_marginal - coupling.sum(2)).clamp_min(0.0)
    col_lack = (problem.col_marginal - coupling.sum(1)).clamp_min(0.0)
    share = col_lack / col_lack.sum(1, keepdim=True).clamp_min(tiny)
    return coupling + row_lack[:, :, None] * share[:, None, :]


def _closed(problem: Problem, coupling: torch.Tensor, f: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """Return bool [batch]: whether the potentials prove a feasible coupling to be all but optimal."""
    massive = (problem.row_marginal > 0)[:, :, None] & (problem.col_marginal > 0)[:, None, :]
    cost = problem.cost.masked_fill(~massive, torch.inf)
    g = _finite((cost - f[:, :, None]).amin(1))
    f = _finite((cost - g[:, None, :]).amin(2))
    bound = (f * problem.row_marginal).sum(1) + (g * problem.col_marginal).sum(1)
    paid = torch.linalg.vecdot(coupling.flatten(1), problem.cost.flatten(1))
    largest = torch.linalg.vector_norm(problem.cost, ord=torch.inf, dim=(1, 2))
    rounding = _ABSOLUTE_GAP * torch.finfo(cost.dtype).eps * largest
    closed: torch.Tensor = paid - bound <= torch.maximum(_RELATIVE_GAP * paid.abs(), rounding)
    return closed


def _finite(potential: torch.Tensor) -> torch.Tensor:
    return potential.masked_fill(potential == torch.inf, 0.0)
