"""The CPU path: compiled, one problem at a time in cache, on all the threads that torch may use."""

import itertools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import torch
from numba import njit

from kivuko.transport.numba_kernel import Options, finish, row_sums, solve_one, solve_range
from kivuko.transport.numba_math import OPTIONS, load, new_side, padded
from kivuko.transport.problem import Figures, Problem, Settings, Solution, empty_solution, within

# The regularization is approached in stages where the largest cost is more than this many times it.
_WIDEST = 200.0
# Work for one more thread, in cells: less is done before the thread has woken up.
_SHARE = 8192
# Parts per thread: threads that are done early take from what the others have left.
_PARTS = 4


def numba_sinkhorn(problem: Problem, settings: Settings) -> Solution:
    """Solve each problem by itself, to its own convergence; same answer as ``log_sinkhorn``, on the CPU.

    Rows and columns are fitted in turn on an absorbed kernel, with over-relaxation once the error falls at a steady
    rate, then by Newton's method. The answer does not depend on the number of threads.
    """
    batch, n, m = problem.cost.shape
    options = kernel_options(settings)
    inputs = [part.contiguous().numpy() for part in (problem.cost, problem.row_marginal, problem.col_marginal)]
    solution = empty_solution(problem)
    figures = np.zeros((batch, 5))
    tensors = (solution.coupling, solution.row_potential, solution.col_potential)
    if solution.coupling.numel():
        outputs = (*(part.numpy() for part in tensors), figures, solution.iterations.numpy())
        in_parts(lambda first, last: solve_range(*inputs, options, first, last, *outputs), batch, n * m)
    cost, divergence, entropy, error, largest = torch.from_numpy(figures).to(problem.cost.dtype).unbind(1)
    return replace(
        solution, marginal_error=error, converged=within(error, settings),
        figures=Figures(cost, entropy, divergence), largest_cost=largest,
    )  # fmt: skip


def kernel_options(settings: Settings) -> Options:
    return Options(
        settings.regularization, settings.row_share, settings.col_share, settings.tolerance,
        settings.max_iterations, _WIDEST,
    )  # fmt: skip


def in_parts(work: Callable[[int, int], None], batch: int, cells: int) -> None:
    """Run ``work`` over ranges that cover the batch, on as many threads as are worth waking."""
    threads = max(1, min(torch.get_num_threads(), batch * cells // _SHARE))
    if threads == 1:
        work(0, batch)
        return
    size = max(1, -(-batch // (threads * _PARTS)))
    starts = itertools.count(0, size)  # next() on it is one step under Python's lock: no two threads get the same

    def take() -> None:
        for first in starts:
            if first >= batch:
                return
            work(first, min(batch, first + size))

    others = [_pool(threads - 1).submit(take) for _ in range(threads - 1)]
    try:
        take()
    finally:
        for other in others:
            other.result()


_pools: dict[int, ThreadPoolExecutor] = {}
_lock = threading.Lock()


def _pool(workers: int) -> ThreadPoolExecutor:
    """Return the pool of that many threads, created when first needed. A forked process has its own."""
    with _lock:
        if workers not in _pools:
            _pools[workers] = ThreadPoolExecutor(workers, thread_name_prefix="kivuko-transport")
        return _pools[workers]


def _forget_pools() -> None:
    global _lock
    _pools.clear()
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pools)


# Numba compiles these functions; type checkers see neither its decorators' types nor its intrinsics.
# mypy: ignore-errors


@njit(**OPTIONS)
def align_range(x, x_mean, x_starts, y, y_mean, y_starts, options, first, last, gradient, figures):
    """Align the pairs ``first`` to ``last`` - 1 and write the results into the last two arrays.

    ``x`` and ``y`` are the tokens [tokens, dim] of all pairs, end to end, minus the means; pair p has those from
    starts[p] up to starts[p + 1]. ``gradient`` is like x; ``figures``, float64 [pairs, 2]: transport cost, marginal
    error.
    """
    n, m = np.max(x_starts[1:] - x_starts[:-1]), np.max(y_starts[1:] - y_starts[:-1])
    width = padded(x.shape[1])
    ux, uy = np.zeros((padded(n), width), x.dtype), np.zeros((padded(m), width), x.dtype)
    lengths, unused = np.empty(n, x.dtype), np.empty(m, x.dtype)
    cost, sums = np.empty((n, m), x.dtype), np.empty(padded(n), x.dtype)
    tile = np.empty((padded(n), padded(m)), x.dtype)
    rows, cols = new_side(padded(n), x), new_side(padded(m), x)
    system, right, summary = np.empty((n, n), np.float64), np.empty(n, np.float64), np.empty(5, np.float64)
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
        finish(cost, size_x, size_y, options, tile, rows, cols, cost, summary)  # the plan takes the cost's place
        figures[p, 0] = summary[0]
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
        largest = kind(0)
        if length < kind(1e-8) or length > kind(1e18):  # as in cosine_cost: squares overflow or vanish
            for k in range(dim):
                largest = max(largest, abs(units[i, k]))
        if largest > kind(0) and np.isfinite(largest):
            total = kind(0)
            for k in range(dim):
                units[i, k] /= largest
                total += units[i, k] * units[i, k]
            length = np.sqrt(total)
            lengths[i] = largest * length if largest * length >= kind(1e-8) else kind(1)
        else:
            if length < kind(1e-8):  # a zero vector has no direction
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
