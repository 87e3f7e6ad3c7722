"""Batched entropic transport: Kivuko's ``solve`` against POT's ``ot.batch.solve_batch``.

Same costs, same regularization, float32, batches of one size because POT takes no masks. The two are timed in turn and
reported as a ratio, with the marginal error that each reached.
"""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from kivuko.transport import cosine_cost, solve

RESULTS = Path(__file__).parent / "results"
ROUNDS, TOLERANCE = 5, 1e-3


def main() -> None:
    """Time both, print a table, and write ``benchmarks/results/transport.json``."""
    rows = []
    print(f"{'batch':>6} {'size':>8} {'reg':>6} {'POT ms':>9} {'kivuko ms':>10} {'ratio':>7}   marginal errors")
    for size in ((64, 8, 8), (256, 12, 10), (256, 32, 64)):
        for regularization in (0.1, 0.05, 0.02):
            row = compare(*size, regularization)
            rows.append(row)
            print(
                f"{row['batch']:>6} {row['n']:>4}x{row['m']:<3} {regularization:>6} {row['pot_ms']:>9.1f} "
                f"{row['kivuko_ms']:>10.1f} {row['pot_over_kivuko']:>7.1f}   "
                f"{row['pot_marginal_error']:.1e} {row['kivuko_marginal_error']:.1e}"
            )
    machine = {
        "processor": platform.processor() or platform.machine(), "threads": torch.get_num_threads(),
        "torch": torch.__version__, "python": platform.python_version(),
    }  # fmt: skip
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps({"machine": machine, "tolerance": TOLERANCE, "rounds": ROUNDS, "rows": rows}, indent=1)
    (RESULTS / "transport.json").write_text(text + "\n", encoding="utf-8")


def compare(batch: int, n: int, m: int, regularization: float) -> dict[str, float]:
    """Time both on one batch of random unit vectors' cosine costs; medians over rounds, taken in turn."""
    from ot.batch import solve_batch

    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(batch, n, 64, generator=generator), torch.randn(batch, m, 64, generator=generator)
    cost = cosine_cost(x, y)
    a, b = torch.full((batch, n), 1 / n), torch.full((batch, m), 1 / m)
    pot_times, own_times = [], []
    for _ in range(ROUNDS):
        seconds, theirs = timed(lambda: solve_batch(cost, regularization, a, b, max_iter=1000, tol=TOLERANCE))
        pot_times.append(seconds)
        seconds, ours = timed(lambda: solve(cost, regularization=regularization, tolerance=TOLERANCE))
        own_times.append(seconds)
    return {
        "batch": batch, "n": n, "m": m, "regularization": regularization,
        "pot_ms": 1e3 * statistics.median(pot_times), "kivuko_ms": 1e3 * statistics.median(own_times),
        "pot_over_kivuko": statistics.median(p / k for p, k in zip(pot_times, own_times, strict=True)),
        "pot_marginal_error": error(theirs.plan, a, b), "kivuko_marginal_error": error(ours.coupling, a, b),
    }  # fmt: skip


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Return (seconds, result) of one call."""
    started = time.perf_counter()
    result = call()
    return time.perf_counter() - started, result


def error(plan: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> float:
    """Return the worst L1 violation of either marginal in the batch."""
    rows, cols = (plan.sum(2) - a).abs().sum(1), (plan.sum(1) - b).abs().sum(1)
    return float(torch.maximum(rows, cols).max())


if __name__ == "__main__":
    main()
