"""Sinkhorn's algorithm in the log domain: the reference that the fast paths are held against."""

from __future__ import annotations

import torch

from kivuko.transport.problem import Problem
from kivuko.transport.settings import Settings
from kivuko.transport.solution import Solution, marginal_error, target, within, zero_solution

# Iterations between two looks at the marginal error.
_BLOCK = 10


def log_sinkhorn(problem: Problem, settings: Settings) -> Solution:
    """Solve each problem by fitting its row potentials, then its column potentials, over and over.

    With ``log P = log a + log b + (f + g - cost) / regularization``, an iteration is
    ``f = -share * regularization * logsumexp(log b + (g - cost) / regularization)`` over columns, then the same for
    ``g`` over rows (Peyré & Cuturi 2019, sec. 4.4; the share for KL-relaxed marginals is Chizat et al. 2018's).
    Nothing is done to be fast: that is its use. The marginal error is looked at every ten iterations; a problem that
    has converged leaves the batch.
    """
    solution = zero_solution(problem)
    index = problem.row_marginal.any(dim=1).nonzero()[:, 0]  # empty problems are solved by zero
    log_row, log_col = problem.row_marginal.log(), problem.col_marginal.log()  # -inf where there is no mass
    f, g = torch.zeros_like(log_row), torch.zeros_like(log_col)  # in units of the regularization
    spent = 0
    while spent < settings.max_iterations and len(index):
        cost = problem.cost if len(index) == len(f) else problem.cost[index]
        work = cost.new_empty(cost.shape)
        a, b, f_now, g_now = log_row[index], log_col[index], f[index], g[index]
        for _ in range(min(_BLOCK, settings.max_iterations - spent)):
            f_now = -settings.row_share * _log_sum(cost, b + g_now, settings.regularization, 2, work)
            g_now = -settings.col_share * _log_sum(cost, a + f_now, settings.regularization, 1, work)
            spent += 1
        f[index], g[index] = f_now, g_now

        torch.mul(cost, -1 / settings.regularization, out=work)
        coupling = work.add_((a + f_now)[:, :, None]).add_((b + g_now)[:, None, :]).exp_()
        error = marginal_error(
            coupling,
            target(problem.row_marginal[index], f_now * settings.regularization, settings.row_penalty),
            target(problem.col_marginal[index], g_now * settings.regularization, settings.col_penalty),
        )
        done = within(error, settings) | (spent >= settings.max_iterations)
        found = index[done]
        solution.coupling[found], solution.marginal_error[found] = coupling[done], error[done]
        solution.row_potential[found] = torch.where(a > -torch.inf, f_now, 0.0)[done] * settings.regularization
        solution.col_potential[found] = torch.where(b > -torch.inf, g_now, 0.0)[done] * settings.regularization
        solution.iterations[found], solution.converged[found] = spent, within(error, settings)[done]
        index = index[~done]
    return solution


def _log_sum(
    cost: torch.Tensor, offset: torch.Tensor, regularization: float, dim: int, work: torch.Tensor
) -> torch.Tensor:
    """Return the log of sum exp(offset - cost / regularization) over ``dim``, computed in the buffer ``work``."""
    torch.mul(cost, -1 / regularization, out=work)
    work.add_(offset[:, None, :] if dim == 2 else offset[:, :, None])
    # A row that meets no mass at all has potential 0: its own mass is zero, or the problem would be empty.
    largest = work.amax(dim=dim, keepdim=True).clamp_min(torch.finfo(cost.dtype).min / 4)
    return work.sub_(largest).exp_().sum(dim=dim).log_() + largest.squeeze(dim)
