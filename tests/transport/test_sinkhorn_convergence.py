"""When a problem counts as solved, what is said of one that is not, and how little is needed for either."""

from __future__ import annotations

import pytest
import torch
from transport_problems import finite, misplaced, ragged, uneven

REGULARIZATIONS = [1e-2, 1e-3, 1e-4, 1e-5]


@pytest.mark.parametrize("max_iterations", [1, 2, 3, 15])
def test_what_has_not_converged_says_so(sinkhorn, max_iterations) -> None:
    batch = ragged([(6, 6), (1, 1)], seed=10, dtype=torch.float32)
    plan = sinkhorn(*batch.arguments(), **batch.masks(), regularization=0.01, max_iterations=max_iterations)
    assert plan.converged.tolist() == [False, True]
    assert plan.marginal_error[0] > 1e-4
    assert plan.iterations[0] == max_iterations
    assert finite(plan)


def test_a_plan_cut_short_is_still_of_the_regularization_asked_for(sinkhorn) -> None:
    # Whatever the potentials, log P + cost / regularization must be a row term plus a column term.
    batch = ragged([(5, 4)], seed=11)
    for max_iterations in (1, 10, 25, 60, 200):
        plan = sinkhorn(*batch.arguments(), regularization=0.05, tolerance=1e-12, max_iterations=max_iterations)
        terms = plan.coupling[0].log() + batch.cost[0] / 0.05
        residual = terms - terms[:1] - terms[:, :1] + terms[0, 0]
        torch.testing.assert_close(residual, torch.zeros_like(residual), atol=1e-9, rtol=0)


def test_easy_problems_stop_before_hard_ones(sinkhorn) -> None:
    hard = ragged([(6, 6)], seed=12).cost
    plan = sinkhorn(torch.cat([torch.zeros_like(hard), hard]), regularization=0.02, max_iterations=5000)
    assert plan.converged.all()
    assert plan.iterations[0] < plan.iterations[1]


def test_a_smaller_tolerance_is_kept(sinkhorn) -> None:
    batch = ragged([(6, 6), (9, 4)], seed=13)
    for tolerance in (1e-2, 1e-5, 1e-8, 1e-11):
        plan = sinkhorn(*batch.arguments(), **batch.masks(), tolerance=tolerance, max_iterations=20_000)
        assert plan.converged.all()
        assert (misplaced(plan, *batch.arguments()[1:]) <= tolerance * (1 + 1e-6)).all()


@pytest.mark.parametrize("regularization", REGULARIZATIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extremely_small_regularization_stays_finite(sinkhorn, regularization, dtype) -> None:
    batch = ragged([(6, 6), (12, 3), (1, 4)], seed=13, dtype=dtype)
    rows = batch.row_marginal.clone()
    rows[0, :2] = torch.tensor([1e-30, 0.0])
    rows = rows / rows.sum(1, keepdim=True)
    plan = sinkhorn(batch.cost, rows, batch.col_marginal, **batch.masks(), regularization=regularization)
    assert finite(plan)
    assert torch.equal(plan.converged, plan.marginal_error <= 1e-4)


@pytest.mark.parametrize("tiny", [1e-30, 1e-38, 1e-41, 1e-45])
def test_a_mass_too_small_to_matter_changes_nothing(sinkhorn, tiny) -> None:
    cost = ragged([(3, 4)], seed=14, dtype=torch.float32).cost
    plan = sinkhorn(cost, torch.tensor([[0.5, tiny, 0.5]]), tolerance=1e-6)
    without = sinkhorn(cost[:, ::2], torch.tensor([[0.5, 0.5]]), tolerance=1e-6)
    assert finite(plan)
    assert plan.converged.all()
    torch.testing.assert_close(plan.coupling[:, ::2], without.coupling, atol=2e-6, rtol=0)
    torch.testing.assert_close(plan.value, without.value, atol=2e-6, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [3, 8, 24])
def test_very_uneven_masses_are_solved_or_flagged(sinkhorn, dtype, size) -> None:
    cost, row, col = uneven(size, seed=0, dtype=dtype)
    plan = sinkhorn(cost, row, col, regularization=0.005)
    assert finite(plan)
    torch.testing.assert_close(misplaced(plan, row, col), plan.marginal_error.double(), atol=3e-6, rtol=0)
    assert torch.equal(plan.converged, plan.marginal_error <= 1e-4)
    assert plan.converged.sum() >= 12


def test_float32_reaches_a_tolerance_of_one_millionth(sinkhorn) -> None:
    batch = ragged([(6, 6), (9, 4), (20, 30), (40, 40)], seed=15, dtype=torch.float32)
    plan = sinkhorn(*batch.arguments(), **batch.masks(), regularization=0.1, tolerance=1e-6, max_iterations=5000)
    assert plan.converged.all()
    assert (misplaced(plan, *batch.arguments()[1:]) <= 1.5e-6).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_tolerance_out_of_reach_is_flagged(sinkhorn, dtype) -> None:
    batch = ragged([(12, 9)], seed=16, dtype=dtype)
    plan = sinkhorn(*batch.arguments(), tolerance=1e-30, max_iterations=300)
    assert finite(plan)
    assert plan.converged.tolist() == (plan.marginal_error <= 1e-30).tolist()
    assert misplaced(plan, *batch.arguments()[1:]) < (1e-5 if dtype == torch.float32 else 1e-6)
