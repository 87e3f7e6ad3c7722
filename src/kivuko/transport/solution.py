"""What a solver returns, and how it measures what is still wrong with it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch

from kivuko.transport.problem import Problem
from kivuko.transport.settings import Settings


@dataclass(frozen=True, eq=False)
class Figures:
    """What a solver has worked out about its couplings on the way; each [batch], in the cost's type."""

    transport_cost: torch.Tensor
    entropy: torch.Tensor
    divergence: torch.Tensor  # KL(coupling | product of the marginals)


@dataclass(frozen=True, eq=False)
class Solution:
    """The couplings a solver found, without gradients. :class:`kivuko.transport.Plan` says what each field is."""

    coupling: torch.Tensor  # [batch, n, m]
    marginal_error: torch.Tensor  # [batch]
    iterations: torch.Tensor  # int64 [batch]
    converged: torch.Tensor  # bool [batch]
    # Dual variables of the rows [batch, n] and the columns [batch, m], in the unit of the cost, 0 where there is no
    # mass: coupling = a b exp((f + g - cost) / regularization). All zero from a method that has none.
    row_potential: torch.Tensor
    col_potential: torch.Tensor
    figures: Figures | None = None
    # [batch], the largest absolute cost, NaN or infinite if one is; of a solver that surveys the costs itself.
    largest_cost: torch.Tensor = field(default_factory=lambda: torch.empty(0))


def marginal_error(coupling: torch.Tensor, row_target: torch.Tensor, col_target: torch.Tensor) -> torch.Tensor:
    """Return [batch]: the larger of the L1 distances of the row sums and of the column sums from their targets."""
    rows = (coupling.sum(dim=2) - row_target).abs().sum(dim=1)
    cols = (coupling.sum(dim=1) - col_target).abs().sum(dim=1)
    return torch.maximum(rows, cols)


def target(marginal: torch.Tensor, potential: torch.Tensor, penalty: float) -> torch.Tensor:
    """Return the marginal that a plan with this potential must have at the optimum.

    With a KL penalty that is ``marginal * exp(-potential / penalty)`` (first-order condition, Chizat et al. 2018);
    without one the marginal itself.

    Args:
        marginal: [..., n], one side's marginal.
        potential: [..., n], that side's dual variable, in the unit of the cost.
        penalty: weight of the KL penalty, in the unit of the cost, or infinite.
    """
    if math.isinf(penalty):
        return marginal
    return marginal * (-potential / penalty).clamp(-80.0, 80.0).exp()


def zero_solution(problem: Problem) -> Solution:
    """Return the solution that moves nothing: where solvers start, and right for empty problems."""
    solution = empty_solution(problem)
    for part in (solution.coupling, solution.iterations, solution.row_potential, solution.col_potential):
        part.zero_()
    return solution


def empty_solution(problem: Problem) -> Solution:
    """Return a solution whose coupling, iterations and potentials are still to be written."""
    cost = problem.cost
    batch = cost.shape[0]
    return Solution(
        coupling=torch.empty_like(cost, memory_format=torch.contiguous_format),
        marginal_error=cost.new_zeros(batch),
        iterations=torch.empty(batch, dtype=torch.int64, device=cost.device),
        converged=torch.ones(batch, dtype=torch.bool, device=cost.device),
        row_potential=torch.empty_like(problem.row_marginal, memory_format=torch.contiguous_format),
        col_potential=torch.empty_like(problem.col_marginal, memory_format=torch.contiguous_format),
    )


def within(error: torch.Tensor, settings: Settings) -> torch.Tensor:
    """Return bool [batch]: whether the error is within the tolerance; never for NaN."""
    return error <= settings.tolerance
