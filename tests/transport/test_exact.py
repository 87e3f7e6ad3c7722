"""The exact method: a vertex of the transport polytope, and a plain word where POT is missing."""

from __future__ import annotations

import builtins
import math
import re
import sys

import pytest
import torch
from scipy.optimize import linear_sum_assignment
from transport_problems import finite, misplaced, ragged

from kivuko import transport
from kivuko.errors import MissingDependencyError, UsageError

SIZES = [(1, 1), (1, 6), (5, 1), (3, 4), (6, 6), (12, 9), (20, 30)]
DTYPES = [torch.float32, torch.float64]


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_plan_is_a_vertex(dtype) -> None:
    batch = ragged(SIZES, seed=1, dtype=dtype, padding=math.nan)
    plan = transport.solve(*batch.arguments(), **batch.masks(), method="exact", tolerance=1e-6)
    assert finite(plan)
    assert plan.converged.all()
    assert (misplaced(plan, *batch.arguments()[1:]) < 1e-6).all()
    for coupling, (n, m) in zip(plan.coupling, SIZES, strict=True):
        assert coupling.count_nonzero() <= n + m - 1
    assert plan.coupling.dtype == dtype
    assert (plan.iterations == 1).all()


def test_a_permutation_is_found_exactly() -> None:
    permutation = torch.tensor([2, 0, 3, 1])
    plan = transport.solve(1 - torch.eye(4)[permutation][None], method="exact")
    assert torch.equal(plan.coupling[0], torch.eye(4)[permutation] / 4)
    assert plan.value.item() == plan.transport_cost.item() == 0


def test_zero_mass_bins_carry_exactly_nothing() -> None:
    rows, cols = torch.tensor([[0.5, 0.0, 0.5]]), torch.tensor([[0.0, 0.25, 0.75]])
    cost = torch.tensor([[[math.nan, 1.0, 2.0], [0.0, 0.0, 0.0], [0.0, 2.0, 1.0]]])
    cost[0, 0, 0] = -5.0  # tempting, but that column holds no mass
    plan = transport.solve(cost, rows, cols, method="exact")
    assert plan.coupling.tolist() == [[[0, 0.25, 0.25], [0, 0, 0], [0, 0, 0.5]]]


def test_negative_and_transposed_costs_are_taken_as_they_are() -> None:
    cost = torch.tensor([[[-3.0, 0.0], [0.0, -1.0], [5.0, 2.0]]]).transpose(1, 2)
    assert not cost.is_contiguous()
    row, col = torch.tensor([[0.5, 0.5]]), torch.tensor([[0.25, 0.5, 0.25]])
    plan = transport.solve(cost, row, col, method="exact")
    assert plan.coupling.tolist() == [[[0.25, 0.25, 0.0], [0.0, 0.25, 0.25]]]
    assert plan.transport_cost.item() == -0.5


def forbidden(largest: float, seed: int, size: int = 6) -> torch.Tensor:
    """Costs up to 100, and ``largest`` for some pairs that must not be matched."""
    draw = torch.Generator().manual_seed(seed)
    cost = torch.rand(size, size, generator=draw, dtype=torch.float64) * 100
    return cost.masked_fill(torch.rand(size, size, generator=draw) < 0.25, largest)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("largest", [1e3, 1e6, 1e8, 1e12, 1e16, 1e20, 1e30])
def test_forbidden_pairs_give_the_optimum_or_are_refused(largest: float, seed: int) -> None:
    cost = forbidden(largest, seed)
    rows, cols = linear_sum_assignment(cost.numpy())
    best = cost.numpy()[rows, cols].sum() / len(rows)
    refusal = None
    try:
        plan = transport.solve(cost[None], method="exact")
    except UsageError as problem:
        refusal = str(problem)
    if refusal is None:
        assert plan.converged.all()
        assert plan.transport_cost.item() == pytest.approx(best, rel=1e-6)
    else:
        assert largest > 1e8, "costs that float64 holds apart are solved"
        assert re.search(r"cost reaches 1e\+\d\d where the plan pays .*give forbidden pairs a cost of at", refusal)
        assert "\n" not in refusal


def test_a_plan_that_costs_nothing_is_proven_whatever_the_others_cost() -> None:
    cost = torch.full((1, 5, 5), 1e20, dtype=torch.float64)
    cost[0, range(5), [3, 1, 4, 0, 2]] = 0
    plan = transport.solve(cost, method="exact")
    assert (plan.converged.item(), plan.transport_cost.item()) == (True, 0)


@pytest.mark.filterwarnings("ignore:numItermax reached")
@pytest.mark.parametrize("pivots", [1, 100_000])
def test_what_the_simplex_warns_of_has_not_converged(monkeypatch, pivots) -> None:
    from ot import lp

    real = lp.emd

    def warning(*args, **options):
        plan, log = real(*args, **{**options, "numItermax": pivots})
        return plan, {**log, "warning": "numItermax reached before optimality"}

    monkeypatch.setattr(lp, "emd", warning)
    plan = transport.solve(ragged([(20, 30)], seed=2).cost, method="exact")
    assert not plan.converged.any()


def test_without_pot_the_message_names_the_command(monkeypatch) -> None:
    for name in [name for name in sys.modules if name == "ot" or name.startswith("ot.")]:
        monkeypatch.delitem(sys.modules, name)
    real = builtins.__import__

    def without_pot(name, *rest, **options):
        if name == "ot" or name.startswith("ot."):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without_pot)
    with pytest.raises(MissingDependencyError, match=re.escape("pip install 'kivuko[exact]'")) as caught:
        transport.solve(torch.zeros(1, 2, 2), method="exact")
    assert "\n" not in str(caught.value)
