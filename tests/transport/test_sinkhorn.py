"""What must hold of every plan, whatever the problem."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transport_problems import Ragged, ragged

from kivuko import transport
from kivuko.transport import Plan

SIZES = st.lists(st.tuples(st.integers(1, 7), st.integers(1, 7)), min_size=1, max_size=6)
SEEDS = st.integers(0, 2**31)
FEW = settings(max_examples=30, deadline=None)


def solve(batch: Ragged, **options: float) -> Plan:
    return transport.solve(*batch.arguments(), **batch.masks(), **options)  # type: ignore[arg-type]


def finite(plan: Plan) -> bool:
    return all(
        bool(part.isfinite().all()) for part in (plan.coupling, plan.transport_cost, plan.entropy, plan.marginal_error)
    )


@FEW
@given(SIZES, SEEDS, st.sampled_from([0.5, 0.1, 0.05]))
def test_marginals_hold_and_masked_cells_are_zero(
    sizes: list[tuple[int, int]], seed: int, regularization: float
) -> None:
    batch = ragged(sizes, seed=seed, dtype=torch.float32, padding=float("nan"))
    plan = solve(batch, regularization=regularization, max_iterations=5000)
    rows = (plan.coupling.sum(2) - batch.row_marginal).abs().sum(1)
    cols = (plan.coupling.sum(1) - batch.col_marginal).abs().sum(1)
    torch.testing.assert_close(torch.maximum(rows, cols), plan.marginal_error, atol=1e-6, rtol=0)
    assert torch.equal(plan.converged, plan.marginal_error <= 1e-4)
    assert plan.converged.all()
    assert (plan.coupling >= 0).all()
    assert (plan.coupling[~(batch.row_mask[:, :, None] & batch.col_mask[:, None, :])] == 0).all()
    assert finite(plan)


@FEW
@given(SIZES, SEEDS)
def test_a_plan_does_not_depend_on_its_batch_mates(sizes: list[tuple[int, int]], seed: int) -> None:
    batch = ragged([*sizes, (6, 6), (1, 1)], seed=seed)
    together = solve(batch, regularization=0.05)
    for i, (n, m) in enumerate(batch.sizes):
        rows, cols, cost = (part[None] for part in batch.single(i))
        alone = transport.solve(cost, rows, cols, regularization=0.05)
        torch.testing.assert_close(together.coupling[i, :n, :m], alone.coupling[0], atol=1e-10, rtol=1e-8)
        assert together.iterations[i] == alone.iterations[0]


@FEW
@given(st.integers(2, 7), st.integers(2, 7), SEEDS)
def test_permuting_rows_and_columns_permutes_the_plan(n: int, m: int, seed: int) -> None:
    batch = ragged([(n, m)], seed=seed)
    generator = torch.Generator().manual_seed(seed)
    p, q = torch.randperm(n, generator=generator), torch.randperm(m, generator=generator)
    plan = solve(batch)
    moved = transport.solve(
        batch.cost[:, p][:, :, q],
        batch.row_marginal[:, p],
        batch.col_marginal[:, q],
    )
    torch.testing.assert_close(moved.coupling, plan.coupling[:, p][:, :, q], atol=1e-10, rtol=1e-8)


def test_a_constant_added_to_rows_or_columns_leaves_the_plan() -> None:
    batch = ragged([(4, 5), (5, 3)], seed=3)
    shift = torch.linspace(-3, 3, 5, dtype=torch.float64)
    options = {"regularization": 0.1, "tolerance": 1e-10, "max_iterations": 20_000}
    plan = solve(batch, **options)
    shifted = transport.solve(
        batch.cost + shift[None, :, None],
        *batch.arguments()[1:],
        **batch.masks(),
        **options,  # type: ignore[arg-type]
    )
    torch.testing.assert_close(shifted.coupling, plan.coupling, atol=1e-8, rtol=0)


def test_sharp_plan_aligns_a_permutation() -> None:
    permutation = torch.tensor([2, 0, 3, 1])
    cost = 1 - torch.eye(4)[permutation][None]
    plan = transport.solve(cost, regularization=0.02)
    torch.testing.assert_close(plan.coupling[0], torch.eye(4)[permutation] / 4, atol=1e-5, rtol=0)
    assert plan.transport_cost.item() == pytest.approx(0, abs=1e-5)


def test_zero_mass_bins_carry_exactly_nothing() -> None:
    batch = ragged([(4, 5)], seed=4, dtype=torch.float32)
    rows = torch.tensor([[0.5, 0.0, 0.5, 0.0]])
    cols = torch.tensor([[0.0, 0.25, 0.0, 0.5, 0.25]])
    plan = transport.solve(batch.cost, rows, cols)
    assert plan.converged.all()
    assert finite(plan)
    assert (plan.coupling[:, rows[0] == 0] == 0).all()
    assert (plan.coupling[:, :, cols[0] == 0] == 0).all()
    smaller = transport.solve(batch.cost[:, ::2][:, :, [1, 3, 4]], rows[:, ::2], cols[:, [1, 3, 4]])
    torch.testing.assert_close(plan.coupling[:, ::2][:, :, [1, 3, 4]], smaller.coupling, atol=1e-6, rtol=0)


def test_one_token_against_many_takes_the_whole_marginal() -> None:
    batch = ragged([(1, 5), (1, 1)], seed=5)
    plan = solve(batch, tolerance=1e-9)
    torch.testing.assert_close(plan.coupling[:, 0], batch.col_marginal)
    torch.testing.assert_close(plan.coupling[1, 0, 0].item(), 1.0)


def test_empty_problems_are_zero_and_do_not_disturb_the_rest() -> None:
    batch = ragged([(3, 4), (3, 4), (3, 4), (3, 4)], seed=6, dtype=torch.float32)
    row_mask, col_mask = batch.row_mask.clone(), batch.col_mask.clone()
    row_mask[0] = False
    col_mask[2] = False
    row_mask[3], col_mask[3] = False, False
    plan = transport.solve(batch.cost, row_mask=row_mask, col_mask=col_mask)
    empty = torch.tensor([True, False, True, True])
    assert plan.converged.all()
    assert (plan.coupling[empty] == 0).all()
    assert (plan.iterations[empty] == 0).all()
    for part in (plan.transport_cost, plan.entropy, plan.marginal_error):
        assert (part[empty] == 0).all()
    alone = transport.solve(batch.cost[1:2])
    torch.testing.assert_close(plan.coupling[1:2], alone.coupling, atol=1e-6, rtol=0)


@pytest.mark.parametrize("shape", [(0, 3, 4), (2, 0, 4), (2, 3, 0), (2, 0, 0), (0, 0, 0)])
def test_shapes_without_cells_work(shape: tuple[int, int, int]) -> None:
    plan = transport.solve(torch.zeros(shape))
    assert plan.coupling.shape == shape
    assert plan.converged.shape == plan.iterations.shape == plan.transport_cost.shape == shape[:1]
    assert plan.converged.all()


def test_given_marginals_are_dropped_where_the_other_side_is_empty() -> None:
    plan = transport.solve(
        torch.zeros(1, 2, 2), torch.tensor([[0.5, 0.5]]), col_mask=torch.zeros(1, 2, dtype=torch.bool)
    )
    assert plan.converged.all()
    assert (plan.coupling == 0).all()
    assert plan.marginal_error.item() == 0


def test_uniform_is_the_default_over_the_mask() -> None:
    batch = ragged([(3, 2), (2, 4)], seed=7, dtype=torch.float32)
    given_ = transport.solve(
        batch.cost, transport.uniform(batch.row_mask), transport.uniform(batch.col_mask), **batch.masks()
    )
    default = transport.solve(batch.cost, **batch.masks())
    assert torch.equal(given_.coupling, default.coupling)
    torch.testing.assert_close(default.coupling[0].sum(1)[:3], torch.full((3,), 1 / 3), atol=1e-4, rtol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_input_is_computed_in_float32(dtype: torch.dtype) -> None:
    batch = ragged([(6, 5), (12, 10)], seed=8, dtype=torch.float32)
    cost, rows, cols = (part.to(dtype) for part in batch.arguments())
    plan = transport.solve(cost, rows, cols, **batch.masks(), max_iterations=5000)
    assert plan.coupling.dtype == plan.transport_cost.dtype == torch.float32
    assert plan.converged.all()
    rows32, cols32 = rows.float(), cols.float()
    full = transport.solve(
        cost.float(),
        rows32 / rows32.sum(1, keepdim=True),
        cols32 / cols32.sum(1, keepdim=True),
        **batch.masks(),
        max_iterations=5000,
    )
    torch.testing.assert_close(plan.coupling, full.coupling, atol=1e-5, rtol=0)


def test_autocast_does_not_lower_the_precision() -> None:
    batch = ragged([(6, 5), (12, 10)], seed=9, dtype=torch.float32)
    plain = solve(batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = solve(batch)
    assert cast.coupling.dtype == torch.float32
    assert torch.equal(cast.coupling, plain.coupling)


@pytest.mark.parametrize("max_iterations", [1, 3, 15])
def test_what_has_not_converged_says_so(max_iterations: int) -> None:
    batch = ragged([(6, 6), (1, 1)], seed=10, dtype=torch.float32)
    plan = solve(batch, regularization=0.01, max_iterations=max_iterations)
    assert plan.converged.tolist() == [False, True]
    assert plan.marginal_error[0] > 1e-4
    assert plan.iterations[0] == max_iterations
    assert finite(plan)


def test_a_plan_cut_short_is_still_of_the_regularization_asked_for() -> None:
    # Whatever the potentials, log P + cost / regularization must be a row term plus a column term.
    batch = ragged([(5, 4)], seed=11)
    for max_iterations in (1, 10, 25, 60, 200):
        plan = solve(batch, regularization=0.05, tolerance=1e-12, max_iterations=max_iterations)
        terms = plan.coupling[0].log() + batch.cost[0] / 0.05
        residual = terms - terms[:1] - terms[:, :1] + terms[0, 0]
        torch.testing.assert_close(residual, torch.zeros_like(residual), atol=1e-9, rtol=0)


def test_easy_problems_stop_before_hard_ones() -> None:
    hard = ragged([(6, 6)], seed=12).cost
    cost = torch.cat([torch.zeros_like(hard), hard])
    plan = transport.solve(cost, regularization=0.02, max_iterations=5000)
    assert plan.converged.all()
    assert plan.iterations[0] < plan.iterations[1]


@pytest.mark.parametrize("regularization", [1e-2, 1e-3, 1e-4, 1e-5])
def test_extremely_small_regularization_stays_finite(regularization: float) -> None:
    batch = ragged([(6, 6), (12, 3), (1, 4)], seed=13, dtype=torch.float32)
    rows = batch.row_marginal.clone()
    rows[0, :2] = torch.tensor([1e-30, 0.0])
    rows = rows / rows.sum(1, keepdim=True)
    plan = transport.solve(batch.cost, rows, batch.col_marginal, **batch.masks(), regularization=regularization)
    assert finite(plan)
    assert torch.equal(plan.converged, plan.marginal_error <= 1e-4)


def test_the_plan_carries_no_gradient_and_leaves_the_cost_alone() -> None:
    cost = ragged([(3, 4)], seed=14).cost.requires_grad_()
    before = cost.detach().clone()
    plan = transport.solve(cost)
    assert not plan.coupling.requires_grad
    assert not plan.transport_cost.requires_grad
    assert torch.equal(cost.detach(), before)


def test_envelope_gradient_matches_finite_differences() -> None:
    batch = ragged([(3, 4), (4, 2)], seed=15)
    regularization, step = 0.1, 1e-4

    def optimum(cost: torch.Tensor) -> torch.Tensor:
        plan = transport.solve(
            cost,
            *batch.arguments()[1:],
            **batch.masks(),
            regularization=regularization,
            tolerance=1e-12,
            max_iterations=50_000,
        )
        assert plan.converged.all()
        return (plan.transport_cost - regularization * (plan.entropy + 1)).sum()

    cost = batch.cost.clone().requires_grad_()
    plan = transport.solve(
        cost,
        *batch.arguments()[1:],
        **batch.masks(),
        regularization=regularization,
        tolerance=1e-12,
        max_iterations=50_000,
    )
    (plan.coupling * cost).sum().backward()
    assert cost.grad is not None
    assert cost.grad.isfinite().all()
    for cell in [(0, 0, 0), (0, 2, 3), (0, 1, 1), (1, 3, 1), (1, 0, 0), (1, 0, 3)]:
        up, down = batch.cost.clone(), batch.cost.clone()
        up[cell] += step
        down[cell] -= step
        slope = (optimum(up) - optimum(down)) / (2 * step)
        assert cost.grad[cell].item() == pytest.approx(slope.item(), abs=1e-6)
