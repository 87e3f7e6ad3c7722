"""The one entry point: checks a batch of problems and hands it to a solver by name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

import torch

from kivuko.errors import UsageError
from kivuko.transport.plan import Plan
from kivuko.transport.precision import full_precision
from kivuko.transport.problem import Problem, pose
from kivuko.transport.sinkhorn import sinkhorn


class Solver(Protocol):
    """Solves checked problems. It runs without gradients and need not check its arguments."""

    def __call__(self, problem: Problem, *, regularization: float, tolerance: float, max_iterations: int) -> Plan: ...


# A method is a file that holds a Solver, and its line here.
METHODS: Mapping[str, Solver] = MappingProxyType({"sinkhorn": sinkhorn})


def solve(
    cost: torch.Tensor,
    row_marginal: torch.Tensor | None = None,
    col_marginal: torch.Tensor | None = None,
    *,
    row_mask: torch.Tensor | None = None,
    col_mask: torch.Tensor | None = None,
    regularization: float = 0.05,
    method: str = "sinkhorn",
    tolerance: float = 1e-4,
    max_iterations: int = 1000,
) -> Plan:
    """Solve a batch of entropic optimal-transport problems (Cuturi 2013).

    For each problem, the minimum over plans P with the given marginals of
    ``<P, cost> + regularization * sum P (log P - 1)``.

    The problems of a batch are solved apart: the plan of one does not depend on the others. A problem with
    no unmasked row or no unmasked column is empty; its plan is zero and counts as converged.

    Args:
        cost: [batch, n, m], finite wherever row and column are unmasked; anything elsewhere, NaN included.
            float64 is computed in float64, every other type in float32. Its gradient is left alone: see
            :class:`Plan`.
        row_marginal: [batch, n], not negative, 0 where masked. Must sum to 1 to within 0.005 (room for
            half-precision input) and is scaled to sum to 1. Zeros are allowed. None: uniform over the mask.
        col_marginal: [batch, m], likewise.
        row_mask: bool [batch, n], True where a row takes part. None: all do.
        col_mask: bool [batch, m], likewise.
        regularization: weight of the entropy term, > 0, in the unit of the cost (not relative to its size).
        method: one of ``METHODS``.
        tolerance: > 0; a problem has converged when its ``marginal_error`` is at most this. In float32,
            1e-6 is about the least that can be reached.
        max_iterations: >= 1; a problem that has not converged by then says ``converged=False``.

    Returns:
        A :class:`Plan`.

    Raises:
        UsageError: an argument has the wrong shape, type, device or range; a cost in an unmasked cell is not
            finite; a marginal is negative, does not sum to 1, or puts mass on a masked position; the
            regularization is too small next to the cost for the precision at hand.
    """
    if method not in METHODS:
        raise UsageError(f"method {method!r} is unknown: choose from {', '.join(sorted(METHODS))}")
    _check_options(regularization, tolerance, max_iterations)
    with torch.no_grad(), full_precision(cost.device):
        problem = pose(cost, row_marginal, col_marginal, row_mask=row_mask, col_mask=col_mask)
        _check_scale(problem.cost, regularization)
        return METHODS[method](
            problem, regularization=regularization, tolerance=tolerance, max_iterations=max_iterations
        )


def _check_options(regularization: float, tolerance: float, max_iterations: int) -> None:
    for name, value in (("regularization", regularization), ("tolerance", tolerance)):
        if not (math.isfinite(value) and value > 0):
            raise UsageError(f"{name} is {value}: give a positive, finite number")
    if max_iterations < 1:
        raise UsageError(f"max_iterations is {max_iterations}: give at least 1")


def _check_scale(cost: torch.Tensor, regularization: float) -> None:
    """Refuse a log plan so steep that neighbouring floating-point numbers are more than one nat apart."""
    if cost.numel() == 0:
        return
    finest = torch.finfo(cost.dtype).eps
    largest = cost.abs().amax(dim=(1, 2))  # [batch]
    steep = largest * finest > regularization
    if steep.any():
        first = int(steep.nonzero()[0, 0])
        raise UsageError(
            f"regularization {regularization:g} is too small for problem {first}, whose largest cost is "
            f"{largest[first].item():g}, in {cost.dtype}: "
            f"give at least {largest[first].item() * finest:.2g}, scale the cost down, or pass float64"
        )
