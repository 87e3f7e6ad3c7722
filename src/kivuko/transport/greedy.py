"""Greedy one-to-one alignment: what token-level distillation did before transport, and the baseline for it."""

from __future__ import annotations

from dataclasses import replace

import torch

from kivuko.transport.problem import Problem
from kivuko.transport.settings import Settings
from kivuko.transport.solution import Solution, marginal_error, within, zero_solution


def greedy(problem: Problem, settings: Settings) -> Solution:
    """Match the cheapest pair of positions that are both still free, again and again, until one side has none left.

    That is the alignment of DR.DECR (Li et al. 2022): each position is matched at most once, so the longer side keeps
    unmatched ones. Every match carries the same share of one unit of mass; of the marginals only their zeros count,
    and ``marginal_error`` says how far the plan is from them (0 for uniform marginals on sides of one length). Of
    equally cheap pairs the first is taken, rows before columns. ``iterations`` is the number of matches.
    """
    solution = zero_solution(problem)
    batch, n, m = problem.cost.shape
    if solution.coupling.numel() == 0:
        return solution
    row_free, col_free = problem.row_marginal > 0, problem.col_marginal > 0
    matches = torch.minimum(row_free.sum(dim=1), col_free.sum(dim=1))  # [batch]
    dead = ~(row_free[:, :, None] & col_free[:, None, :])
    left = problem.cost.masked_fill(dead, torch.inf).flatten(1)  # [batch, n m]
    each = torch.arange(batch, device=left.device)
    for turn in range(int(matches.max())):
        cell = left.argmin(dim=1)  # [batch]
        row, col = cell // m, cell % m
        open_ = turn < matches
        solution.coupling[each[open_], row[open_], col[open_]] = 1 / matches[open_].to(left.dtype)
        grid = left.view(batch, n, m)
        grid[each, row, :] = torch.inf
        grid[each, :, col] = torch.inf
    error = marginal_error(solution.coupling, problem.row_marginal, problem.col_marginal)
    return replace(solution, marginal_error=error, iterations=matches, converged=within(error, settings))
