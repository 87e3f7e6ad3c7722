"""The answer to a batch of transport problems, with what is needed to judge it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from kivuko.transport.problem import Problem


@dataclass(frozen=True, eq=False)
class Plan:
    """Optimal couplings of a batch of problems, and how well each was solved.

    No field carries a gradient. By the envelope theorem the gradient of the regularised optimum with respect
    to the cost is the coupling itself, so ``(plan.coupling * cost).sum()`` with the live cost is what to
    differentiate.

    Attributes:
        coupling: [batch, n, m], mass moved from row to column; entries in [0, 1], exactly 0 where a row or
            a column is masked or holds no mass.
        transport_cost: [batch], <coupling, cost>, in the unit of the cost. Without the entropy term.
        entropy: [batch], - sum P log P in nats, in [0, log(n m)].
        marginal_error: [batch], the larger of the L1 distances of the row sums and of the column sums from
            the marginals asked for: the mass in the wrong place, in [0, 2] for any plan of mass 1.
        iterations: int64 [batch], how many iterations that problem was given.
        converged: bool [batch], whether ``marginal_error`` is within the tolerance asked for. Always True
            for an empty problem, whose coupling is zero.
    """

    coupling: torch.Tensor
    transport_cost: torch.Tensor
    entropy: torch.Tensor
    marginal_error: torch.Tensor
    iterations: torch.Tensor
    converged: torch.Tensor


def marginal_error(coupling: torch.Tensor, row_marginal: torch.Tensor, col_marginal: torch.Tensor) -> torch.Tensor:
    """Return [batch]: the larger of the L1 violations of the row and of the column marginal."""
    rows = (coupling.sum(dim=2) - row_marginal).abs().sum(dim=1)
    cols = (coupling.sum(dim=1) - col_marginal).abs().sum(dim=1)
    return torch.maximum(rows, cols)


def describe(
    problem: Problem,
    coupling: torch.Tensor,
    *,
    error: torch.Tensor,
    iterations: torch.Tensor,
    tolerance: float,
) -> Plan:
    """Make a :class:`Plan` of what a solver found; ``error`` is the marginal error it stopped at."""
    return Plan(
        coupling=coupling,
        transport_cost=(coupling * problem.cost).sum(dim=(1, 2)),
        entropy=-torch.xlogy(coupling, coupling).sum(dim=(1, 2)),
        marginal_error=error,
        iterations=iterations,
        converged=error <= tolerance,
    )
