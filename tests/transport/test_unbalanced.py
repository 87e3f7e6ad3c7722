"""Marginals that give way at a price: against POT, and in the limits of a high and of a low price."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transport_problems import Ragged, divergence, finite, ragged

from kivuko import transport

PENALTIES = [0.3, 2.0, (1.0, 0.1), (None, 0.5), (0.5, None)]
TIGHT = {"tolerance": 1e-11, "max_iterations": 50_000}
SIZES = [(1, 1), (1, 6), (5, 1), (6, 6), (4, 11)]


def pair(penalty) -> tuple[float, float]:
    both = penalty if isinstance(penalty, tuple) else (penalty, penalty)
    return tuple(math.inf if one is None else one for one in both)  # type: ignore[return-value]


def objective(coupling: torch.Tensor, batch: Ragged, regularization: float, penalty) -> torch.Tensor:
    """The value [batch] of a coupling by its definition."""
    live = batch.row_mask[:, :, None] & batch.col_mask[:, None, :]
    value = torch.where(live, coupling * batch.cost, 0.0).sum((1, 2))
    value = value + regularization * divergence(coupling, batch.row_marginal[:, :, None] * batch.col_marginal[:, None])
    for weight, sums, marginal in zip(
        pair(penalty), (coupling.sum(2), coupling.sum(1)), batch.arguments()[1:], strict=True
    ):
        value = value + (0.0 if math.isinf(weight) else weight * divergence(sums, marginal))
    return value


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("regularization", [1.0, 0.05])
def test_plan_equals_pots_unbalanced_sinkhorn(sinkhorn, penalty, regularization) -> None:
    batch = ragged(SIZES, seed=1, padding=math.nan)
    options = {"regularization": regularization, "marginal_penalty": penalty, **TIGHT, **batch.masks()}
    plan = sinkhorn(*batch.arguments(), **options)
    assert plan.converged.all()
    for i, (n, m) in enumerate(SIZES):
        reference = ot.unbalanced.sinkhorn_unbalanced(
            *(part.numpy() for part in batch.single(i)),
            reg=regularization, reg_m=pair(penalty), reg_type="kl", numItermax=100_000, stopThr=1e-13,
        )  # fmt: skip
        np.testing.assert_allclose(plan.coupling[i, :n, :m].numpy(), reference, atol=1e-8, rtol=0)
    torch.testing.assert_close(plan.value, objective(plan.coupling, batch, regularization, penalty))


@settings(max_examples=20, deadline=None)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 8), st.integers(1, 8)), min_size=1, max_size=3),
    seed=st.integers(0, 2**31),
    penalty=st.sampled_from([*PENALTIES, 0.02]),
    regularization=st.sampled_from([0.5, 0.05]),
)
def test_every_implementation_finds_the_relaxed_plan_of_the_reference(
    sinkhorn, sizes, seed, penalty, regularization
) -> None:
    batch = ragged(sizes, seed=seed)
    options = {"regularization": regularization, "marginal_penalty": penalty, "tolerance": 1e-9, **batch.masks()}
    plan = sinkhorn(*batch.arguments(), **options, max_iterations=10_000)
    reference = transport.solve(*batch.arguments(), method="sinkhorn_log", **options, max_iterations=10_000)
    assert finite(plan)
    assert plan.converged.all()
    torch.testing.assert_close(plan.coupling, reference.coupling, atol=1e-6, rtol=0)
    torch.testing.assert_close(plan.value, reference.value, atol=1e-7, rtol=0)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_no_plan_nearby_is_better(sinkhorn, penalty) -> None:
    batch = ragged([(3, 4), (5, 2)], seed=2)
    plan = sinkhorn(*batch.arguments(), **batch.masks(), marginal_penalty=penalty, **TIGHT)
    generator = torch.Generator().manual_seed(0)
    held = pair(penalty)
    for _ in range(20):
        change = 1e-4 * torch.randn(plan.coupling.shape, generator=generator, dtype=torch.float64) * plan.coupling
        # A marginal that must hold is held: its rows (columns) keep their sums.
        if math.isinf(held[0]):
            change = change - plan.coupling * (change.sum(2) / plan.coupling.sum(2).clamp_min(1e-300))[:, :, None]
        if math.isinf(held[1]):
            change = change - plan.coupling * (change.sum(1) / plan.coupling.sum(1).clamp_min(1e-300))[:, None, :]
        assert (objective(plan.coupling + change, batch, 0.05, penalty) >= plan.value - 1e-12).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_high_penalty_approaches_the_balanced_plan(sinkhorn, dtype) -> None:
    batch = ragged([(4, 5), (6, 3)], seed=3, dtype=dtype)
    options = {"regularization": 0.1, "tolerance": 1e-6, "max_iterations": 100_000, **batch.masks()}
    balanced = sinkhorn(*batch.arguments(), **options)
    far = [
        (sinkhorn(*batch.arguments(), marginal_penalty=penalty, **options).coupling - balanced.coupling).abs().max()
        for penalty in (1.0, 10.0, 100.0)
    ]
    assert far[0] > 2 * far[1] > 4 * far[2]
    assert far[2] < 1e-2


def test_a_low_penalty_lets_mass_go(sinkhorn) -> None:
    batch = ragged([(4, 5), (6, 3)], seed=4)
    mass = [
        sinkhorn(*batch.arguments(), **batch.masks(), marginal_penalty=penalty).coupling.sum((1, 2))
        for penalty in (1e-3, 0.1, 1.0, 10.0)
    ]
    for less, more in pairwise(mass):
        assert (less < more).all()
    assert (mass[0] < 0.2).all()
    assert (mass[-1] > 0.9).all()


def test_a_marginal_that_must_hold_does(sinkhorn) -> None:
    batch = ragged([(4, 5), (6, 3)], seed=5)
    rows = sinkhorn(*batch.arguments(), **batch.masks(), marginal_penalty=(None, 0.1), tolerance=1e-9)
    assert rows.converged.all()
    torch.testing.assert_close(rows.coupling.sum(2), batch.row_marginal, atol=1e-8, rtol=0)
    assert ((rows.coupling.sum(1) - batch.col_marginal).abs().sum(1) > 0.01).all()
    cols = sinkhorn(*batch.arguments(), **batch.masks(), marginal_penalty=(0.1, None), tolerance=1e-9)
    torch.testing.assert_close(cols.coupling.sum(1), batch.col_marginal, atol=1e-8, rtol=0)


def test_penalties_that_relax_nothing_are_the_balanced_problem(sinkhorn) -> None:
    batch = ragged([(4, 5)], seed=6)
    balanced = sinkhorn(*batch.arguments())
    for penalty in ((None, None), math.inf, (math.inf, None)):
        assert torch.equal(sinkhorn(*batch.arguments(), marginal_penalty=penalty).coupling, balanced.coupling)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("penalty", [1e-6, 1e-2, 1.0, 1e3, (None, 1e-6), (1e-6, None)])
@pytest.mark.parametrize("regularization", [1e-4, 0.01, 10.0])
def test_extremes_stay_finite_and_say_whether_they_converged(sinkhorn, dtype, penalty, regularization) -> None:
    batch = ragged([(6, 6), (12, 3), (1, 4)], seed=7, dtype=dtype, padding=1e30)
    plan = sinkhorn(
        *batch.arguments(), **batch.masks(), regularization=regularization, marginal_penalty=penalty, max_iterations=200
    )
    assert finite(plan)
    assert torch.equal(plan.converged, plan.marginal_error <= 1e-4)


def test_zero_mass_bins_carry_nothing_when_relaxed(sinkhorn) -> None:
    rows, cols = torch.tensor([[0.5, 0.0, 0.5]]), torch.tensor([[0.0, 0.25, 0.75]])
    cost = ragged([(3, 3)], seed=8, dtype=torch.float32).cost
    plan = sinkhorn(cost, rows, cols, marginal_penalty=0.2, tolerance=1e-6)
    smaller = sinkhorn(cost[:, ::2, 1:], rows[:, ::2], cols[:, 1:], marginal_penalty=0.2, tolerance=1e-6)
    assert plan.coupling[:, 1].sum() == plan.coupling[:, :, 0].sum() == 0
    torch.testing.assert_close(plan.coupling[:, ::2, 1:], smaller.coupling, atol=2e-6, rtol=0)
    torch.testing.assert_close(plan.value, smaller.value, atol=2e-6, rtol=0)
