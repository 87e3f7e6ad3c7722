"""A batch so large that it is solved in parts gives what its problems give in one."""

from __future__ import annotations

import math
import sys

import pytest
import torch
from transport_problems import ragged

from kivuko import transport
from kivuko.errors import UsageError

WAYS = [{"method": name} for name in transport.METHODS] + [{"backend": "torch"}]
FIELDS = ("coupling", "transport_cost", "value", "entropy", "marginal_error", "iterations", "converged")
SIZES = [(1 + i % 4, 5 - i % 5) for i in range(21)]


@pytest.fixture
def few_cells(monkeypatch):
    """A function that lets a part hold few cells."""
    return lambda: monkeypatch.setattr(sys.modules["kivuko.transport.solve"], "_CELLS", 40)


@pytest.mark.parametrize("way", WAYS, ids=lambda one: "-".join(one.values()))
def test_parts_give_what_the_whole_gives(few_cells, way) -> None:
    batch = ragged(SIZES, seed=1, padding=math.nan)
    col_mask = batch.col_mask.clone()
    col_mask[9] = False  # an empty problem in the middle
    masks = {"row_mask": batch.row_mask, "col_mask": col_mask, "allow_empty": True}
    whole = transport.solve(batch.cost, **masks, **way)
    few_cells()
    parts = transport.solve(batch.cost, **masks, **way)
    for field in FIELDS:
        torch.testing.assert_close(getattr(parts, field), getattr(whole, field), atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("way", WAYS, ids=lambda one: "-".join(one.values()))
def test_a_bad_cost_is_named_by_its_place_in_the_whole_batch(few_cells, way) -> None:
    few_cells()
    cost = torch.zeros(21, 3, 4)
    cost[17, 2, 1] = math.nan
    with pytest.raises(UsageError, match=r"of problem 17 is nan at row 2, column 1"):
        transport.solve(cost, **way)


@pytest.mark.parametrize("way", [{"method": "sinkhorn_log"}, {"backend": "torch"}, {"method": "sinkhorn"}])
def test_a_cost_too_large_is_named_by_its_place_in_the_whole_batch(few_cells, way) -> None:
    few_cells()
    cost = torch.zeros(21, 3, 4)
    cost[18, 2, 1] = 1e9
    with pytest.raises(UsageError, match=r"too small for problem 18,"):
        transport.solve(cost, **way)


@pytest.mark.parametrize("gradient", ["envelope", "implicit"])
def test_gradients_of_parts_are_those_of_the_whole(few_cells, gradient) -> None:
    batch = ragged(SIZES, seed=2, padding=math.nan)
    grads = []
    for prepare in (lambda: None, few_cells):
        prepare()
        cost = batch.cost.clone().requires_grad_()
        plan = transport.solve(cost, **batch.masks(), gradient=gradient, backend="torch")
        (plan.transport_cost * torch.arange(21)).sum().backward()
        grads.append(cost.grad)
    torch.testing.assert_close(*grads, atol=1e-12, rtol=1e-10)
