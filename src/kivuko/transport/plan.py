"""The answer to a batch of transport problems, with what is needed to judge it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from kivuko.transport.problem import Problem
from kivuko.transport.settings import Settings
from kivuko.transport.solution import Figures, Solution


@dataclass(frozen=True, eq=False)
class Plan:
    """Couplings of a batch of problems, and how well each was solved.

    Which fields carry a gradient, and of what, is the ``gradient`` option of :func:`kivuko.transport.solve`.

    Attributes:
        coupling: [batch, n, m], mass moved from row to column; not negative, exactly 0 where a row or a column is
            masked or holds no mass. At most 1 unless a marginal is relaxed.
        transport_cost: [batch], <coupling, cost>, in the unit of the cost. Without the entropy term.
        value: [batch], what the method minimises, at this coupling, in the unit of the cost. Exact, proximal and
            greedy: the transport cost. Sinkhorn: ``<P, cost> + regularization * KL(P | a b')`` plus, where a marginal
            is relaxed, its penalty times ``KL(P's marginal | marginal)``; KL(p | q) = sum p log(p / q) - p + q.
        entropy: [batch], - sum P log P in nats; in [0, log(n m)] for a plan of mass 1.
        marginal_error: [batch], the larger of the L1 distances of the row sums and of the column sums from the
            marginals asked for: the mass in the wrong place, in [0, 2] for a plan of mass 1. Where a marginal is
            relaxed, the distance is from the marginal that is optimal given the potentials.
        iterations: int64 [batch], how many iterations that problem was given.
        converged: bool [batch], whether ``marginal_error`` is within the tolerance asked for (and, for the proximal
            method, the duality gap is closed). Always True for an empty problem, whose coupling is zero.
    """

    coupling: torch.Tensor
    transport_cost: torch.Tensor
    value: torch.Tensor
    entropy: torch.Tensor
    marginal_error: torch.Tensor
    iterations: torch.Tensor
    converged: torch.Tensor


def describe(problem: Problem, settings: Settings, solution: Solution, *, regularized: bool) -> Plan:
    """Make a :class:`Plan` of what a solver found; differentiable in the coupling and the problem's cost."""
    coupling = solution.coupling
    figures = solution.figures or figures_of(problem, coupling)
    value = figures.transport_cost
    if regularized:
        value = value + settings.regularization * figures.divergence
        for marginal, sums, penalty in (
            (problem.row_marginal, 2, settings.row_penalty),
            (problem.col_marginal, 1, settings.col_penalty),
        ):
            if not math.isinf(penalty):
                value = value + penalty * _divergence(coupling.sum(dim=sums), marginal)
    return Plan(
        coupling=coupling,
        transport_cost=figures.transport_cost,
        value=value,
        entropy=figures.entropy,
        marginal_error=solution.marginal_error,
        iterations=solution.iterations,
        converged=solution.converged,
    )


def figures_of(problem: Problem, coupling: torch.Tensor) -> Figures:
    """Return what a coupling costs and how far it spreads; differentiable in both arguments."""
    transport_cost: torch.Tensor = torch.linalg.vecdot(coupling.flatten(1), problem.cost.flatten(1))
    rows, cols = coupling.sum(dim=2), coupling.sum(dim=1)
    # Where a marginal is 0, so is the sum, and nothing flows back; xlogy's derivative there is 0 / 0.
    least = torch.finfo(coupling.dtype).tiny
    cross = (rows * problem.row_marginal.clamp_min(least).log()).sum(1)
    cross = cross + (cols * problem.col_marginal.clamp_min(least).log()).sum(1)
    product = problem.row_marginal.sum(1) * problem.col_marginal.sum(1)
    entropy = _entropy(coupling)
    return Figures(transport_cost, entropy, divergence=-entropy - cross - rows.sum(1) + product)


def _entropy(coupling: torch.Tensor) -> torch.Tensor:
    if not coupling.requires_grad:
        entropy: torch.Tensor = torch.special.entr(coupling).sum(dim=(1, 2))
        return entropy
    # Of a zero entry nothing flows back, where the derivative of x log x would be infinite.
    least = torch.finfo(coupling.dtype).tiny
    return -(coupling * coupling.clamp_min(least).log()).sum(dim=(1, 2))


def _divergence(sums: torch.Tensor, marginal: torch.Tensor) -> torch.Tensor:
    """Return [batch]: KL(sums | marginal) of one side."""
    least = torch.finfo(sums.dtype).tiny
    ratio = (sums.clamp_min(least) / marginal.clamp_min(least)).log()
    divergence: torch.Tensor = (torch.where(marginal > 0, sums * ratio, 0.0) - sums + marginal).sum(dim=1)
    return divergence
