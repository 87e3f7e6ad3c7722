"""The compiled exponential and logarithm, against numpy over the whole range that the solver uses."""

from __future__ import annotations

import os

import numpy as np
import pytest

numba = pytest.importorskip("numba", reason="numba is not installed: pip install 'kivuko[fast]'")

from kivuko.transport import numba_math  # noqa: E402
from kivuko.transport.numba_math import OPTIONS, exponential, logarithm  # noqa: E402

COMPILED = {**OPTIONS, "cache": False}


@numba.njit(**COMPILED)
def exponentials(x):
    out = np.empty_like(x)
    for i in range(x.shape[0]):
        out[i] = exponential(x[i])
    return out


@numba.njit(**COMPILED)
def logarithms(x):
    out = np.empty_like(x)
    for i in range(x.shape[0]):
        out[i] = logarithm(x[i])
    return out


def points(low: float, high: float) -> np.ndarray:
    """Many float32 numbers, evenly spread, with random last bits."""
    even = np.linspace(low, high, 400_001)
    return (even + np.random.default_rng(0).uniform(0, (high - low) / 400_000, even.shape)).clip(low, high)


def test_exponential_is_accurate_to_the_last_bits_of_float32() -> None:
    # Before the polynomial, x is multiplied by log2(e), which rounds: that costs |x| times half an ulp.
    x = points(-87.0, 87.0).astype(np.float32)
    exact = np.exp(x.astype(np.float64))
    off = np.abs(exponentials(x) / exact - 1)
    assert (off <= 2e-7 + 1.2e-7 * np.abs(x)).all()
    assert off[np.abs(x) <= 1].max() < 2.5e-7


def test_exponential_of_far_out_numbers_is_next_to_nothing_or_next_to_the_largest() -> None:
    x = np.array([-87.5, -100, -1e4, -1e30, -3.4e38, -np.inf], dtype=np.float32)
    assert ((exponentials(x) >= 0) & (exponentials(x) <= np.float32(1.2e-38))).all()
    x = np.array([87.5, 100, 1e4, 1e30, 3.4e38, np.inf], dtype=np.float32)
    assert (exponentials(x) >= np.float32(8e37)).all()


def test_exponential_of_zero_is_one() -> None:
    assert exponentials(np.array([0.0, -0.0], dtype=np.float32)).tolist() == [1.0, 1.0]


def test_logarithm_is_accurate_to_the_last_bits_of_float32() -> None:
    x = np.exp(points(-87.0, 88.0)).astype(np.float32)
    exact = np.log(x.astype(np.float64))
    off = np.abs(logarithms(x) - exact)
    assert (off <= 2e-7 * np.maximum(np.abs(exact), 0.35)).all()


def test_logarithm_near_one_keeps_its_relative_accuracy() -> None:
    x = points(0.75, 1.35).astype(np.float32)
    x = x[x != 1]
    exact = np.log(x.astype(np.float64))
    assert (np.abs(logarithms(x) / exact - 1) <= 3e-7).all()
    assert logarithms(np.ones(1, dtype=np.float32))[0] == 0


def test_logarithm_of_powers_of_two_and_of_the_ends_of_the_range() -> None:
    x = np.ldexp(np.float32(1), np.arange(-126, 128)).astype(np.float32)
    np.testing.assert_allclose(logarithms(x), np.log(x.astype(np.float64)), rtol=2e-7, atol=0)
    ends = np.array([np.finfo(np.float32).tiny, np.finfo(np.float32).max], dtype=np.float32)
    np.testing.assert_allclose(logarithms(ends), np.log(ends.astype(np.float64)), rtol=2e-7)


@pytest.mark.parametrize(("compiled", "reference"), [(exponentials, np.exp), (logarithms, np.log)])
def test_float64_is_accurate(compiled, reference) -> None:
    x = np.linspace(1e-3, 700, 10_001)
    np.testing.assert_allclose(compiled(x), reference(x), rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_outside_compiled_code_order_is_kept_as_well(kind: type) -> None:
    numbers = [kind(x) for x in (-3e30, -2.5, -1e-30, 0.0, 1e-30, 1.0, 7e30)]
    orders = [numba_math.ordered(x) for x in numbers]
    assert orders == sorted(orders)
    assert [numba_math.number(order) for order in orders] == numbers


def test_compiled_code_older_than_any_source_is_forgotten(tmp_path) -> None:
    source, index = tmp_path / "numba_math.py", tmp_path / "__pycache__" / "numba_kernel.f-1.py311.nbi"
    index.parent.mkdir()
    for file, stamp in ((source, 100), (index, 200)):
        file.write_bytes(b"")
        os.utime(file, (stamp, stamp))
    numba_math._forget_outdated(tmp_path)
    assert index.exists()
    os.utime(source, (300, 300))
    numba_math._forget_outdated(tmp_path)
    assert not index.exists()
