"""Problems without a row or a column, for every method: refused unless asked for, then zero and no trouble."""

from __future__ import annotations

import pytest
import torch
from transport_problems import ragged

from kivuko import transport
from kivuko.errors import UsageError

METHODS = sorted(transport.METHODS)
SHAPES = [(0, 3, 4), (2, 0, 4), (2, 3, 0), (2, 0, 0), (0, 0, 0)]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("marginal_penalty", [None, 1.0])
def test_empty_problems_are_zero_and_do_not_disturb_the_rest(method, marginal_penalty) -> None:
    if marginal_penalty and not transport.METHODS[method].entropic:
        pytest.skip("marginals are relaxed by Sinkhorn methods only")
    batch = ragged([(3, 4)] * 4, seed=6, dtype=torch.float32, padding=float("nan"))
    row_mask, col_mask = batch.row_mask.clone(), batch.col_mask.clone()
    row_mask[0] = False
    col_mask[2] = False
    row_mask[3], col_mask[3] = False, False
    options = {"method": method, "marginal_penalty": marginal_penalty}
    plan = transport.solve(batch.cost, row_mask=row_mask, col_mask=col_mask, allow_empty=True, **options)
    empty = torch.tensor([True, False, True, True])
    assert plan.converged[empty].all()
    assert (plan.coupling[empty] == 0).all()
    assert (plan.iterations[empty] == 0).all()
    for part in (plan.transport_cost, plan.value, plan.entropy, plan.marginal_error):
        assert (part[empty] == 0).all()
    alone = transport.solve(batch.cost[1:2], **options)
    torch.testing.assert_close(plan.coupling[1:2], alone.coupling, atol=1e-6, rtol=0)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("method", METHODS)
def test_shapes_without_cells_work(shape, method) -> None:
    plan = transport.solve(torch.zeros(shape), method=method, allow_empty=True)
    assert plan.coupling.shape == shape
    for part in (plan.converged, plan.iterations, plan.transport_cost, plan.value, plan.entropy, plan.marginal_error):
        assert part.shape == shape[:1]
    assert plan.converged.all()
    assert (plan.value == 0).all()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("gradient", ["envelope", "implicit"])
def test_gradients_of_shapes_without_cells_are_empty(shape, gradient) -> None:
    cost = torch.zeros(shape, requires_grad=True)
    plan = transport.solve(cost, gradient=gradient, allow_empty=True)
    (plan.value.sum() + plan.transport_cost.sum()).backward()
    assert cost.grad is not None
    assert cost.grad.shape == shape


@pytest.mark.parametrize("gradient", ["envelope", "implicit"])
def test_an_empty_problem_has_no_gradient_and_does_not_disturb_the_rest(gradient) -> None:
    batch = ragged([(3, 4)] * 2, seed=7)
    mask = torch.tensor([[True] * 3, [False] * 3])
    cost, alone = (part.clone().requires_grad_() for part in (batch.cost, batch.cost[:1]))
    transport.solve(cost, row_mask=mask, gradient=gradient, allow_empty=True).value.sum().backward()
    transport.solve(alone, gradient=gradient).value.sum().backward()
    assert (cost.grad[1] == 0).all()
    torch.testing.assert_close(cost.grad[:1], alone.grad)


def test_every_implementation_takes_empty_problems(sinkhorn) -> None:
    mask = torch.tensor([[False, False], [True, True]])
    plan = sinkhorn(torch.ones(2, 2, 3), row_mask=mask, allow_empty=True)
    assert plan.converged.all()
    torch.testing.assert_close(plan.coupling.sum((1, 2)), torch.tensor([0.0, 1.0]))


def test_given_marginals_are_dropped_where_the_other_side_is_empty(sinkhorn) -> None:
    nothing = torch.zeros(1, 2, dtype=torch.bool)
    plan = sinkhorn(torch.zeros(1, 2, 2), torch.tensor([[0.5, 0.5]]), col_mask=nothing, allow_empty=True)
    assert plan.converged.all()
    assert (plan.coupling == 0).all()
    assert plan.marginal_error.item() == 0


@pytest.mark.parametrize("method", METHODS)
def test_an_empty_problem_is_refused_unless_allowed(method) -> None:
    mask = torch.tensor([[True, True], [False, False]])
    with pytest.raises(UsageError, match=r"row_mask of problem 1 leaves no row .*\[2, 2, 3\].*allow_empty=True"):
        transport.solve(torch.zeros(2, 2, 3), row_mask=mask, method=method)
