"""POT and GeomLoss, each set to do as little work as the tolerance allows."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.transport_contenders import MAX_ITERATIONS, TOLERANCE, Ready, Task, marginal_errors
from benchmarks.transport_inputs import Inputs

_LOOK_EVERY = 10  # POT looks at its error after iterations 1, 11, 21, ...
_FIRST_LOOK = 64  # GeomLoss iterations that show how fast its error falls
_MOST = 5.0  # seconds a call that GeomLoss may take to get to the tolerance
_SURPLUS = 1.15  # more iterations than the fall of the error promises to need


@dataclass(frozen=True)
class Pot:
    """``ot.batch.solve_batch``. It stops when the largest L2 row error of the batch is below its ``tol``."""

    name: str
    label: str
    how: str
    method: str
    by_shape: bool = False
    adapts: bool = False

    def prepare(self, task: Task) -> Ready:
        import ot.batch  # noqa: F401

        if not self.by_shape:
            tolerance = self._tolerance(task.inputs, task)
            return Ready(
                lambda: self._solved(task.inputs, task, tolerance), lambda plan: plan, f"tol={tolerance:.2g} (L2)"
            )
        groups = [(index, group, self._tolerance(group, task)) for index, group in _groups(task.inputs)]

        def run() -> list[torch.Tensor]:
            return [self._solved(group, task, tolerance) for _, group, tolerance in groups]

        def whole(plans: list[torch.Tensor]) -> torch.Tensor:
            coupling = torch.zeros_like(task.inputs.cost)
            for (index, _, _), plan in zip(groups, plans, strict=True):
                coupling[index, : plan.shape[1], : plan.shape[2]] = plan
            return coupling

        return Ready(run, whole, f"{len(groups)} shapes")

    def _solved(self, inputs: Inputs, task: Task, tolerance: float) -> torch.Tensor:
        from ot.batch import solve_batch

        return solve_batch(
            inputs.cost, task.regularization, inputs.row_marginal, inputs.col_marginal, max_iter=MAX_ITERATIONS,
            tol=tolerance, method=self.method, grad="detach",
        ).plan  # fmt: skip

    def _tolerance(self, inputs: Inputs, task: Task) -> float:
        """Return the largest L2 tolerance with which the L1 error of every problem is within ours.

        It is found by POT's own iteration, number for number, with both errors looked at where POT looks at one.
        """
        safe = TOLERANCE / math.sqrt(inputs.cost.shape[1])  # for any error vector, as L1 <= sqrt(n) L2
        if not task.careful:
            return safe
        log_plan = -inputs.cost / task.regularization
        kernel, log_domain = log_plan.exp(), self.method == "log_sinkhorn"
        row, col = inputs.row_marginal, inputs.col_marginal
        g = torch.zeros_like(col) if log_domain else torch.ones_like(col)
        for iteration in range(MAX_ITERATIONS):
            if log_domain:
                f = row.log() - (log_plan + g[:, None, :]).logsumexp(2)
                g = col.log() - (log_plan + f[:, :, None]).logsumexp(1)
            else:
                f = row / (kernel * g[:, None, :]).sum(2)
                g = col / (kernel * f[:, :, None]).sum(1)
            if iteration % _LOOK_EVERY:
                continue
            if log_domain:
                off = (log_plan + f[:, :, None] + g[:, None, :]).exp().sum(2) - row
            else:
                off = (kernel * f[:, :, None] * g[:, None, :]).sum(2) - row
            worst = float(off.abs().sum(1).max())
            if worst <= TOLERANCE:
                return 1.001 * float(off.square().sum(1).sqrt().max())
            if math.isnan(worst):
                break
        return safe


POT = (
    Pot(
        "pot_log",
        "POT, log",
        '`ot.batch.solve_batch(method="log_sinkhorn", grad="detach")`; `tol` is the L2 error at which the L1 error of '
        "the worst problem has just come within the tolerance, found beforehand; no iteration limit in effect.",
        "log_sinkhorn",
    ),
    Pot(
        "pot_kernel",
        "POT, kernel",
        'likewise with `method="sinkhorn"`: scalings of the kernel, which may underflow.',
        "sinkhorn",
    ),
)
# For ragged batches: padding with zero mass is one way, this the other.
POT_BY_SHAPE = Pot(
    "pot_log_by_shape", "POT, log, by shape", "one call of POT, log, per exact shape.", "log_sinkhorn", by_shape=True
)


def _groups(inputs: Inputs) -> list[tuple[torch.Tensor, Inputs]]:
    """Return the problems of each exact shape, without padding, with their places in the batch."""
    lengths, member = torch.unique(inputs.lengths, dim=0, return_inverse=True)
    groups = []
    for number, (n, m) in enumerate(lengths.tolist()):
        index = (member == number).nonzero()[:, 0]
        cost = inputs.cost[index, :n, :m].contiguous()
        groups.append((index, Inputs(cost, inputs.row_marginal[index, :n], inputs.col_marginal[index, :m])))
    return groups


@dataclass(frozen=True)
class GeomLoss:
    """``geomloss.ot.solve_batch``: annealing over a number of iterations given beforehand, then no check."""

    name: str
    label: str
    how: str
    adapts: bool = True

    def prepare(self, task: Task) -> Ready:
        from geomloss.ot import solve_batch

        inputs = task.inputs

        def solved(iterations: int) -> torch.Tensor:
            return solve_batch(
                inputs.cost, reg=task.regularization, a=inputs.row_marginal, b=inputs.col_marginal, max_iter=iterations
            ).plan

        iterations, reached = _FIRST_LOOK, False
        if task.careful:
            iterations, reached = self._iterations(solved, inputs, min(task.budget, _MOST))
        setting = f"max_iter={iterations}" + ("" if reached else ", the most that the time allowed")
        return Ready(lambda: solved(iterations), lambda plan: plan, setting)

    def _iterations(self, solved: Any, inputs: Inputs, budget: float) -> tuple[int, bool]:
        """Return the fewest iterations that meet the tolerance, or the most the budget allows; its error is ~ 1/n."""
        solved(2)
        started = time.perf_counter()
        solved(4)
        iterations = min(_FIRST_LOOK, max(4, int(4 * budget / (time.perf_counter() - started))))
        while True:
            started = time.perf_counter()
            error = float(marginal_errors(solved(iterations), inputs).max())
            seconds = time.perf_counter() - started
            if error <= TOLERANCE:
                return iterations, True
            affordable = min(MAX_ITERATIONS, int(iterations * budget / seconds))
            needed = math.ceil(_SURPLUS * iterations * error / TOLERANCE)
            if needed > affordable:
                return max(4, affordable // 10), False
            iterations = needed


GEOMLOSS = GeomLoss(
    "geomloss",
    "GeomLoss",
    "`geomloss.ot.solve_batch`, its interface for cost matrices; it has no stopping rule (`tol` is refused), so "
    f"`max_iter` is about the least that reaches the tolerance, or, where that would take over {_MOST:g} s (or the "
    "limit of the cell), what fits in a tenth of that; its marginal error falls only as 1/`max_iter`.",
)
