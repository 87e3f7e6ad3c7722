"""Exponential and logarithm that the compiler can turn into vector instructions.

The C library's take one number at a time; these are short polynomials (our own least-squares fits on Chebyshev nodes)
after the usual reduction by powers of two, so a loop over them runs on whole vector registers. float64 takes the C
library's: it is for accuracy, not for speed.
"""

import contextlib
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numba import njit, types
from numba.extending import intrinsic, overload, register_jitable

# Numba compiles these functions; type checkers see neither its decorators' types nor its intrinsics.
# mypy: ignore-errors


_INLINE: dict[str, bool] = {"forceinline": True}


def exponential(x):
    """e^x; compiled for float32: relative error below 2e-7, and never less than e^-87."""
    return np.exp(x)


def logarithm(x):
    """Natural logarithm of a positive, normal number; compiled for float32: relative error below 2e-7."""
    return np.log(x)


def ordered(x):
    """Return a whole number that orders as ``x`` does: vectors of those compare at once, for they know no NaN."""
    bits = x.view(_WHOLE[x.dtype])
    return bits if bits >= 0 else bits ^ np.iinfo(bits.dtype).max


def number(order):
    """Return the number whose ``ordered`` this is."""
    bits = order if order >= 0 else order ^ np.iinfo(order.dtype).max
    return bits.view(next(floats for floats, whole in _WHOLE.items() if whole == order.dtype))


_WHOLE = {np.dtype(np.float32): np.dtype(np.int32), np.dtype(np.float64): np.dtype(np.int64)}


@overload(exponential, jit_options=_INLINE)
def _exponential(x):
    if x == types.float32:
        return _exponential32
    return lambda x: math.exp(x)


@overload(logarithm, jit_options=_INLINE)
def _logarithm(x):
    if x == types.float32:
        return _logarithm32
    return lambda x: math.log(x)


@overload(ordered, jit_options=_INLINE)
def _ordered(x):
    if x == types.float32:
        return lambda x: _mirrored32(_as_bits(x))
    return lambda x: _mirrored64(_as_bits(x))


@overload(number, jit_options=_INLINE)
def _number(order):
    if order == types.int32:
        return lambda order: _as_float(_mirrored32(order))
    return lambda order: _as_float(_mirrored64(order))


@register_jitable(**_INLINE)
def _mirrored32(bits):
    # The bits of a negative number count away from zero; turning over all but the sign makes them count up.
    return np.int32(bits ^ np.int32(np.int32(bits >> np.int32(31)) & np.int32(0x7FFFFFFF)))


@register_jitable(**_INLINE)
def _mirrored64(bits):
    return bits ^ ((bits >> 63) & np.int64(0x7FFFFFFFFFFFFFFF))


def _exponential32(x):
    # e^x = 2^k 2^f with |f| <= 1/2. Beyond the limits the power of two would not be a normal number.
    y = min(max(x * np.float32(1.44269504), np.float32(-126.0)), np.float32(126.0))
    k = _nearest(y)
    f = y - k
    p = np.float32(1.546973617e-04)
    p = p * f + np.float32(1.340043694e-03)
    p = p * f + np.float32(9.618025590e-03)
    p = p * f + np.float32(5.550327202e-02)
    p = p * f + np.float32(2.402265121e-01)
    p = p * f + np.float32(6.931472067e-01)
    p = p * f + np.float32(1.0)
    return p * _as_float(np.int32((np.int32(k) + np.int32(127)) * np.int32(1 << 23)))


def _logarithm32(x):
    # x = 2^k (1 + z) with sqrt(1/2) <= 1 + z < sqrt(2).
    bits = _as_bits(x)
    k = np.int32(np.int32(bits - np.int32(0x3F3504F3)) >> np.int32(23))
    z = _as_float(np.int32(bits - np.int32(k * np.int32(1 << 23)))) - np.float32(1.0)
    p = np.float32(-7.660880161e-02)
    p = p * z + np.float32(1.278641530e-01)
    p = p * z + np.float32(-1.316162249e-01)
    p = p * z + np.float32(1.419786613e-01)
    p = p * z + np.float32(-1.662274982e-01)
    p = p * z + np.float32(2.000141273e-01)
    p = p * z + np.float32(-2.500084629e-01)
    p = p * z + np.float32(3.333332903e-01)
    return np.float32(k) * np.float32(0.693147181) + (z - z * z * (np.float32(0.5) - z * p))


@intrinsic
def _nearest(typing_context, x):
    """Round to the nearest whole number, as a float."""

    def generate(context, builder, signature, arguments):
        function = builder.module.declare_intrinsic("llvm.rint", [arguments[0].type])
        return builder.call(function, arguments)

    return x(x), generate


_BITS = {types.float32: types.int32, types.float64: types.int64}
_FLOATS = {bits: floats for floats, bits in _BITS.items()}


@intrinsic
def _as_float(typing_context, bits):
    """Read bits as the floating-point number of that size."""

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], context.get_value_type(signature.return_type))

    return _FLOATS[bits](bits), generate


@intrinsic
def _as_bits(typing_context, x):
    """Read a floating-point number as its bits."""

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], context.get_value_type(signature.return_type))

    return _BITS[x](x), generate


def _compile_options() -> dict[str, Any]:
    """Return the options of every compiled function.

    Sums may be taken in any order and a * b + c be fused; NaN and infinity keep their meaning. What was compiled is
    kept on disk for the next run, unless no folder for it can be written: then each run compiles again.
    """
    options: dict[str, Any] = {
        "fastmath": {"reassoc", "contract", "arcp", "nsz"},
        "nogil": True,
        "error_model": "numpy",
        "cache": True,
    }
    try:
        njit(**options)(_nothing)
    except RuntimeError:  # "cannot cache function: no locator available"
        options["cache"] = False
    return options


def _forget_outdated(folder: Path) -> None:
    """Remove compiled code that is older than any of the sources in ``folder``.

    Numba looks at the file that a function is defined in, but not at those of the functions that it calls.
    """
    newest = max(source.stat().st_mtime for source in folder.glob("numba_*.py"))
    for index in (folder / "__pycache__").glob("numba_*.nbi"):
        with contextlib.suppress(OSError):  # another process was faster, or it is not ours to write
            if index.stat().st_mtime < newest:
                index.unlink()


def _nothing() -> None:
    pass


_forget_outdated(Path(__file__).parent)
OPTIONS = _compile_options()


# Arrays over the positions that hold mass, padded to whole vector registers. A padded position has marginal 1 and sum
# 1, so that its scaling stays 1 without a special case.

_VECTOR = 16  # sides are padded to a multiple of this many numbers


class Side(NamedTuple):
    """One side of the problem at hand: arrays over its positions that hold mass, padded."""

    places: np.ndarray  # int64, the index of each position in the cost
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
    """Write a side's potentials to its positions in the cost, in multiples of ``unit``."""
    for i in range(count):
        total = side.potential[i] + logarithm(side.scaling[i])
        potential[side.places[i]] = total * side.scaling.dtype.type(unit)
