"""Envelope and implicit gradients."""

from __future__ import annotations

import math

import pytest
import torch
from transport_problems import Ragged, ragged

from kivuko.transport.marginals import uniform
from kivuko.transport.solve import METHODS, solve

TIGHT = {"tolerance": 1e-12, "max_iterations": 100_000, "regularization": 0.1}
PENALTIES = [None, 0.5, (None, 0.3), (0.3, None)]


def envelope(batch: Ragged, **options):
    cost = batch.cost.clone().requires_grad_()
    return cost, solve(cost, *batch.arguments()[1:], **batch.masks(), gradient="envelope", **options)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_the_gradient_of_value_is_that_of_finite_differences(sinkhorn, penalty) -> None:
    batch = ragged([(3, 4)], seed=1)

    def value(cost: torch.Tensor) -> torch.Tensor:
        return sinkhorn(cost, *batch.arguments()[1:], gradient="envelope", marginal_penalty=penalty, **TIGHT).value

    assert torch.autograd.gradcheck(value, batch.cost.clone().requires_grad_(), atol=1e-7, rtol=1e-5)


@pytest.mark.parametrize("field", ["value", "transport_cost"])
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_gradient_is_the_coupling(field, penalty, dtype) -> None:
    batch = ragged([(3, 4), (4, 2), (1, 1)], seed=2, dtype=dtype, padding=math.nan)
    cost, plan = envelope(batch, marginal_penalty=penalty)
    weights = torch.tensor([1.0, -2.0, 0.5], dtype=dtype)
    (weights * getattr(plan, field)).sum().backward()
    torch.testing.assert_close(cost.grad, weights[:, None, None] * plan.coupling)
    assert (cost.grad[~(batch.row_mask[:, :, None] & batch.col_mask[:, None, :])] == 0).all()


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_has_the_gradient_with_the_plan_fixed(method) -> None:
    batch = ragged([(3, 4), (4, 2)], seed=3, padding=math.nan)
    cost, plan = envelope(batch, method=method)
    fixed = solve(*batch.arguments(), **batch.masks(), method=method)
    assert torch.equal(plan.coupling, fixed.coupling)
    torch.testing.assert_close(plan.value.detach(), fixed.value)
    torch.testing.assert_close(plan.entropy, fixed.entropy)
    plan.transport_cost.sum().backward()
    torch.testing.assert_close(cost.grad, plan.coupling)


def test_under_the_envelope_only_the_costs_carry_a_gradient() -> None:
    _, plan = envelope(ragged([(3, 4)], seed=4))
    assert plan.value.requires_grad
    assert plan.transport_cost.requires_grad
    assert not any(part.requires_grad for part in (plan.coupling, plan.entropy, plan.marginal_error))


def test_the_envelope_has_no_gradient_along_the_marginals() -> None:
    batch = ragged([(3, 4)], seed=5)
    row = batch.row_marginal.clone().requires_grad_()
    plan = solve(batch.cost, row, batch.col_marginal, gradient="envelope")
    assert not plan.value.requires_grad


@pytest.mark.parametrize("method", sorted(METHODS))
def test_nothing_carries_a_gradient_unless_asked(method) -> None:
    batch = ragged([(3, 4)], seed=6)
    plan = solve(*(part.requires_grad_() for part in batch.arguments()), method=method)
    fields = (plan.coupling, plan.transport_cost, plan.value, plan.entropy, plan.marginal_error)
    assert not any(part.requires_grad for part in fields)


@pytest.mark.parametrize("gradient", ["envelope", "implicit"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_gradients_of_half_precision_costs_come_back_in_half_precision(gradient, dtype) -> None:
    cost = ragged([(3, 4)], seed=7).cost.to(dtype).requires_grad_()
    plan = solve(cost, gradient=gradient)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        plan.transport_cost.sum().backward()
    assert cost.grad.dtype == dtype
    assert cost.grad.isfinite().all()


@pytest.mark.parametrize("gradient", ["none", "envelope", "implicit"])
def test_the_plan_is_the_same_whatever_the_gradient(sinkhorn, gradient) -> None:
    batch = ragged([(3, 4), (4, 2)], seed=8, dtype=torch.float32)
    plan = sinkhorn(batch.cost.requires_grad_(), *batch.arguments()[1:], **batch.masks(), gradient=gradient)
    plain = sinkhorn(*batch.arguments(), **batch.masks())
    assert torch.equal(plan.coupling, plain.coupling)
    for field in ("transport_cost", "value", "entropy"):
        torch.testing.assert_close(getattr(plan, field).detach(), getattr(plain, field), atol=1e-5, rtol=1e-5)


IMPLICIT_TIGHT = {"tolerance": 1e-13, "max_iterations": 100_000, "regularization": 0.15}
IMPLICIT_PENALTIES = [None, 0.5, (None, 0.3), (0.3, None)]
SIZES = [(2, 5), (5, 2), (3, 3), (1, 3), (3, 1)]
FIELDS = ("coupling", "transport_cost", "entropy", "value")


def implicit(cost, row, col, **options):
    """The four fields that carry a gradient."""
    plan = solve(cost, row, col, gradient="implicit", **IMPLICIT_TIGHT, **options)
    return tuple(getattr(plan, field) for field in FIELDS)


def loss(fields, seed: int = 0) -> torch.Tensor:
    """A loss that depends on every entry of every field."""
    generator = torch.Generator().manual_seed(seed)
    return sum((torch.randn(part.shape, generator=generator, dtype=part.dtype) * part).sum() for part in fields)


def with_gradients(batch: Ragged) -> tuple[torch.Tensor, ...]:
    return tuple(part.clone().requires_grad_() for part in batch.arguments())


@pytest.mark.parametrize("penalty", IMPLICIT_PENALTIES)
@pytest.mark.parametrize("size", SIZES)
def test_gradients_along_cost_and_marginals_are_those_of_finite_differences(size, penalty) -> None:
    check_by_finite_differences(solve, size, penalty)


@pytest.mark.parametrize("penalty", [None, (None, 0.3)])
def test_every_implementation_has_these_gradients(sinkhorn, penalty) -> None:
    check_by_finite_differences(sinkhorn, (2, 3), penalty)


def check_by_finite_differences(solve, size, penalty) -> None:
    # The marginals are changed one entry at a time: solve scales them back to sum 1, and so does the gradient.
    def fields(cost, row, col):
        plan = solve(cost, row, col, gradient="implicit", marginal_penalty=penalty, **IMPLICIT_TIGHT)
        return tuple(getattr(plan, field) for field in FIELDS)

    inputs = with_gradients(ragged([size], seed=1))
    assert torch.autograd.gradcheck(fields, inputs, eps=1e-5, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("penalty", IMPLICIT_PENALTIES)
def test_moving_mass_between_positions_changes_the_loss_as_the_gradient_says(penalty) -> None:
    batch = ragged([(4, 3), (2, 5)], seed=2)
    inputs = with_gradients(batch)
    loss(implicit(*inputs, **batch.masks(), marginal_penalty=penalty)).backward()
    step = 1e-5
    for side, moved in ((1, [-1.0, 1.0, 0, 0]), (2, [1.0, -2.0, 1.0, 0, 0])):
        direction = torch.zeros_like(inputs[side])
        direction[0] = torch.tensor(moved[: direction.shape[1]])
        ends = []
        for sign in (step, -step):
            moved_inputs = [part.detach() for part in inputs]
            moved_inputs[side] = moved_inputs[side] + sign * direction
            ends.append(loss(implicit(*moved_inputs, **batch.masks(), marginal_penalty=penalty)).item())
        along = (inputs[side].grad * direction).sum().item()
        assert along == pytest.approx((ends[0] - ends[1]) / (2 * step), abs=1e-6, rel=1e-5)


def unrolled(cost, row, col, regularization: float, penalty) -> tuple[torch.Tensor, ...]:
    """The same fields by a plain log-domain loop that autograd follows step by step."""
    both = penalty if isinstance(penalty, tuple) else (penalty, penalty)
    share = [1.0 if one is None else one / (one + regularization) for one in both]
    row, col = row / row.sum(1, keepdim=True), col / col.sum(1, keepdim=True)
    f, g = torch.zeros_like(row), torch.zeros_like(col)
    steepness = -cost / regularization
    for _ in range(1500):
        f = -share[0] * torch.logsumexp(steepness + (col.log() + g)[:, None, :], 2)
        g = -share[1] * torch.logsumexp(steepness + (row.log() + f)[:, :, None], 1)
    coupling = (steepness + (row.log() + f)[:, :, None] + (col.log() + g)[:, None, :]).exp()
    spent = (coupling * cost).sum((1, 2))
    entropy = -(coupling * coupling.log()).sum((1, 2))

    def divergence(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        return (p * (p / q).log() - p + q).flatten(1).sum(1)

    value = spent + regularization * divergence(coupling, row[:, :, None] * col[:, None, :])
    for weight, sums, marginal in zip(both, (coupling.sum(2), coupling.sum(1)), (row, col), strict=True):
        value = value + (0.0 if weight is None else weight * divergence(sums, marginal))
    return coupling, spent, entropy, value


@pytest.mark.parametrize("penalty", IMPLICIT_PENALTIES)
def test_gradients_are_those_of_the_unrolled_iteration(penalty) -> None:
    inputs, mirror = (with_gradients(ragged([(4, 6)] * 2, seed=3)) for _ in range(2))
    loss(implicit(*inputs, marginal_penalty=penalty)).backward()
    loss(unrolled(*mirror, IMPLICIT_TIGHT["regularization"], penalty)).backward()
    for one, other in zip(inputs, mirror, strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("penalty", IMPLICIT_PENALTIES)
def test_masked_and_massless_positions_get_no_gradient_and_disturb_none(penalty, field) -> None:
    row = torch.tensor([[0.5, 0.0, 0.3, 0.2, 0.0]], dtype=torch.float64)
    col = torch.tensor([[0.0, 0.25, 0.75, 0.0]], dtype=torch.float64)
    masks = {"row_mask": torch.tensor([[True] * 4 + [False]]), "col_mask": torch.tensor([[True] * 3 + [False]])}
    cost = ragged([(5, 4)], seed=4).cost
    cost[:, 4], cost[:, :, 3] = math.nan, math.inf
    live = (row[0] > 0).nonzero()[:, 0], (col[0] > 0).nonzero()[:, 0]
    inputs = [part.requires_grad_() for part in (cost, row, col)]
    small = [part.detach().clone().requires_grad_() for part in _only(live, *inputs)]
    at = FIELDS.index(field)
    wide = implicit(*inputs, **masks, marginal_penalty=penalty)[at]
    loss([wide[:, live[0]][:, :, live[1]] if field == "coupling" else wide]).backward()
    loss([implicit(*small, marginal_penalty=penalty)[at]]).backward()
    for one, other, place in zip(_only(live, *(part.grad for part in inputs)), small, inputs, strict=True):
        torch.testing.assert_close(one, other.grad, atol=1e-9, rtol=1e-7)
        assert place.grad.isfinite().all()
        assert place.grad.count_nonzero() <= one.numel()


def _only(live, cost, row, col):
    return cost[:, live[0]][:, :, live[1]], row[:, live[0]], col[:, live[1]]


def test_problems_of_a_padded_batch_have_the_gradients_of_each_alone() -> None:
    batch = ragged([(3, 5), (5, 2), (1, 1), (4, 4)], seed=5, padding=math.nan)
    inputs = with_gradients(batch)
    fields = implicit(*inputs, **batch.masks())
    sum(part.square().sum() for part in fields).backward()
    for i, (n, m) in enumerate(batch.sizes):
        row, col, cost = (part[None].clone().requires_grad_() for part in batch.single(i))
        sum(part.square().sum() for part in implicit(cost, row, col)).backward()
        torch.testing.assert_close(inputs[0].grad[i, :n, :m], cost.grad[0], atol=1e-9, rtol=1e-7)
        torch.testing.assert_close(inputs[1].grad[i, :n], row.grad[0], atol=1e-9, rtol=1e-7)
        torch.testing.assert_close(inputs[2].grad[i, :m], col.grad[0], atol=1e-9, rtol=1e-7)
    for part in inputs:
        assert part.grad.isfinite().all()


def test_the_gradient_of_value_is_the_envelopes() -> None:
    batch = ragged([(4, 6)], seed=6)
    grads = []
    for gradient in ("implicit", "envelope"):
        cost = batch.cost.clone().requires_grad_()
        solve(cost, *batch.arguments()[1:], gradient=gradient, **IMPLICIT_TIGHT).value.sum().backward()
        grads.append(cost.grad)
    torch.testing.assert_close(*grads, atol=1e-9, rtol=0)


def test_a_constant_added_to_a_row_or_a_column_changes_no_coupling() -> None:
    inputs = with_gradients(ragged([(4, 6)], seed=7))
    loss(implicit(*inputs)[:1]).backward()
    torch.testing.assert_close(inputs[0].grad.sum(2), torch.zeros(1, 4, dtype=torch.float64), atol=1e-10, rtol=0)
    torch.testing.assert_close(inputs[0].grad.sum(1), torch.zeros(1, 6, dtype=torch.float64), atol=1e-10, rtol=0)


def test_uniform_marginals_need_not_be_given() -> None:
    batch = ragged([(4, 3)], seed=8)
    given, default = (batch.cost.clone().requires_grad_() for _ in range(2))
    masses = (uniform(mask, dtype=torch.float64) for mask in batch.masks().values())
    loss(implicit(given, *masses)).backward()
    loss(implicit(default, None, None)).backward()
    torch.testing.assert_close(default.grad, given.grad)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("regularization", [0.01, 0.001])
@pytest.mark.parametrize("penalty", IMPLICIT_PENALTIES)
def test_sharp_plans_have_finite_gradients(dtype, regularization, penalty) -> None:
    batch = ragged([(12, 9), (9, 12), (6, 6)], seed=9, dtype=dtype, padding=math.nan)
    inputs = with_gradients(batch)
    options = {"regularization": regularization, "marginal_penalty": penalty, **batch.masks()}
    plan = solve(*inputs, gradient="implicit", **options)
    loss([getattr(plan, field) for field in FIELDS]).backward()
    for part in inputs:
        assert part.grad.isfinite().all()


def test_float32_gradients_are_near_those_of_float64() -> None:
    batch = ragged([(12, 9), (9, 12)], seed=10)
    grads = []
    for dtype in (torch.float32, torch.float64):
        inputs = with_gradients(batch.to(dtype))
        plan = solve(*inputs, **batch.masks(), regularization=0.1, tolerance=1e-6, gradient="implicit")
        weights = torch.randn(plan.coupling.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        (plan.coupling * weights.to(dtype)).sum().backward()
        grads.append([part.grad.double() for part in inputs])
    for single, double in zip(*grads, strict=True):
        torch.testing.assert_close(single, double, atol=2e-4 * double.abs().max().item(), rtol=0)
