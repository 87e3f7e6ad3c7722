"""Kivuko's ``solve`` and POT's batched log-domain solver in turn: how the ratio depends on how hard the problems are.

256 problems of 32 x 64, float32, cosine costs of random token vectors: in few dimensions costs spread wide and POT,
which stops when the worst problem of the batch has converged, needs many iterations; in many they are nearly all alike.
POT's ``tol`` is the loosest tried with which its worst L1 marginal error is within 1e-4 (to 2 % of rounding).
Run: python -m benchmarks.transport_paired
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from kivuko.transport.cost import cosine_cost
from kivuko.transport.solve import solve

TOLERANCE, ROUNDS = 1e-4, 9


def main() -> None:
    """Print a table."""
    print("dimension  regularization  POT ms  Kivuko ms  ratio: median (least to most)  marginal errors")
    for dim in (16, 24, 32, 64, 384):
        generator = torch.Generator().manual_seed(0)
        x, y = (torch.randn(256, size, dim, generator=generator) for size in (32, 64))
        for regularization in (0.05, 0.02):
            print(f"{dim:>9}  {regularization:>14}  {compare(cosine_cost(x, y), regularization)}", flush=True)


def compare(cost: torch.Tensor, regularization: float) -> str:
    """Time both in turn; return a line of the table."""
    rows, cols = torch.full(cost.shape[:2], 1 / cost.shape[1]), torch.full(cost.shape[::2], 1 / cost.shape[2])
    pot, pot_error = calibrated(cost, rows, cols, regularization)
    kivuko = solve(cost, regularization=regularization, tolerance=TOLERANCE)
    times = [
        (seconds(pot), seconds(lambda: solve(cost, regularization=regularization, tolerance=TOLERANCE)))
        for _ in range(ROUNDS)
    ]
    ratios = [theirs / ours for theirs, ours in times]
    theirs, ours = (1e3 * statistics.median(column) for column in zip(*times, strict=True))
    return (
        f"{theirs:>6.0f}  {ours:>9.2f}  {statistics.median(ratios):.0f} ({min(ratios):.0f} to {max(ratios):.0f})  "
        f"{pot_error:.1e}, {kivuko.marginal_error.max():.1e}"
    )


def calibrated(
    cost: torch.Tensor, rows: torch.Tensor, cols: torch.Tensor, regularization: float
) -> tuple[Callable[[], Any], float]:
    """Return a call of POT's solver that reaches the tolerance, and the error that it reaches."""
    from ot.batch import solve_batch

    for tol in (1e-4, 5e-5, 2e-5, 1e-5, 5e-6, 2e-6):

        def call(tol: float = tol) -> Any:
            return solve_batch(cost, regularization, rows, cols, max_iter=20_000, tol=tol, grad="detach")

        plan = call().plan
        error = torch.maximum((plan.sum(2) - rows).abs().sum(1), (plan.sum(1) - cols).abs().sum(1)).max().item()
        if error <= 1.02 * TOLERANCE:
            break
    return call, error


def seconds(call: Callable[[], Any]) -> float:
    """Return how long a call takes."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
