"""The compiled part of ``alignment``: cost, plan and gradient of one pair of token lists at a time, in cache."""

# Numba compiles these functions; type checkers see neither its decorators' types nor its intrinsics.
# mypy: ignore-errors

from __future__ import annotations

import numpy as np
from numba import njit

from kivuko.transport.numba_kernel import finish, row_sums, solve_one
from kivuko.transport.numba_options import OPTIONS
from kivuko.transport.numba_side import load, new_side, padded


@njit(**OPTIONS)
def align_range(x, x_mean, x_starts, y, y_mean, y_starts, options, first, last, gradient, figures):
    """Align the pairs ``first`` to ``last`` - 1 and write what was found into the last two arrays.

    Args:
        x, y: [tokens, dim], the tokens of all pairs, end to end. x_mean, y_mean: [dim], taken from each.
        x_starts, y_starts: int64 [pairs + 1]; pair p has the tokens from starts[p] up to starts[p + 1].
        gradient: like x, of every pair's transport cost along its tokens, the plan held fixed.
        figures: float64 [pairs, 2]: transport cost, marginal error.
    """
    n, m = np.max(x_starts[1:] - x_starts[:-1]), np.max(y_starts[1:] - y_starts[:-1])
    width = padded(x.shape[1])
    ux, uy = np.zeros((padded(n), width), x.dtype), np.zeros((padded(m), width), x.dtype)
    lengths, unused = np.empty(n, x.dtype), np.empty(m, x.dtype)
    cost, sums = np.empty((n, m), x.dtype), np.empty(padded(n), x.dtype)
    tile = np.empty((padded(n), padded(m)), x.dtype)
    rows, cols = new_side(padded(n), x), new_side(padded(m), x)
    system, right, told = np.empty((n, n), np.float64), np.empty(n, np.float64), np.empty(5, np.float64)
    for p in range(first, last):
        figures[p] = 0.0
        x_from, x_to, y_from, y_to = x_starts[p], x_starts[p + 1], y_starts[p], y_starts[p + 1]
        gradient[x_from:x_to] = x.dtype.type(0)
        size_x, size_y = x_to - x_from, y_to - y_from
        if size_x == 0 or size_y == 0:
            continue
        _directions(x, x_from, size_x, x_mean, ux, lengths)
        _directions(y, y_from, size_y, y_mean, uy, unused)
        largest = _cosine_cost(ux, uy, size_x, size_y, sums, cost)
        load(np.full(size_x, x.dtype.type(1.0 / size_x)), rows)
        load(np.full(size_y, x.dtype.type(1.0 / size_y)), cols)
        _, figures[p, 1] = solve_one(cost, size_x, size_y, largest, options, tile, rows, cols, system, right)
        finish(cost, size_x, size_y, options, tile, rows, cols, cost, told)  # the plan takes the cost's place
        figures[p, 0] = told[0]
        _pull(cost, ux, uy, size_x, size_y, lengths, gradient, x_from)


@njit(**OPTIONS)
def _directions(vectors, first, count, mean, units, lengths):
    """Write the unit vectors that the cosine is taken of, and the lengths that they had."""
    kind = vectors.dtype.type
    dim = vectors.shape[1]
    for i in range(count):
        total = kind(0)
        for k in range(dim):
            one = vectors[first + i, k] - mean[k]
            units[i, k] = one
            total += one * one
        length = np.sqrt(total)
        if length < kind(1e-8):  # as in cosine_cost: such a vector has no direction
            length = kind(1)
        lengths[i] = length
        scale = kind(1) / length
        for k in range(dim):
            units[i, k] *= scale
    for i in range(count, padded(count)):
        for k in range(dim):
            units[i, k] = kind(0)


@njit(**OPTIONS)
def _cosine_cost(ux, uy, n, m, sums, cost):
    """Write one minus the cosines, in [0, 2]; return the largest, NaN if one is no number."""
    kind = cost.dtype.type
    largest = doubt = kind(0)
    for j in range(m):
        row_sums(ux, uy[j], sums, n)
        for i in range(n):
            doubt += sums[i]
            cost[i, j] = min(max(kind(1) - sums[i], kind(0)), kind(2))
            largest = max(largest, cost[i, j])
    return largest if np.isfinite(doubt) else kind(np.nan)


@njit(**OPTIONS)
def _pull(plan, ux, uy, n, m, lengths, gradient, first):
    """Write the gradient: the plan's mean of the other side, less what only changes a vector's length."""
    kind = plan.dtype.type
    dim = gradient.shape[1]
    for i in range(n):
        for k in range(dim):
            gradient[first + i, k] = kind(0)
        for j in range(m):
            share = plan[i, j]
            for k in range(dim):
                gradient[first + i, k] -= share * uy[j, k]
        along = kind(0)
        for k in range(dim):
            along += gradient[first + i, k] * ux[i, k]
        scale = kind(1) / lengths[i]
        for k in range(dim):
            gradient[first + i, k] = (gradient[first + i, k] - along * ux[i, k]) * scale
