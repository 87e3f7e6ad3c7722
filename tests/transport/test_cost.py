"""Costs between token vectors."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from kivuko.errors import UsageError
from kivuko.transport.cost import centered_cosine_cost, cosine_cost, squared_euclidean_cost


def vectors(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_agrees_with_torchs_cosine_similarity() -> None:
    x, y = vectors(2, 3, 8), vectors(2, 4, 8, seed=1)
    expected = 1 - F.cosine_similarity(x[:, :, None], y[:, None], dim=-1)
    torch.testing.assert_close(cosine_cost(x, y), expected, atol=1e-6, rtol=0)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.floats(1e-5, 1e5))
def test_stays_in_range_and_ignores_length(seed: int, scale: float) -> None:
    x = vectors(1, 5, 3, seed=seed)
    cost = cosine_cost(x, torch.cat([x, -x], dim=1) * scale)
    assert ((cost >= 0) & (cost <= 2)).all()
    torch.testing.assert_close(cost[0, :, :5].diagonal(), torch.zeros(5), atol=1e-6, rtol=0)
    torch.testing.assert_close(cost[0, :, 5:].diagonal(), torch.full((5,), 2.0), atol=1e-6, rtol=0)


def test_zero_vectors_cost_one_and_have_a_modest_gradient() -> None:
    x = torch.zeros(1, 2, 4)
    x[0, 1] = 1e-12  # short, but with a direction
    x.requires_grad_()
    y = torch.cat([vectors(1, 2, 4), torch.zeros(1, 1, 4)], dim=1).requires_grad_()
    cost = cosine_cost(x, y)
    torch.testing.assert_close(cost[:, 0], torch.ones(1, 3))
    torch.testing.assert_close(cost[:, 1], cosine_cost(torch.ones(1, 1, 4), y)[:, 0])
    cost.square().sum().backward()
    for grad in (x.grad, y.grad):
        assert grad is not None
        assert grad.isfinite().all()
        assert grad.abs().max() < 100


def test_gradient_is_right() -> None:
    x = vectors(1, 2, 3).double().requires_grad_()
    y = vectors(1, 3, 3, seed=1).double().requires_grad_()
    assert torch.autograd.gradcheck(cosine_cost, (x, y))


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_computes_in_float32_or_better(given_: torch.dtype, expected: torch.dtype) -> None:
    x, y = vectors(1, 3, 16).to(given_), vectors(1, 2, 16, seed=1).to(given_)
    mean = torch.zeros(16, dtype=given_)
    wide = cosine_cost(x.double(), y.double()).to(expected)
    for cost in (cosine_cost(x, y), centered_cosine_cost(x, y, mean, mean)):
        assert cost.dtype == expected
        torch.testing.assert_close(cost, wide, atol=1e-6, rtol=0)


def test_autocast_does_not_lower_the_precision() -> None:
    x, y = vectors(1, 3, 16), vectors(1, 2, 16, seed=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cost = cosine_cost(x, y)
    assert torch.equal(cost, cosine_cost(x, y))


def test_centering_takes_each_side_relative_to_its_own_mean() -> None:
    x, y = vectors(2, 3, 8), vectors(2, 4, 8, seed=1)
    x_mean, y_mean = 5 * vectors(8, seed=2), 7 * vectors(8, seed=3)
    centered = centered_cosine_cost(x + x_mean, y + y_mean, x_mean, y_mean)
    torch.testing.assert_close(centered, cosine_cost(x, y), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("x", "y"),
    [((2, 3, 4), (3, 3, 4)), ((2, 3, 4), (2, 3, 5)), ((3, 4), (2, 3, 4)), ((2, 3, 4), (4,))],
)
def test_shapes_that_do_not_fit_are_refused(x: tuple[int, ...], y: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"x has shape \[.*give \[batch, n, dim\]"):
        cosine_cost(torch.ones(x), torch.ones(y))


def test_a_mean_of_the_wrong_shape_is_refused() -> None:
    x = torch.ones(1, 2, 4)
    with pytest.raises(UsageError, match=r"y_mean has shape \[1, 4\].*shape \[4\]"):
        centered_cosine_cost(x, x, torch.ones(4), torch.ones(1, 4))


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_squared_euclidean_agrees_with_torchs_distance(offset: float) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 5, 8, generator=generator) + offset
    y = torch.randn(3, 7, 8, generator=generator) + offset
    expected = torch.cdist(x.double(), y.double()).square()
    torch.testing.assert_close(squared_euclidean_cost(x, y).double(), expected, rtol=1e-4, atol=1e-4)


def test_squared_euclidean_is_twice_the_cosine_cost_of_unit_vectors() -> None:
    x, y = (torch.nn.functional.normalize(torch.randn(2, 4, 6, dtype=torch.float64), dim=-1) for _ in range(2))
    torch.testing.assert_close(squared_euclidean_cost(x, y), 2 * cosine_cost(x, y))
    x.requires_grad_()
    assert torch.autograd.gradcheck(squared_euclidean_cost, (x, y))
