"""Gradients with the plan held fixed, no gradients, and which of them a method can give."""

from __future__ import annotations

import math

import pytest
import torch
from transport_problems import Ragged, ragged

from kivuko import transport

TIGHT = {"tolerance": 1e-12, "max_iterations": 100_000, "regularization": 0.1}
PENALTIES = [None, 0.5, (None, 0.3), (0.3, None)]
METHODS = sorted(transport.METHODS)


def envelope(batch: Ragged, **options):
    cost = batch.cost.clone().requires_grad_()
    return cost, transport.solve(cost, *batch.arguments()[1:], **batch.masks(), gradient="envelope", **options)


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


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_the_gradient_with_the_plan_fixed(method) -> None:
    batch = ragged([(3, 4), (4, 2)], seed=3, padding=math.nan)
    cost, plan = envelope(batch, method=method)
    fixed = transport.solve(*batch.arguments(), **batch.masks(), method=method)
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
    plan = transport.solve(batch.cost, row, batch.col_marginal, gradient="envelope")
    assert not plan.value.requires_grad


@pytest.mark.parametrize("method", METHODS)
def test_nothing_carries_a_gradient_unless_asked(method) -> None:
    batch = ragged([(3, 4)], seed=6)
    plan = transport.solve(*(part.requires_grad_() for part in batch.arguments()), method=method)
    fields = (plan.coupling, plan.transport_cost, plan.value, plan.entropy, plan.marginal_error)
    assert not any(part.requires_grad for part in fields)


@pytest.mark.parametrize("gradient", ["envelope", "implicit"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_gradients_of_half_precision_costs_come_back_in_half_precision(gradient, dtype) -> None:
    cost = ragged([(3, 4)], seed=7).cost.to(dtype).requires_grad_()
    plan = transport.solve(cost, gradient=gradient)
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
