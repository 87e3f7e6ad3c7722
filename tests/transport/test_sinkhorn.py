"""The Sinkhorn solvers: optimality, convergence, and relaxed marginals."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transport_problems import Ragged, divergence, finite, misplaced, ragged, uneven

from kivuko.transport.marginals import uniform
from kivuko.transport.solve import solve

SIZES = st.lists(st.tuples(st.integers(1, 7), st.integers(1, 7)), min_size=1, max_size=6)
SEEDS = st.integers(0, 2**31)
FEW = settings(max_examples=15, deadline=None)


@FEW
@given(sizes=SIZES, seed=SEEDS, regularization=st.sampled_from([0.5, 0.1, 0.05]))
def test_marginals_hold_and_masked_cells_are_zero(sinkhorn, sizes, seed, regularization) -> None:
    batch = ragged(sizes, seed=seed, dtype=torch.float32, padding=float("nan"))
    plan = sinkhorn(*batch.arguments(), **batch.masks(), regularization=regularization, max_iterations=5000)
    error = misplaced(plan, *batch.arguments()[1:])
    torch.testing.assert_close(error, plan.marginal_error.double(), atol=3e-6, rtol=0)
    assert torch.equal(plan.converged, plan.marginal_error <= 1e-4)
    assert plan.converged.all()
    assert (plan.coupling[~(batch.row_mask[:, :, None] & batch.col_mask[:, None, :])] == 0).all()
    assert finite(plan)


@FEW
@given(sizes=SIZES, seed=SEEDS, dtype=st.sampled_from([torch.float32, torch.float64]))
def test_cost_entropy_and_value_are_those_of_the_coupling(sinkhorn, sizes, seed, dtype) -> None:
    batch = ragged(sizes, seed=seed, dtype=dtype, padding=1e30)
    plan = sinkhorn(*batch.arguments(), **batch.masks(), regularization=0.03)
    coupling, close = plan.coupling.double(), {"atol": 1e-5 if dtype == torch.float32 else 1e-12, "rtol": 0}
    spent = torch.where(coupling > 0, coupling * batch.cost.double(), 0.0).sum((1, 2))
    product = batch.row_marginal[:, :, None] * batch.col_marginal[:, None, :]
    torch.testing.assert_close(plan.transport_cost.double(), spent, **close)
    torch.testing.assert_close(plan.entropy.double(), torch.special.entr(coupling).sum((1, 2)), **close)
    torch.testing.assert_close(plan.value.double(), spent + 0.03 * divergence(coupling, product), **close)
    assert {part.dtype for part in (plan.coupling, plan.transport_cost, plan.value, plan.entropy)} == {dtype}


@FEW
@given(sizes=SIZES, seed=SEEDS, regularization=st.sampled_from([0.3, 0.1, 0.04]))
def test_every_implementation_finds_the_plan_of_the_reference(sinkhorn, sizes, seed, regularization) -> None:
    batch = ragged(sizes, seed=seed)
    options = {"regularization": regularization, "tolerance": 1e-10, "max_iterations": 100_000, **batch.masks()}
    plan = sinkhorn(*batch.arguments(), **options)
    reference = solve(*batch.arguments(), method="sinkhorn_log", **options)
    assert plan.converged.all()
    assert reference.converged.all()
    torch.testing.assert_close(plan.coupling, reference.coupling, atol=1e-7, rtol=0)
    torch.testing.assert_close(plan.value, reference.value, atol=1e-9, rtol=0)


@FEW
@given(sizes=SIZES, seed=SEEDS)
def test_a_plan_does_not_depend_on_its_batch_mates(sinkhorn, sizes, seed) -> None:
    batch = ragged([*sizes, (6, 6), (1, 1)], seed=seed)
    together = sinkhorn(*batch.arguments(), **batch.masks(), regularization=0.05)
    for i, (n, m) in enumerate(batch.sizes):
        rows, cols, cost = (part[None] for part in batch.single(i))
        alone = sinkhorn(cost, rows, cols, regularization=0.05)
        torch.testing.assert_close(together.coupling[i, :n, :m], alone.coupling[0], atol=1e-10, rtol=1e-8)
        assert together.iterations[i] == alone.iterations[0]


@FEW
@given(n=st.integers(2, 7), m=st.integers(2, 7), seed=SEEDS)
def test_permuting_rows_and_columns_permutes_the_plan(sinkhorn, n, m, seed) -> None:
    batch = ragged([(n, m)], seed=seed)
    generator = torch.Generator().manual_seed(seed)
    p, q = torch.randperm(n, generator=generator), torch.randperm(m, generator=generator)
    # Newton's steps leave out the last row, so that at a loose tolerance the order would show.
    options = {"tolerance": 1e-11, "max_iterations": 100_000}
    plan = sinkhorn(*batch.arguments(), **options)
    moved = sinkhorn(batch.cost[:, p][:, :, q], batch.row_marginal[:, p], batch.col_marginal[:, q], **options)
    torch.testing.assert_close(moved.coupling, plan.coupling[:, p][:, :, q], atol=1e-9, rtol=0)


@FEW
@given(n=st.integers(1, 7), m=st.integers(1, 7), seed=SEEDS)
def test_swapping_the_sides_transposes_the_plan(sinkhorn, n, m, seed) -> None:
    batch = ragged([(n, m)], seed=seed)
    options = {"tolerance": 1e-11, "max_iterations": 100_000}
    plan = sinkhorn(*batch.arguments(), **options)
    swapped = sinkhorn(batch.cost.transpose(1, 2), batch.col_marginal, batch.row_marginal, **options)
    torch.testing.assert_close(swapped.coupling.transpose(1, 2), plan.coupling, atol=1e-9, rtol=0)


def test_a_constant_added_to_rows_or_columns_leaves_the_plan(sinkhorn) -> None:
    batch = ragged([(4, 5), (5, 3)], seed=3)
    shift = torch.linspace(-3, 3, 5, dtype=torch.float64)
    options = {"regularization": 0.1, "tolerance": 1e-10, "max_iterations": 20_000, **batch.masks()}
    plan = sinkhorn(*batch.arguments(), **options)
    for moved in (shift[None, :, None], shift[None, None, :]):
        shifted = sinkhorn(batch.cost + moved, *batch.arguments()[1:], **options)
        torch.testing.assert_close(shifted.coupling, plan.coupling, atol=1e-8, rtol=0)


def test_scaling_cost_and_regularization_leaves_the_plan(sinkhorn) -> None:
    batch = ragged([(4, 5), (5, 3)], seed=4)
    options = {"tolerance": 1e-11, "max_iterations": 20_000, **batch.masks()}
    plan = sinkhorn(*batch.arguments(), regularization=0.1, **options)
    for scale in (1e-8, 1e4):
        scaled = sinkhorn(scale * batch.cost, *batch.arguments()[1:], regularization=0.1 * scale, **options)
        torch.testing.assert_close(scaled.coupling, plan.coupling, atol=1e-9, rtol=0)
        torch.testing.assert_close(scaled.value / scale, plan.value, atol=1e-9, rtol=0)


def test_sharp_plan_aligns_a_permutation(sinkhorn) -> None:
    permutation = torch.tensor([2, 0, 3, 1])
    cost = 1 - torch.eye(4)[permutation][None]
    plan = sinkhorn(cost, regularization=0.02)
    torch.testing.assert_close(plan.coupling[0], torch.eye(4)[permutation] / 4, atol=1e-5, rtol=0)
    assert plan.transport_cost.item() == pytest.approx(0, abs=1e-5)


def test_zero_mass_bins_carry_exactly_nothing(sinkhorn) -> None:
    batch = ragged([(4, 5)], seed=4, dtype=torch.float32)
    rows = torch.tensor([[0.5, 0.0, 0.5, 0.0]])
    cols = torch.tensor([[0.0, 0.25, 0.0, 0.5, 0.25]])
    plan = sinkhorn(batch.cost, rows, cols, tolerance=1e-6)
    assert plan.converged.all()
    assert finite(plan)
    assert (plan.coupling[:, rows[0] == 0] == 0).all()
    assert (plan.coupling[:, :, cols[0] == 0] == 0).all()
    smaller = sinkhorn(batch.cost[:, ::2][:, :, [1, 3, 4]], rows[:, ::2], cols[:, [1, 3, 4]], tolerance=1e-6)
    torch.testing.assert_close(plan.coupling[:, ::2][:, :, [1, 3, 4]], smaller.coupling, atol=2e-6, rtol=0)


def test_masked_positions_in_the_middle_are_as_if_left_out(sinkhorn) -> None:
    batch = ragged([(5, 6)], seed=5)
    row_mask = torch.tensor([[True, False, True, True, False]])
    col_mask = torch.tensor([[False, True, True, False, True, True]])
    cost = batch.cost.masked_fill(~(row_mask[:, :, None] & col_mask[:, None, :]), float("nan"))
    plan = sinkhorn(cost, row_mask=row_mask, col_mask=col_mask, tolerance=1e-11, max_iterations=20_000)
    smaller = sinkhorn(batch.cost[:, row_mask[0]][:, :, col_mask[0]], tolerance=1e-11, max_iterations=20_000)
    torch.testing.assert_close(plan.coupling[:, row_mask[0]][:, :, col_mask[0]], smaller.coupling, atol=1e-9, rtol=0)
    assert plan.coupling.sum().item() == pytest.approx(1)


def test_one_token_against_many_takes_the_whole_marginal(sinkhorn) -> None:
    batch = ragged([(1, 5), (1, 1)], seed=5)
    plan = sinkhorn(*batch.arguments(), **batch.masks(), tolerance=1e-9)
    torch.testing.assert_close(plan.coupling[:, 0], batch.col_marginal)
    torch.testing.assert_close(plan.coupling[1, 0, 0].item(), 1.0)
    torch.testing.assert_close(plan.value, plan.transport_cost)  # the only plan is the product of the marginals


@pytest.mark.parametrize("level", [0.0, 1.0, -1.0, 100.0])
def test_where_all_costs_are_equal_the_plan_is_the_product_of_the_marginals(sinkhorn, level) -> None:
    batch = ragged([(4, 6), (7, 2)], seed=6, dtype=torch.float32)
    plan = sinkhorn(torch.full_like(batch.cost, level), *batch.arguments()[1:], **batch.masks())
    product = batch.row_marginal[:, :, None] * batch.col_marginal[:, None, :]
    torch.testing.assert_close(plan.coupling, product, atol=1e-5, rtol=0)
    torch.testing.assert_close(plan.value, torch.full((2,), level), atol=1e-5, rtol=1e-5)
    assert plan.converged.all()


def test_uniform_is_the_default_over_the_mask(sinkhorn) -> None:
    batch = ragged([(3, 2), (2, 4)], seed=7, dtype=torch.float32)
    given_ = sinkhorn(batch.cost, *(uniform(mask) for mask in batch.masks().values()), **batch.masks())
    default = sinkhorn(batch.cost, **batch.masks())
    assert torch.equal(given_.coupling, default.coupling)
    torch.testing.assert_close(default.coupling[0].sum(1)[:3], torch.full((3,), 1 / 3), atol=1e-4, rtol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_input_is_computed_in_float32(sinkhorn, dtype) -> None:
    batch = ragged([(6, 5), (12, 10)], seed=8, dtype=torch.float32)
    cost, rows, cols = (part.to(dtype) for part in batch.arguments())
    plan = sinkhorn(cost, rows, cols, **batch.masks(), max_iterations=5000)
    assert plan.coupling.dtype == plan.transport_cost.dtype == plan.value.dtype == torch.float32
    assert plan.converged.all()
    rows32, cols32 = (part.float() / part.float().sum(1, keepdim=True) for part in (rows, cols))
    full = sinkhorn(cost.float(), rows32, cols32, **batch.masks(), max_iterations=5000)
    torch.testing.assert_close(plan.coupling, full.coupling, atol=1e-5, rtol=0)


def test_whole_number_costs_are_computed_in_float32(sinkhorn) -> None:
    cost = torch.tensor([[[0, 2, 1], [3, 0, 2]]])
    assert torch.equal(sinkhorn(cost).coupling, sinkhorn(cost.float()).coupling)


def test_autocast_does_not_lower_the_precision(sinkhorn) -> None:
    batch = ragged([(6, 5), (12, 10)], seed=9, dtype=torch.float32)
    plain = sinkhorn(*batch.arguments(), **batch.masks())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = sinkhorn(*batch.arguments(), **batch.masks())
    assert cast.coupling.dtype == torch.float32
    assert torch.equal(cast.coupling, plain.coupling)


def test_the_arguments_are_left_as_they_were(sinkhorn) -> None:
    batch = ragged([(3, 4), (4, 2)], seed=14)
    before = [part.clone() for part in (*batch.arguments(), *batch.masks().values())]
    sinkhorn(*batch.arguments(), **batch.masks())
    for now, then in zip((*batch.arguments(), *batch.masks().values()), before, strict=True):
        assert torch.equal(now, then)


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


PENALTIES = [0.3, 2.0, (1.0, 0.1), (None, 0.5), (0.5, None)]
TIGHT = {"tolerance": 1e-11, "max_iterations": 50_000}
UNBALANCED_SIZES = [(1, 1), (1, 6), (5, 1), (6, 6), (4, 11)]


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
    batch = ragged(UNBALANCED_SIZES, seed=1, padding=math.nan)
    options = {"regularization": regularization, "marginal_penalty": penalty, **TIGHT, **batch.masks()}
    plan = sinkhorn(*batch.arguments(), **options)
    assert plan.converged.all()
    for i, (n, m) in enumerate(UNBALANCED_SIZES):
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
    reference = solve(*batch.arguments(), method="sinkhorn_log", **options, max_iterations=10_000)
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
