"""``python -m benchmarks.transport_gpu [--quick]``: Kivuko's transport on a CUDA GPU beside POT and a compiled one.

The same float32 costs on the same device, uniform marginals, one size a batch because POT takes no masks. Contenders
are run in turn, round by round, each call timed with CUDA events from an idle device; reported are medians, and the
medians of the ratios within rounds. Every plan's marginal error (the larger L1 distance of row and column sums, the
worst problem of the batch, taken in float64) is shown beside its time: a time counts only with the error it bought.

POT stops when the largest L2 row error of the batch is below its ``tol``, which is looser than an L1 error; it is given
the tolerance divided by the square root of the rows, which makes its answer at least as good as the others'.

Whoever takes more than a second a call is timed once. ``--quick`` measures a quarter of the batches.

Without a CUDA device it says so and exits with status 2.
"""

from __future__ import annotations

import json
import platform
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from kivuko.transport.cost import cosine_cost
from kivuko.transport.problem import pose, settings
from kivuko.transport.solve import solve

RESULTS = Path(__file__).parent / "results"
BATCHES = (64, 256, 1024, 4096)
SIZES = ((8, 8), (32, 64), (128, 128))
REGULARIZATIONS = (0.1, 0.05, 0.02, 0.01)
TOLERANCE, MOST_ITERATIONS = 1e-4, 10_000
ROUNDS = 7
_SLOW = 1000.0  # milliseconds: whoever takes longer is timed once
OURS = "kivuko_triton"
HOW = {
    OURS: '`solve(backend="triton")`: one kernel, each problem stops by itself',
    "kernel_only": "the same kernel without the checks and the description of the plan that `solve` adds",
    "kivuko_torch": '`solve(backend="torch")`',
    "compiled_log": (
        "`torch.compile` of ten iterations of the reference (log domain); the loop over them and the stopping test, "
        "for the batch as a whole, stay outside: their length depends on the data"
    ),
    "pot": '`ot.batch.solve_batch(method="log_sinkhorn", grad="detach")`',
}
Solve = Callable[[], torch.Tensor]


@dataclass(frozen=True)
class Case:
    """One batch of problems: cost [batch, n, m] and uniform marginals, float32 on the GPU."""

    cost: torch.Tensor
    a: torch.Tensor
    b: torch.Tensor
    regularization: float


def main() -> int:
    """Time every contender on every batch, print a table, and write it with the numbers to ``benchmarks/results``."""
    if not torch.cuda.is_available():
        print("benchmarks.transport_gpu needs a CUDA GPU, and torch sees none on this machine.", file=sys.stderr)
        return 2
    rows, quick = [], "--quick" in sys.argv[1:]
    for n, m in SIZES:
        for batch in BATCHES[::2] if quick else BATCHES:
            torch.compiler.reset()  # each shape is compiled for itself, and only some are kept
            for regularization in REGULARIZATIONS[::2] if quick else REGULARIZATIONS:
                rows.append(measure(case(batch, n, m, regularization)))
                print(line(rows[-1]), flush=True)
    RESULTS.mkdir(exist_ok=True)
    record = {"machine": machine(), "tolerance": TOLERANCE, "rounds": ROUNDS, "contenders": HOW, "rows": rows}
    (RESULTS / "transport_gpu.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (RESULTS / "transport_gpu.md").write_text(table(rows), encoding="utf-8")
    return 0


def case(batch: int, n: int, m: int, regularization: float) -> Case:
    """Return cosine costs of random unit vectors: n noisy copies among m."""
    generator = torch.Generator().manual_seed(0)
    y = torch.randn(batch, m, 64, generator=generator)
    x = y[:, torch.randint(m, (n,), generator=generator)] + torch.randn(batch, n, 64, generator=generator)
    cost = cosine_cost(x.cuda(), y.cuda())
    return Case(cost, cost.new_full((batch, n), 1 / n), cost.new_full((batch, m), 1 / m), regularization)


def contenders(one: Case) -> dict[str, Solve]:
    """Return every way to solve a batch, ready to be called."""
    from kivuko.transport.triton_sinkhorn import triton_sinkhorn

    problem = pose(one.cost, one.a, one.b, row_mask=None, col_mask=None)
    options = settings(
        regularization=one.regularization, marginal_penalty=None, tolerance=TOLERANCE, max_iterations=MOST_ITERATIONS
    )  # fmt: skip

    def own(backend: str) -> Solve:
        return lambda: solve(
            one.cost, one.a, one.b, regularization=one.regularization, backend=backend, tolerance=TOLERANCE,
            max_iterations=MOST_ITERATIONS,
        ).coupling  # fmt: skip

    found = {
        OURS: own("triton"),
        "kernel_only": lambda: triton_sinkhorn(problem, options).coupling,
        "kivuko_torch": own("torch"),
        "compiled_log": lambda: compiled_log(one),
    }
    try:
        from ot.batch import solve_batch
    except ImportError:
        print("POT is not installed, and left out: pip install 'kivuko[bench]'", file=sys.stderr)
        return found
    tolerance = TOLERANCE / one.a.shape[1] ** 0.5
    found["pot"] = lambda: solve_batch(
        one.cost, one.regularization, one.a, one.b, max_iter=MOST_ITERATIONS, tol=tolerance, method="log_sinkhorn",
        grad="detach",
    ).plan  # fmt: skip
    return found


@torch.compile(dynamic=False)
def ten_iterations(
    kernel: torch.Tensor, log_a: torch.Tensor, log_b: torch.Tensor, g: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the potentials, the plan, and the worst row error after ten iterations; kernel is -cost / regularization.

    The iterations of :func:`kivuko.transport.reference.log_sinkhorn`.
    """
    f = g.new_zeros(log_a.shape)
    for _ in range(10):
        f = -torch.logsumexp(kernel + (log_b + g)[:, None, :], dim=2)
        g = -torch.logsumexp(kernel + (log_a + f)[:, :, None], dim=1)
    plan = (kernel + (log_a + f)[:, :, None] + (log_b + g)[:, None, :]).exp()
    return f, g, plan, (plan.sum(dim=2) - log_a.exp()).abs().sum(dim=1).amax()


def compiled_log(one: Case) -> torch.Tensor:
    """Solve with the compiled reference."""
    kernel, log_a, log_b = -one.cost / one.regularization, one.a.log(), one.b.log()
    g = torch.zeros_like(log_b)
    for _ in range(MOST_ITERATIONS // 10):
        _, g, plan, error = ten_iterations(kernel, log_a, log_b, g)
        if error.item() <= TOLERANCE:
            break
    return plan


def measure(one: Case) -> dict[str, Any]:
    """Return the medians over rounds, the marginal errors, and the medians of the ratios to ours within rounds."""
    found = contenders(one)
    errors, times = {}, {name: [] for name in found}
    slow = set()
    for name, run in found.items():
        run()  # compiles, and warms up
        if (spent := milliseconds(run)) > _SLOW:
            slow.add(name)
            times[name] = [spent] * ROUNDS
        errors[name] = worst_error(run(), one)
    for _ in range(ROUNDS):
        for name, run in found.items():
            if name not in slow:
                times[name].append(milliseconds(run))
    batch, n, m = one.cost.shape
    return {
        "batch": batch, "n": n, "m": m, "regularization": one.regularization, "error": errors,
        "ms": {name: statistics.median(values) for name, values in times.items()},
        "times_ours": {
            name: statistics.median(v / u for v, u in zip(values, times[OURS], strict=True))
            for name, values in times.items()
        },
    }  # fmt: skip


def milliseconds(run: Solve) -> float:
    """Return how long a call takes on the device, from idle to idle."""
    started, ended = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    started.record()
    run()
    ended.record()
    torch.cuda.synchronize()
    return float(started.elapsed_time(ended))


def worst_error(plan: torch.Tensor, one: Case) -> float:
    """Return the largest L1 violation of either marginal in the batch, in float64."""
    plan = plan.double()
    rows, cols = (plan.sum(2) - one.a).abs().sum(1), (plan.sum(1) - one.b).abs().sum(1)
    return float(torch.maximum(rows, cols).max())


def line(row: dict[str, Any]) -> str:
    """Return one row of the table in Markdown: milliseconds, and in brackets the marginal error."""
    head = f"| {row['n']} x {row['m']} | {row['batch']} | {row['regularization']:g} |"
    cells = (f" {row['ms'][name]:.3f} ({row['error'][name]:.0e}) |" if name in row["ms"] else " |" for name in HOW)
    return head + "".join(cells) + f" {row['times_ours'].get('pot', float('nan')):.1f} |"


def table(rows: list[dict[str, Any]]) -> str:
    """Return the table in Markdown, with what its columns mean."""
    names = " | ".join(HOW)
    rule = "|---" * (len(HOW) + 4) + "|"
    notes = "\n".join(f"- {name}: {how}." for name, how in HOW.items())
    about = f"Median milliseconds of {ROUNDS} rounds (worst marginal error), float32, tolerance {TOLERANCE:g}."
    head = f"| size | batch | regularization | {names} | POT / {OURS} |"
    return "\n".join([about, "", notes, "", head, rule, *map(line, rows), ""])


def machine() -> dict[str, Any]:
    """Return what the timings were taken on."""
    import triton

    return {
        "device": torch.cuda.get_device_name(), "cuda": torch.version.cuda, "torch": torch.__version__,
        "triton": triton.__version__, "python": platform.python_version(),
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
