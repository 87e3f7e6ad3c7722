"""Sinkhorn in torch, and the choice among the fast backends: numba, Triton or torch."""

import functools
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch

from kivuko.errors import MissingDependencyError, UsageError
from kivuko.transport.problem import Problem, Settings, Solution, marginal_error, target, within, zero_solution

# Iterations between two looks at the marginal error, and at each regularization on the way down.
_BLOCK = 10
# Where the way down starts, as a fraction of the spread of the cost. Above it, plans are all but flat.
_START = 0.25
# How far scalings may move within a block. Any positive scaling keeps the plan in the right family, so a
# bound can delay convergence but never falsify it; it keeps products of two of them within float32.
_LEAST, _MOST = 1e-15, 1e15


def scaling_sinkhorn(problem: Problem, settings: Settings) -> Solution:
    """Solve each problem by alternately fitting the rows and the columns of its plan (Cuturi 2013, algorithm 1).

    The state is the logarithm of the plan (Peyré & Cuturi 2019, sec. 4.4). Each block of ten iterations takes one
    exponential and works on scalings, which are then folded back; regularization starts large and is halved block by
    block, for at most half of ``max_iterations``. A problem that has converged leaves the batch.
    """
    solution = zero_solution(problem)
    active = _start(problem, settings)
    spent = 0
    while spent < settings.max_iterations and len(active.index):
        length = min(_BLOCK, settings.max_iterations - spent)
        _advance(active, settings, length)
        spent += length

        plan = active.log_plan.exp()  # [active, n, m]
        now = _error(problem, settings, active, plan)
        finished = within(now, settings) & (active.halvings == 0)
        if spent == settings.max_iterations:
            finished = torch.ones_like(finished)
        if finished.any():
            places = active.index[finished]
            solution.coupling[places], solution.marginal_error[places] = plan[finished], now[finished]
            solution.row_potential[places] = active.row_potential[finished, :, 0] * settings.regularization
            solution.col_potential[places] = active.col_potential[finished, :, 0] * settings.regularization
            solution.iterations[places], solution.converged[places] = spent, within(now, settings)[finished]
        del plan
        active = _next(active, ~finished)
    return solution


@dataclass(frozen=True, eq=False)
class _Active:
    """The problems still being solved; a row or column without mass has 1 in place of its marginal."""

    index: torch.Tensor  # int64 [active], place in the batch
    log_plan: torch.Tensor  # [active, n, m], -inf where the plan is zero
    row: torch.Tensor  # [active, n, 1], marginals
    col: torch.Tensor  # [active, m, 1]
    row_potential: torch.Tensor  # [active, n, 1], what was added to the log plan so far
    col_potential: torch.Tensor  # [active, m, 1]
    halvings: torch.Tensor  # int64 [active], how many times regularization is still to be halved


def _start(problem: Problem, settings: Settings) -> _Active:
    index = problem.row_marginal.any(dim=1).nonzero()[:, 0]  # empty problems are solved by zero
    cost = problem.cost if len(index) == len(problem.cost) else problem.cost[index]
    row, col = problem.row_marginal[index, :, None], problem.col_marginal[index, :, None]
    dead = (row == 0) | (col == 0).transpose(1, 2)  # [active, n, m]
    row, col = row.masked_fill(row == 0, 1.0), col.masked_fill(col == 0, 1.0)
    halvings = torch.zeros(len(index), dtype=torch.int64, device=cost.device)
    if settings.balanced:  # where marginals give way, how far depends on the regularization
        halvings = _halvings(cost, dead, settings.regularization).clamp(0, settings.max_iterations // 2 // _BLOCK)
    # A power of two, so that the halvings end exactly at the requested regularization.
    scale = -settings.regularization * halvings.to(cost.dtype).exp2()[:, None, None]
    log_plan = (cost / scale).masked_fill_(dead, -torch.inf).add_(row.log()).add_(col.log().transpose(1, 2))
    return _Active(index, log_plan, row, col, torch.zeros_like(row), torch.zeros_like(col), halvings)


def _halvings(cost: torch.Tensor, dead: torch.Tensor, regularization: float) -> torch.Tensor:
    """Return int64 [active]: how often the starting regularization must be halved to reach the requested one."""
    if cost.numel() == 0:
        return torch.zeros(cost.shape[0], dtype=torch.int64, device=cost.device)
    highest = cost.masked_fill(dead, -torch.inf).amax(dim=(1, 2))
    lowest = cost.masked_fill(dead, torch.inf).amin(dim=(1, 2))
    return (_START * (highest - lowest) / regularization).clamp(1.0, 2.0**60).log2().ceil().long()


def _advance(active: _Active, settings: Settings, length: int) -> None:
    # The first iteration is in the log domain: after it every entry of the plan is at most 1, so that the
    # exponential cannot overflow whatever the cost was.
    _move(active, _short(active.row, active.log_plan, 2), None, settings)
    _move(active, None, _short(active.col, active.log_plan, 1), settings)
    if length == 1:
        return

    kernel = active.log_plan.exp()
    flipped = kernel.transpose(1, 2)
    col_scaling = torch.ones_like(active.col)
    row_pull, col_pull = (
        _pull(active.row_potential, settings.row_share),
        _pull(active.col_potential, settings.col_share),
    )
    for _ in range(length - 1):
        row_scaling = _relaxed(active.row / (kernel @ col_scaling), settings.row_share, row_pull)  # [active, n, 1]
        col_scaling = _relaxed(active.col / (flipped @ row_scaling), settings.col_share, col_pull)  # [active, m, 1]
    del kernel, flipped
    _move(active, row_scaling.log(), col_scaling.log(), None)


def _relaxed(ratio: torch.Tensor, share: float, pull: torch.Tensor | None) -> torch.Tensor:
    if pull is not None:
        ratio = ratio.clamp_(_LEAST, _MOST).pow_(share).mul_(pull)
    return ratio.clamp_(_LEAST, _MOST)


def _pull(potential: torch.Tensor, share: float) -> torch.Tensor | None:
    """Return the factor by which a relaxed marginal draws a potential back to zero, None where it must hold."""
    return None if share == 1 else (-(1 - share) * potential).exp()


def _move(active: _Active, row: torch.Tensor | None, col: torch.Tensor | None, settings: Settings | None) -> None:
    """Add to the potentials, and so to the log plan; with settings, only the share that relaxed marginals allow."""
    if row is not None:
        if settings is not None and settings.row_share < 1:
            row = settings.row_share * row - (1 - settings.row_share) * active.row_potential
        active.row_potential.add_(row)
        active.log_plan.add_(row)
    if col is not None:
        if settings is not None and settings.col_share < 1:
            col = settings.col_share * col - (1 - settings.col_share) * active.col_potential
        active.col_potential.add_(col)
        active.log_plan.add_(col.transpose(1, 2))


def _short(marginal: torch.Tensor, log_plan: torch.Tensor, dim: int) -> torch.Tensor:
    """Return [active, length, 1]: by how much, in the log, the plan falls short of a marginal; 0 where it is dead."""
    log_sum = log_plan.logsumexp(dim)[:, :, None]
    return (marginal.log() - log_sum).masked_fill_(log_sum == -torch.inf, 0.0)


def _error(problem: Problem, settings: Settings, active: _Active, plan: torch.Tensor) -> torch.Tensor:
    row, col = problem.row_marginal[active.index], problem.col_marginal[active.index]
    scale = settings.regularization
    return marginal_error(
        plan,
        target(row, active.row_potential[:, :, 0] * scale, settings.row_penalty),
        target(col, active.col_potential[:, :, 0] * scale, settings.col_penalty),
    )


def _next(active: _Active, unfinished: torch.Tensor) -> _Active:
    """Drop the finished problems, and halve the regularization of those that are on their way down."""
    if not unfinished.all():
        active = _Active(**{field.name: getattr(active, field.name)[unfinished] for field in fields(active)})
    descending = (active.halvings > 0)[:, None, None]
    if descending.any():
        # Half the regularization, the same potentials in the unit of the cost: the log of the plan relative to the
        # product of the marginals doubles.
        product = active.row.log() + active.col.log().transpose(1, 2)
        active.log_plan.copy_(torch.where(descending, 2 * active.log_plan - product, active.log_plan))
        for potential in (active.row_potential, active.col_potential):
            potential.copy_(torch.where(descending, 2 * potential, potential))
    return _Active(
        active.index, active.log_plan, active.row, active.col, active.row_potential, active.col_potential,
        (active.halvings - 1).clamp_min(0),
    )  # fmt: skip


Solver = Callable[[Problem, Settings], Solution]  # runs without gradients and need not check its arguments


class Backend(NamedTuple):
    """A solver that may check the costs itself."""

    solver: Solver
    # It takes a problem as posed, ignores costs where there is no mass, and reports the largest cost: that saves passes
    # over memory that take longer than solving.
    surveys: bool = False


BACKENDS = ("numba", "triton", "torch")
_DEVICE = {"numba": "cpu", "triton": "cuda"}
_INSTALL = {"numba": "pip install 'kivuko[fast]'", "triton": "pip install triton"}


def sinkhorn_backend(name: str, device: torch.device, *, potentials: bool = False) -> Backend:
    """Return the solver of a backend; for "auto" numba's on a CPU and Triton's on CUDA if installed, else torch's."""
    if name == "auto":
        compiled = {"cpu": "numba", "cuda": "triton"}.get(device.type, "torch")
        name = compiled if is_installed(compiled) and not (potentials and compiled == "triton") else "torch"
    elif name in _DEVICE and device.type != _DEVICE[name]:
        raise UsageError(
            f"backend {name!r} runs on {_DEVICE[name]} and cost is on {device}: move it, or leave backend out"
        )
    elif name in _DEVICE and not is_installed(name):
        raise MissingDependencyError(f"backend {name!r} is not installed. Run: {_INSTALL[name]}")
    # A backend's package is imported when it is first used: kivuko works without any of them.
    if name == "numba":
        from kivuko.transport.numba_sinkhorn import numba_sinkhorn

        return Backend(numba_sinkhorn, surveys=True)
    if name == "triton":
        from kivuko.transport.triton_sinkhorn import triton_sinkhorn

        return Backend(triton_sinkhorn)
    return Backend(scaling_sinkhorn)


@functools.cache
def is_installed(package: str) -> bool:
    """Return True if a package can be imported, without importing it."""
    return importlib.util.find_spec(package) is not None
