"""One side of the problem that the compiled path has at hand: its marginal, potentials and scalings.

Arrays over the positions that hold mass, padded to whole vector registers. A padded position has marginal 1 and sum 1,
so that its scaling stays 1 without a special case.
"""

# Numba compiles these functions; type checkers see neither its decorators' types nor its intrinsics.
# mypy: ignore-errors

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from kivuko.transport.numba_math import exponential, logarithm
from kivuko.transport.numba_options import OPTIONS

_VECTOR = 16  # sides are padded to a multiple of this many numbers


class Side(NamedTuple):
    """One side of the problem at hand: arrays over its positions that hold mass, padded."""

    places: np.ndarray  # int64, where each position lies in the cost
    marginal: np.ndarray
    log_marginal: np.ndarray
    potential: np.ndarray  # in units of the regularization
    scaling: np.ndarray
    sums: np.ndarray  # of the kernel times the other side's scaling


@njit(**OPTIONS)
def padded(length):
    """Return the length of the arrays that hold ``length`` positions: a whole number of vector registers."""
    return (length + _VECTOR - 1) // _VECTOR * _VECTOR


@njit(**OPTIONS)
def new_side(length, cost):
    """Return a side with room for ``length`` (padded) positions, in the type of ``cost``; to be filled by ``load``."""
    return Side(
        np.empty(length, np.int64), np.empty(length, cost.dtype), np.empty(length, cost.dtype),
        np.empty(length, cost.dtype), np.empty(length, cost.dtype), np.empty(length, cost.dtype),
    )  # fmt: skip


@njit(**OPTIONS)
def load(marginal, side):
    """Take in the positions that hold mass; return how many there are."""
    one = marginal.dtype.type(1)
    live = 0
    for i in range(marginal.shape[0]):
        if marginal[i] > 0:
            side.places[live] = i
            side.marginal[live] = marginal[i]
            live += 1
    side.marginal[live:] = one
    side.scaling[:] = one
    side.sums[:] = one
    for i in range(side.marginal.shape[0]):
        side.log_marginal[i] = logarithm(side.marginal[i])
        side.potential[i] = 0
    return live


@njit(**OPTIONS)
def fold(side, units):
    """Add the logarithm of the scalings to the potentials, reset them to 1, and change the unit."""
    one = side.scaling.dtype.type(1)
    for i in range(side.scaling.shape[0]):
        side.potential[i] = (side.potential[i] + logarithm(side.scaling[i])) * side.scaling.dtype.type(units)
        side.scaling[i] = one


@njit(**OPTIONS)
def reset(side):
    """Go back to potentials of zero."""
    side.potential[:] = side.potential.dtype.type(0)
    side.scaling[:] = side.scaling.dtype.type(1)


@njit(**OPTIONS)
def fit(side, share, step):
    """Move a side's scalings to where their sums match the marginal, and further if ``step`` is more than 1.

    How much further is bounded: while a gap is wide, the rate that the step was chosen by means nothing, and full
    over-relaxation would throw the plan back and forth.

    Returns the side's marginal error after that, and whether a scaling has gone far from 1.
    """
    kind = side.marginal.dtype.type
    least, most, small, large = kind(1e-13), kind(1e13), kind(2e-9), kind(5e8)
    far, error = 0, kind(0)
    if share == 1.0 and step == 1.0:
        for i in range(side.marginal.shape[0]):
            one = min(max(side.marginal[i] / side.sums[i], least), most)
            error += abs(one * side.sums[i] - side.marginal[i])
            side.scaling[i] = one
            far |= (one < small) | (one > large)
        return error, far != 0
    extra, part, pull = kind(step - 1.0), kind(share), kind(1.0 - share)
    if share == 1.0:
        for i in range(side.marginal.shape[0]):
            gap = logarithm(_bounded(side.marginal[i] / (side.sums[i] * side.scaling[i])))
            further = extra * min(max(gap, kind(-1)), kind(1))
            one = min(max(side.scaling[i] * exponential(gap + further), least), most)
            error += abs(one * side.sums[i] - side.marginal[i])
            side.scaling[i] = one
            far |= (one < small) | (one > large)
        return error, far != 0
    for i in range(side.marginal.shape[0]):
        own = logarithm(side.scaling[i])
        gap = part * logarithm(_bounded(side.marginal[i] / side.sums[i])) - pull * side.potential[i] - own
        further = extra * min(max(gap, kind(-1)), kind(1))
        one = min(max(side.scaling[i] * exponential(gap + further), least), most)
        # What is left of the gap is what the marginal that the penalty allows lacks.
        left = gap - logarithm(one) + own
        error += abs(one * side.sums[i] * (exponential(min(left / part, kind(80))) - kind(1)))
        side.scaling[i] = one
        far |= (one < small) | (one > large)
    return error, far != 0


@njit(**OPTIONS)
def _bounded(ratio):
    """Keep a quotient, whose divisor may have underflowed to 0, where its logarithm is a number."""
    kind = type(ratio)
    return min(max(ratio, kind(1e-37)), kind(1e37))


@njit(**OPTIONS)
def marginal_error(side, share):
    """Return a side's marginal error."""
    kind = side.marginal.dtype.type
    error = kind(0)
    if share == 1.0:
        for i in range(side.marginal.shape[0]):
            error += abs(side.scaling[i] * side.sums[i] - side.marginal[i])
        return error
    part, pull = kind(share), kind(1.0 - share)
    for i in range(side.marginal.shape[0]):
        own = logarithm(side.scaling[i])
        gap = part * logarithm(_bounded(side.marginal[i] / side.sums[i])) - pull * side.potential[i] - own
        error += abs(side.scaling[i] * side.sums[i] * (exponential(min(gap / part, kind(80))) - kind(1)))
    return error


@njit(**OPTIONS)
def unfold(side, count, unit, potential):
    """Write a side's potentials where its positions lie, in multiples of ``unit``."""
    for i in range(count):
        total = side.potential[i] + logarithm(side.scaling[i])
        potential[side.places[i]] = total * side.scaling.dtype.type(unit)
