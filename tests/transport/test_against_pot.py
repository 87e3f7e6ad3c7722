"""Plans and costs held against POT's solvers, one unpadded problem at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transport_problems import Ragged, finite, misplaced, pad, ragged, random, skewed, token_problems

from kivuko.errors import UsageError
from kivuko.transport.problem import Plan
from kivuko.transport.solve import solve

SIZES = [(1, 1), (1, 6), (5, 1), (3, 4), (7, 2), (6, 6), (9, 5), (4, 11)]
DTYPES = [torch.float32, torch.float64]
SHARP = 0.005  # a regularization at which a plan of token costs is all but the optimal one
MODERATE = settings(max_examples=20, deadline=None)
# Of mass m in the wrong place, m times the range of the cost may be saved or wasted, on each side.
RANGE = 2.0


def optima(batch: Ragged) -> list[float]:
    """The unregularized optimum of each problem, for its masses scaled to agree to the last bit."""
    costs = []
    for i in range(len(batch.sizes)):
        row, col, cost = (part.double().numpy() for part in batch.single(i))
        costs.append(ot.emd2(row / row.sum(), col / col.sum(), np.ascontiguousarray(cost), numItermax=1_000_000))
    return costs


def solved(plan: Plan, batch: Ragged, tolerance: float) -> Iterator[tuple[int, float, float]]:
    """Check what a plan says of itself; give (problem, transport cost, optimum) for those that converged."""
    assert finite(plan)
    error = misplaced(plan, *batch.arguments()[1:])
    # At this regularization exponents reach some hundreds, whose last bit in float32 is 3e-5 of a mass.
    slack = 2e-5 if plan.coupling.dtype == torch.float32 else 1e-12
    torch.testing.assert_close(error, plan.marginal_error.double(), atol=slack, rtol=0)
    assert torch.equal(plan.converged & (plan.marginal_error > tolerance), torch.zeros_like(plan.converged))
    for i, optimum in enumerate(optima(batch)):
        n, m = batch.sizes[i]
        assert (plan.coupling[i, n:] == 0).all()
        assert (plan.coupling[i, :, m:] == 0).all()
        assert plan.coupling[i].sum().item() == pytest.approx(1, abs=tolerance + slack) or not plan.converged[i]
        if plan.converged[i]:
            yield i, plan.transport_cost[i].item(), optimum


@pytest.mark.parametrize("regularization", [1.0, 0.3, 0.1, 0.05, 0.02])
def test_plan_equals_pots_sinkhorn(sinkhorn, regularization) -> None:
    batch = ragged(SIZES, seed=1)
    options = {"regularization": regularization, "tolerance": 1e-9, "max_iterations": 50_000}
    plan = sinkhorn(*batch.arguments(), **batch.masks(), **options)
    assert plan.converged.all()
    for i, (n, m) in enumerate(SIZES):
        row, col, cost = (part.numpy() for part in batch.single(i))
        reference = ot.sinkhorn(
            row, col, cost, reg=regularization, method="sinkhorn_log", stopThr=1e-10, numItermax=50_000
        )
        np.testing.assert_allclose(plan.coupling[i, :n, :m].numpy(), reference, atol=1e-6, rtol=0)
        assert plan.transport_cost[i].item() == pytest.approx((reference * cost).sum(), abs=1e-6)
        positive = reference[reference > 0]
        assert plan.entropy[i].item() == pytest.approx(-(positive * np.log(positive)).sum(), abs=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@MODERATE
@given(batch=token_problems())
def test_sharp_sinkhorn_is_within_one_percent_of_the_optimum_for_tokens(sinkhorn, dtype, batch) -> None:
    batch = batch.to(dtype)
    plan = sinkhorn(*batch.arguments(), **batch.masks(), regularization=SHARP)
    for i, paid, optimum in solved(plan, batch, tolerance=1e-4):
        # The entropic bias is at most regularization * log(n m), whatever the costs: what one percent of an optimum
        # below that would be cannot be promised.
        bias = SHARP * math.log(math.prod(batch.sizes[i]))
        allowed = 0.01 * optimum if optimum > bias else bias
        assert abs(paid - optimum) <= allowed + RANGE * 1e-4


@MODERATE
@given(batch=token_problems())
def test_tokens_with_even_masses_converge(sinkhorn, batch) -> None:
    plan = sinkhorn(batch.cost, **batch.masks(), regularization=0.05, max_iterations=5000)
    assert plan.converged.all()


@MODERATE
@given(size=st.tuples(st.integers(1, 40), st.integers(1, 40)), seed=st.integers(0, 2**31))
def test_the_bias_for_any_cost_is_bounded_by_the_entropy(sinkhorn, size, seed) -> None:
    generator = torch.Generator().manual_seed(seed)
    masses = (skewed(length, 1.0, generator=generator) for length in size)
    batch = pad([(*masses, random(*size, generator=generator))])  # type: ignore[list-item]
    plan = sinkhorn(*batch.arguments(), regularization=SHARP, max_iterations=3000)
    for _, paid, optimum in solved(plan, batch, tolerance=1e-4):
        assert -RANGE * 1e-4 <= paid - optimum <= SHARP * math.log(math.prod(size)) + RANGE * 1e-4
        assert plan.value.item() >= optimum - RANGE * 1e-4


@pytest.mark.parametrize("dtype", DTYPES)
@MODERATE
@given(batch=token_problems())
def test_proximal_is_within_a_thousandth_of_the_optimum(dtype, batch) -> None:
    batch = batch.to(dtype)
    plan = solve(*batch.arguments(), **batch.masks(), method="proximal", max_iterations=3000)
    slack = 1e-9 if dtype == torch.float64 else 4e-6
    for _, paid, optimum in solved(plan, batch, tolerance=1e-4):
        # The plan is made feasible: what is left of the marginal error is rounding, and the optimum is a lower bound.
        assert optimum - slack <= paid <= 1.001 * optimum + slack
    assert torch.equal(plan.value, plan.transport_cost)


@MODERATE
@given(batch=token_problems())
def test_exact_is_the_optimum(batch) -> None:
    plan = solve(*batch.arguments(), **batch.masks(), method="exact", tolerance=1e-9)
    assert plan.converged.all()
    for _, paid, optimum in solved(plan, batch, tolerance=1e-9):
        assert paid == pytest.approx(optimum, rel=1e-9, abs=1e-15)


@MODERATE
@given(batch=token_problems())
def test_greedy_says_how_far_from_the_marginals_it_is(batch) -> None:
    plan = solve(*batch.arguments(), **batch.masks(), method="greedy")
    for _, paid, optimum in solved(plan, batch, tolerance=1e-4):
        assert paid >= optimum - RANGE * 1e-4


METHODS = ["sinkhorn", "sinkhorn_log", "proximal", "exact", "greedy"]


@pytest.mark.parametrize("scale", [1e-8, 1e4])
@pytest.mark.parametrize("method", METHODS)
def test_costs_of_any_scale_are_solved_with_the_regularization_scaled_along(method, scale) -> None:
    batch = ragged([(5, 7), (12, 9)], seed=3, dtype=torch.float32)
    options = {"method": method, "max_iterations": 5000, **batch.masks()}
    plan = solve(batch.cost * scale, *batch.arguments()[1:], regularization=0.05 * scale, **options)
    plain = solve(*batch.arguments(), regularization=0.05, **options)
    assert torch.equal(plan.converged, plain.converged)
    torch.testing.assert_close(plan.transport_cost / scale, plain.transport_cost, atol=2e-3, rtol=0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [1e-30, 1e-8, 1e4, 1e30])
@pytest.mark.parametrize("method", [*METHODS, "torch"])
def test_costs_of_any_scale_never_give_nan(method, scale, dtype) -> None:
    batch = ragged([(5, 7), (12, 9), (1, 3)], seed=3, dtype=dtype)
    options = {"method": "sinkhorn", "backend": "torch"} if method == "torch" else {"method": method}
    scaled = replace(batch, cost=batch.cost * scale)
    if method in ("sinkhorn", "sinkhorn_log", "proximal", "torch") and 2 * scale * torch.finfo(dtype).eps > 0.05:
        with pytest.raises(UsageError, match=r"regularization 0\.05 is too small for problem 0"):
            solve(*scaled.arguments(), **scaled.masks(), **options)
        return
    plan = solve(*scaled.arguments(), **scaled.masks(), **options)
    for _, paid, optimum in solved(plan, scaled, tolerance=1e-4):
        assert paid >= optimum - RANGE * scale * 1e-4


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("level", [0.0, 1.0, 1e-8, 1e4])
def test_identical_tokens_cost_what_they_cost(method, dtype, level) -> None:
    batch = ragged([(1, 1), (1, 7), (8, 8), (5, 3)], seed=4, dtype=dtype)
    plan = solve(torch.full_like(batch.cost, level), **batch.masks(), method=method)
    assert finite(plan)
    assert plan.converged[:3].all() or method == "greedy"
    torch.testing.assert_close(plan.transport_cost, torch.full((4,), level, dtype=dtype), atol=1e-6, rtol=2e-4)
