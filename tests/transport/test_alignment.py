"""Cost, plan and gradient of token lists in one go, against the padded way and autograd."""

from __future__ import annotations

import pytest
import torch

from kivuko.errors import UsageError
from kivuko.transport import alignment
from kivuko.transport.alignment import TokenLists, align_lists
from kivuko.transport.cost import centered_cosine_cost, cosine_cost
from kivuko.transport.solve import solve

LENGTHS = [(3, 5), (1, 1), (0, 4), (7, 2), (2, 0), (40, 19), (6, 6)]


def lists(*, dtype: torch.dtype = torch.float64, mean: bool = True, seed: int = 0) -> tuple[TokenLists, TokenLists]:
    generator = torch.Generator().manual_seed(seed)
    sides = []
    for side in (0, 1):
        lengths = torch.tensor([pair[side] for pair in LENGTHS])
        vectors = torch.randn(int(lengths.sum()), 24, generator=generator, dtype=torch.float64).to(dtype)
        center = torch.randn(24, generator=generator, dtype=torch.float64).to(dtype) if mean else None
        sides.append(TokenLists(vectors, lengths, center))
    return sides[0], sides[1]


def by_autograd(x: TokenLists, y: TokenLists, regularization: float) -> tuple[torch.Tensor, ...]:
    """Each pair by itself, through ``solve`` with the envelope gradient."""
    vectors = x.vectors.clone().requires_grad_()
    costs = []
    for pair, (n, m) in enumerate(LENGTHS):
        if not n or not m:
            costs.append(vectors.new_zeros(()))
            continue
        own = vectors[x.starts()[pair] : x.starts()[pair + 1]][None]
        other = y.vectors[y.starts()[pair] : y.starts()[pair + 1]][None]
        if x.mean is None or y.mean is None:
            cost = cosine_cost(own, other)
        else:
            cost = centered_cosine_cost(own, other, x.mean, y.mean)
        plan = solve(
            cost, regularization=regularization, method="sinkhorn_log", gradient="envelope", tolerance=1e-11,
            max_iterations=100_000,
        )  # fmt: skip
        costs.append(plan.transport_cost[0])
    total = torch.stack(costs)
    (gradient,) = torch.autograd.grad(total.sum(), vectors)
    return total.detach(), gradient


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("mean", [True, False])
@pytest.mark.parametrize("regularization", [0.1, 0.02])
def test_same_as_the_padded_way(
    compiled: bool, mean: bool, regularization: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    if compiled:
        pytest.importorskip("numba")
    monkeypatch.setattr(alignment, "is_installed", lambda package: compiled)
    x, y = lists(mean=mean)
    result = align_lists(x, y, regularization=regularization, tolerance=1e-11, max_iterations=100_000)
    cost, gradient = by_autograd(x, y, regularization)
    assert result.converged.all()
    torch.testing.assert_close(result.transport_cost, cost, atol=1e-8, rtol=0)
    torch.testing.assert_close(result.gradient, gradient, atol=1e-8, rtol=0)


def test_an_empty_side_costs_nothing_and_pulls_nothing() -> None:
    x, y = lists()
    result = align_lists(x, y)
    assert result.transport_cost[[2, 4]].tolist() == [0.0, 0.0]
    assert result.gradient[x.starts()[4] : x.starts()[5]].abs().sum() == 0
    assert result.transport_cost[[0, 1, 3, 5, 6]].min() > 0


def test_nothing_at_all_is_fine() -> None:
    nothing = TokenLists(torch.empty(0, 4), torch.tensor([0, 0]))
    result = align_lists(nothing, nothing)
    assert result.transport_cost.tolist() == [0.0, 0.0]
    assert result.converged.all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    x, y = lists(dtype=dtype)
    result = align_lists(x, y)
    assert result.gradient.dtype == result.transport_cost.dtype == torch.float32
    wide_x, wide_y = (
        TokenLists(s.vectors.double(), s.lengths, None if s.mean is None else s.mean.double()) for s in (x, y)
    )
    expected = align_lists(wide_x, wide_y)
    torch.testing.assert_close(result.transport_cost.double(), expected.transport_cost, atol=2e-4, rtol=0)


@pytest.mark.parametrize("compiled", [True, False])
def test_what_does_not_converge_says_so(compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if compiled:
        pytest.importorskip("numba")
    monkeypatch.setattr(alignment, "is_installed", lambda package: compiled)
    x, y = lists()
    result = align_lists(x, y, regularization=0.01, tolerance=1e-9, max_iterations=1)
    assert not result.converged[5]
    assert result.converged[2], "an empty pair has nothing to converge"


def test_zero_vectors_have_no_direction_and_no_pull_beyond_measure() -> None:
    x, y = lists(mean=False)
    x.vectors[0] = 0
    result = align_lists(x, y)
    assert result.gradient.isfinite().all()
    assert result.gradient[0].norm() <= 1


@pytest.mark.parametrize("compiled", [True, False])
def test_vectors_that_are_not_finite_are_refused(compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if compiled:
        pytest.importorskip("numba")
    monkeypatch.setattr(alignment, "is_installed", lambda package: compiled)
    x, y = lists()
    x.vectors[x.starts()[3], 0] = torch.nan
    with pytest.raises(UsageError, match="finite"):
        align_lists(x, y)


def test_lists_that_do_not_fit_together_are_refused() -> None:
    x, y = lists()
    with pytest.raises(UsageError, match=r"x holds 7 texts .* y 6"):
        align_lists(x, TokenLists(y.vectors, y.lengths[:-1]))
