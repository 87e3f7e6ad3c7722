"""Mass per token."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kivuko.errors import UsageError
from kivuko.transport.marginals import normalize, uniform

MASKS = st.integers(1, 6).flatmap(
    lambda n: st.lists(st.lists(st.booleans(), min_size=n, max_size=n), min_size=1, max_size=5)
)


@settings(max_examples=50, deadline=None)
@given(MASKS, st.integers(0, 2**31))
def test_rows_sum_to_one_over_the_mask_and_to_zero_without(rows: list[list[bool]], seed: int) -> None:
    mask = torch.tensor(rows)
    weights = 0.1 + torch.rand(mask.shape, generator=torch.Generator().manual_seed(seed))
    for marginal in (uniform(mask), normalize(weights, mask)):
        assert marginal.dtype == torch.float32
        assert (marginal[~mask] == 0).all()
        assert (marginal[mask] > 0).all()
        torch.testing.assert_close(marginal.sum(1), mask.any(1).float())


def test_normalize_keeps_proportions_and_ignores_masked_weights() -> None:
    weights = torch.tensor([[1.0, float("nan"), 3.0], [-1.0, 0.0, 5.0]])
    mask = torch.tensor([[True, False, True], [False, True, True]])
    marginal = normalize(weights, mask)
    assert marginal.tolist() == [[0.25, 0.0, 0.75], [0.0, 0.0, 1.0]]


@pytest.mark.parametrize("scale", [1e-38, 1e38])
def test_normalize_survives_extreme_weights(scale: float) -> None:
    marginal = normalize(torch.full((1, 8), scale), torch.ones(1, 8, dtype=torch.bool))
    torch.testing.assert_close(marginal, torch.full((1, 8), 0.125))


def test_types() -> None:
    mask = torch.ones(1, 3, dtype=torch.bool)
    assert uniform(mask, dtype=torch.float64).dtype == torch.float64
    assert normalize(torch.ones(1, 3, dtype=torch.float64), mask).dtype == torch.float64
    assert normalize(torch.ones(1, 3, dtype=torch.bfloat16), mask).dtype == torch.float32
    assert normalize(torch.ones(1, 3, dtype=torch.int64), mask).dtype == torch.float32


@pytest.mark.parametrize("shape", [(0, 3), (2, 0)])
def test_nothing_gives_nothing(shape: tuple[int, int]) -> None:
    mask = torch.ones(shape, dtype=torch.bool)
    assert uniform(mask).shape == shape
    assert normalize(torch.ones(shape), mask).shape == shape


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([[1.0, 1.0], [1.0, -2.0]], r"weights\[1, 1\] is -2: give finite"),
        ([[float("inf"), 1.0], [1.0, 2.0]], r"weights\[0, 0\] is inf"),
        ([[1.0, 1.0], [0.0, 0.0]], r"weights of row 1 are all zero: give at least one"),
        ([[1.0, 1.0, 1.0]], r"weights have shape \[1, 3\] and mask \[2, 2\]"),
    ],
)
def test_bad_weights_are_refused(weights: list[list[float]], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        normalize(torch.tensor(weights), torch.ones(2, 2, dtype=torch.bool))


@pytest.mark.parametrize("mask", [torch.ones(2, 2), torch.ones(2, dtype=torch.bool)])
def test_a_mask_must_be_a_bool_matrix(mask: torch.Tensor) -> None:
    with pytest.raises(UsageError, match=r"mask is torch\..*give a torch.bool tensor"):
        uniform(mask)
