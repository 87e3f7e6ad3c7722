"""Exponential and logarithm that the compiler can turn into vector instructions.

The C library's take one number at a time; these are short polynomials (our own least-squares fits on Chebyshev nodes)
after the usual reduction by powers of two, so a loop over them runs on whole vector registers. float64 takes the C
library's: it is for accuracy, not for speed.
"""

# Numba compiles these functions; type checkers see neither its decorators' types nor its intrinsics.
# mypy: ignore-errors

from __future__ import annotations

import math

import numpy as np
from numba import types
from numba.extending import intrinsic, overload, register_jitable

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
