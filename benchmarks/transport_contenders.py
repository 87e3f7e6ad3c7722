"""Who takes part in the transport benchmark, and Kivuko's own three entries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from benchmarks.transport_inputs import Inputs
from kivuko.errors import MissingDependencyError
from kivuko.transport.solve import solve

TOLERANCE = 1e-4
MAX_ITERATIONS = 20_000
# A plan's sums are taken again in float64; a solver that stopped at 1e-4 by its own float32 sums may be this far off.
ROUNDING = 1.02


@dataclass(frozen=True)
class Task:
    """What a contender is to solve, and how hard it may try while it is being set up.

    ``worst_iterations``: how many plain Sinkhorn iterations the hardest problem needs, None if that is not known.
    ``budget``: seconds that one call may take. ``careful``: whether to look for the best setting; if not, any that
    makes the contender go through all it does will do.
    """

    inputs: Inputs
    regularization: float
    worst_iterations: int | None = None
    budget: float = 20.0
    careful: bool = True


@dataclass(frozen=True)
class Ready:
    """A contender set up for a task: compiled, its stopping rule chosen, its inputs in its own arrays.

    ``run`` is what is timed; it returns the plans, complete, in the contender's own arrays. ``plan`` makes float
    tensors of them, untimed.
    """

    run: Callable[[], Any]
    plan: Callable[[Any], torch.Tensor]
    setting: str = ""
    compile_seconds: float = 0.0


class Contender(Protocol):
    """A way to solve a batch of entropic transport problems.

    ``name`` identifies it in records, ``label`` in tables; ``how`` says in one sentence how it was set. ``adapts``: it
    takes as long as it is given, so that nothing need be predicted.
    """

    name: str
    label: str
    how: str
    adapts: bool

    def prepare(self, task: Task) -> Ready:
        """Set up for one task.

        Raises:
            ImportError: a package that it needs is missing.
        """
        ...


@dataclass(frozen=True)
class Kivuko:
    """One of Kivuko's own solvers."""

    name: str
    label: str
    how: str
    options: tuple[tuple[str, Any], ...]
    adapts: bool = False

    def prepare(self, task: Task) -> Ready:
        inputs = task.inputs

        def run() -> torch.Tensor:
            return solve(
                inputs.cost, inputs.row_marginal, inputs.col_marginal, row_mask=inputs.row_mask,
                col_mask=inputs.col_mask, regularization=task.regularization, tolerance=TOLERANCE,
                max_iterations=MAX_ITERATIONS, **dict(self.options),
            ).coupling  # fmt: skip

        return Ready(run, lambda coupling: coupling)


OURS = Kivuko(
    "kivuko",
    "**Kivuko**",
    '`solve(method="sinkhorn")`: the backend that "auto" chooses; each problem stops by itself.',
    (("method", "sinkhorn"),),
)
OURS_TORCH = Kivuko(
    "kivuko_torch",
    "Kivuko, torch",
    '`solve(method="sinkhorn", backend="torch")`: what runs where Numba is not installed.',
    (("method", "sinkhorn"), ("backend", "torch")),
)
REFERENCE = Kivuko(
    "kivuko_log",
    "Kivuko, reference",
    '`solve(method="sinkhorn_log")`: the plain log-domain iteration in torch; a problem that is done leaves the batch.',
    (("method", "sinkhorn_log"),),
)


def contenders() -> list[Contender]:
    """Return all, ours first, in the order in which they are measured and shown."""
    from benchmarks.transport_ott import OTT, use_all_cores
    from benchmarks.transport_peers import GEOMLOSS, POT, POT_BY_SHAPE

    use_all_cores()  # now, because importing POT starts JAX
    return [OURS, OURS_TORCH, REFERENCE, *POT, POT_BY_SHAPE, *OTT, GEOMLOSS]


def missing(contender: Contender) -> str | None:
    """Return why a contender cannot take part, None if it can."""
    cost = torch.tensor([[[0.0, 1.0], [1.0, 0.0]]] * 2)
    half = torch.full((2, 2), 0.5)
    try:
        contender.prepare(Task(Inputs(cost, half, half), 0.5, worst_iterations=10, careful=False)).run()
    except (ImportError, MissingDependencyError) as problem:
        return f"not available: {problem}"
    return None


def worst_iterations(inputs: Inputs, regularization: float) -> int:
    """Return how many plain iterations, in tens, the hardest problem of a batch needs to meet the tolerance."""
    plan = solve(
        inputs.cost, inputs.row_marginal, inputs.col_marginal, row_mask=inputs.row_mask, col_mask=inputs.col_mask,
        regularization=regularization, tolerance=TOLERANCE, max_iterations=MAX_ITERATIONS, method="sinkhorn_log",
    )  # fmt: skip
    return int(plan.iterations.max())


def marginal_errors(plan: torch.Tensor, inputs: Inputs) -> torch.Tensor:
    """Return float64 [batch]: the larger of the L1 distances of the row sums and the column sums of each plan.

    NaN where the plan has any.
    """
    plan = plan.double()
    rows = (plan.sum(dim=2) - inputs.row_marginal).abs().sum(dim=1)
    cols = (plan.sum(dim=1) - inputs.col_marginal).abs().sum(dim=1)
    return torch.maximum(rows, cols)
