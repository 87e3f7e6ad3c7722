"""The CPU path: compiled, one problem at a time in cache, on all the threads that torch may use."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import torch

from kivuko.transport.numba_kernel import Options, solve_range
from kivuko.transport.problem import Problem
from kivuko.transport.settings import Settings
from kivuko.transport.solution import Figures, Solution, empty_solution, within

# The regularization is approached in stages where the largest cost is more than this many times it.
_WIDEST = 200.0
# Work for one more thread, in cells: less is done before the thread has woken up.
_SHARE = 8192
# Parts per thread: threads that are done early take from what the others have left.
_PARTS = 4


def numba_sinkhorn(problem: Problem, settings: Settings) -> Solution:
    """Solve each problem by itself, to its own convergence; same answer as ``log_sinkhorn``, on the CPU.

    Rows and columns are fitted in turn on an absorbed kernel, with over-relaxation once the error falls at a steady
    rate; a problem that resists is finished by Newton's method. An iteration is one fit of both sides, or one Newton
    step. Runs on ``torch.get_num_threads()`` threads, without Python's lock; its answer does not depend on how many.
    """
    batch, n, m = problem.cost.shape
    options = kernel_options(settings)
    inputs = [part.contiguous().numpy() for part in (problem.cost, problem.row_marginal, problem.col_marginal)]
    solution = empty_solution(problem)
    figures = np.zeros((batch, 5))
    found = (solution.coupling, solution.row_potential, solution.col_potential)
    if solution.coupling.numel():
        outputs = (*(part.numpy() for part in found), figures, solution.iterations.numpy())
        in_parts(lambda first, last: solve_range(*inputs, options, first, last, *outputs), batch, n * m)
    cost, divergence, entropy, error, largest = torch.from_numpy(figures).to(problem.cost.dtype).unbind(1)
    return replace(
        solution, marginal_error=error, converged=within(error, settings),
        figures=Figures(cost, entropy, divergence), largest_cost=largest,
    )  # fmt: skip


def kernel_options(settings: Settings) -> Options:
    """Return the settings in the form that the compiled functions take."""
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
    """Return the pool of that many threads, made when it is first needed. A forked process makes its own."""
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
