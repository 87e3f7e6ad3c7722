"""Mass per token."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kivuko import transport
from kivuko.errors import UsageError

MASKS = st.integers(1, 6).flatmap(
    lambda n: st.lists(st.lists(st.booleans(), min_size=n, max_size=n), min_size=1, max_size=5)
)


@settings(max_examples=50, deadline=None)
@given(MASKS, st.integers(0, 2**31))
def test_rows_sum_to_one_over_the_mask_and_to_zero_without(rows: list[list[bool]], seed: int) -> None:
    mask = torch.tensor(rows)
    weights = 0.1 + torch.rand(mask.shape, generator=torch.Generator().manual_seed(seed))
    for marginal in (transport.uniform(mask), transport.normalize(weights, mask)):
        assert marginal.dtype == torch.float32
        assert (marginal[~mask] == 0).all()
        assert (marginal[mask] > 0).all()
        torch.testing.assert_close(marginal.sum(1), mask.any(1).float())


def test_normalize_keeps_proportions_and_ignores_masked_weights() -> None:
    weights = torch.tensor([[1.0, float("nan"), 3.0], [-1.0, 0.0, 5.0]])
    mask = torch.tensor([[True, False, True], [False, True, True]])
    marginal = transport.normalize(weights, mask)
    assert marginal.tolist() == [[0.25, 0.0, 0.75], [0.0, 0.0, 1.0]]


@pytest.mark.parametrize("scale", [1e-38, 1e38])
def test_normalize_survives_extreme_weights(scale: float) -> None:
    marginal = transport.normalize(torch.full((1, 8), scale), torch.ones(1, 8, dtype=torch.bool))
    torch.testing.assert_close(marginal, torch.full((1, 8), 0.125))


def test_types() -> None:
    mask = torch.ones(1, 3, dtype=torch.bool)
    assert transport.uniform(mask, dtype=torch.float64).dtype == torch.float64
    assert transport.normalize(torch.ones(1, 3, dtype=torch.float64), mask).dtype == torch.float64
    assert transport.normalize(torch.ones(1, 3, dtype=torch.bfloat16), mask).dtype == torch.float32
    assert transport.normalize(torch.ones(1, 3, dtype=torch.int64), mask).dtype == torch.float32


@pytest.mark.parametrize("shape", [(0, 3), (2, 0)])
def test_nothing_gives_nothing(shape: tuple[int, int]) -> None:
    mask = torch.ones(shape, dtype=torch.bool)
    assert transport.uniform(mask).shape == shape
    assert transport.normalize(torch.ones(shape), mask).shape == shape


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
        transport.normalize(torch.tensor(weights), torch.ones(2, 2, dtype=torch.bool))


@pytest.mark.parametrize("mask", [torch.ones(2, 2), torch.ones(2, dtype=torch.bool)])
def test_a_mask_must_be_a_bool_matrix(mask: torch.Tensor) -> None:
    with pytest.raises(UsageError, match=r"mask is torch\..*give a torch.bool tensor"):
        transport.uniform(mask)


def test_idf_weighs_rare_tokens_more_and_everything_something() -> None:
    idf = transport.inverse_document_frequency([[0, 1, 1], [0, 2], [0]], 4)
    assert idf[0] < idf[1] == idf[2] < idf[3]
    assert idf[0] == pytest.approx(1.0)
    ids, mask = torch.tensor([[0, 3, 99]]), torch.tensor([[True, True, False]])
    marginal = transport.idf_marginal(ids, mask, idf)
    assert marginal.sum().item() == pytest.approx(1.0)
    assert marginal[0, 1] / marginal[0, 0] == pytest.approx((idf[3] / idf[0]).item())
    assert marginal[0, 2] == 0


def test_idf_refuses_ids_outside_the_vocabulary() -> None:
    idf = transport.inverse_document_frequency([[0, 1]], 2)
    with pytest.raises(UsageError, match=r"ids\[0, 1\] is 2"):
        transport.idf_marginal(torch.tensor([[0, 2]]), torch.ones(1, 2, dtype=torch.bool), idf)
    with pytest.raises(UsageError, match="document 1 holds token ids from 0 to 5"):
        transport.inverse_document_frequency([[0], [0, 5]], 2)


def test_norm_marginal_follows_length_and_carries_a_gradient() -> None:
    tokens = torch.tensor([[[3.0, 4.0], [0.0, 5.0], [9.0, 9.0]]], dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[True, True, False]])
    marginal = transport.norm_marginal(tokens, mask)
    assert marginal.tolist() == [[0.5, 0.5, 0.0]]
    marginal[0, 0].backward()
    assert tokens.grad is not None
    assert tokens.grad[0, 0].abs().sum() > 0
    assert tokens.grad[0, 2].abs().sum() == 0
