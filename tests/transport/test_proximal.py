"""The proximal method: sharp, feasible, and optimal where it says that it converged."""

from __future__ import annotations

import math

import ot
import pytest
import torch
from transport_problems import Ragged, finite, misplaced, pad, ragged, random, skewed

from kivuko import transport

SIZES = [(1, 1), (1, 6), (5, 1), (3, 4), (6, 6), (12, 9), (20, 30)]
DTYPES = [torch.float32, torch.float64]


def solve(batch: Ragged, **options):
    return transport.solve(*batch.arguments(), **batch.masks(), method="proximal", **options)


def optimum(batch: Ragged, index: int) -> float:
    row, col, cost = (part.double() for part in batch.single(index))
    return ot.emd2((row / row.sum()).numpy(), (col / col.sum()).numpy(), cost.contiguous().numpy())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_nearly_all_mass_lies_on_as_many_cells_as_a_vertex_has(dtype, seed) -> None:
    plan = solve(ragged(SIZES, seed=seed, dtype=dtype, padding=math.nan))
    assert plan.converged.all()
    for coupling, (n, m) in zip(plan.coupling, SIZES, strict=True):
        largest = coupling.flatten().topk(min(n + m - 1, coupling.numel())).values
        assert largest.sum() > 0.9


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_marginals_hold_whether_it_converged_or_not(dtype) -> None:
    batch = ragged(SIZES, seed=4, dtype=dtype, padding=math.nan)
    for max_iterations in (1, 7, 50, 1000):
        plan = solve(batch, max_iterations=max_iterations)
        assert finite(plan)
        assert (misplaced(plan, *batch.arguments()[1:]) < 1e-6).all()
        torch.testing.assert_close(
            misplaced(plan, *batch.arguments()[1:]), plan.marginal_error.double(), atol=1e-6, rtol=0
        )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("regularization", [1e-3, 0.05, 1.0])
@pytest.mark.parametrize("max_iterations", [20, 100, 2000])
def test_what_it_calls_converged_is_optimal(dtype, regularization, max_iterations) -> None:
    batch = ragged(SIZES, seed=5, dtype=dtype)
    plan = solve(batch, regularization=regularization, max_iterations=max_iterations)
    for i in plan.converged.nonzero()[:, 0].tolist():
        assert plan.transport_cost[i].item() <= optimum(batch, i) * 1.0005 + 5e-6
    assert plan.converged.all() or max_iterations < 2000


@pytest.mark.parametrize("max_iterations", [1, 2, 5])
def test_what_has_not_converged_says_so(max_iterations) -> None:
    batch = ragged([(12, 9), (1, 1)], seed=6)
    plan = solve(batch, max_iterations=max_iterations)
    assert plan.converged.tolist() == [False, True]
    assert plan.transport_cost[0].item() > 1.0005 * optimum(batch, 0)


@pytest.mark.parametrize("max_iterations", [1, 3, 10, 33, 100])
def test_the_iterations_of_all_steps_together_keep_to_the_limit(max_iterations) -> None:
    plan = solve(ragged(SIZES, seed=7), max_iterations=max_iterations)
    assert (plan.iterations <= max_iterations).all()
    assert (plan.iterations >= 1).all()
    assert (plan.iterations[~plan.converged] == max_iterations).all()


def test_a_problem_does_not_depend_on_its_batch_mates() -> None:
    batch = ragged(SIZES, seed=8)
    together = solve(batch)
    for i, (n, m) in enumerate(SIZES):
        row, col, cost = (part[None] for part in batch.single(i))
        alone = transport.solve(cost, row, col, method="proximal")
        torch.testing.assert_close(together.coupling[i, :n, :m], alone.coupling[0], atol=1e-9, rtol=0)
        assert together.iterations[i] == alone.iterations[0]


@pytest.mark.parametrize("dtype", DTYPES)
def test_uneven_masses_with_zeros_are_carried(dtype) -> None:
    generator = torch.Generator().manual_seed(9)
    problems = [
        (skewed(n, 3.0, generator=generator), skewed(m, 3.0, generator=generator), random(n, m, generator=generator))
        for n, m in SIZES
    ]
    batch = pad(problems, padding=1e30).to(dtype)
    plan = solve(batch)
    assert finite(plan)
    assert (plan.coupling[batch.row_marginal == 0] == 0).all()
    assert (plan.coupling.transpose(1, 2)[batch.col_marginal == 0] == 0).all()
    for i in plan.converged.nonzero()[:, 0].tolist():
        assert plan.transport_cost[i].item() == pytest.approx(optimum(batch, i), rel=1e-3, abs=5e-6)


def test_a_permutation_costs_nothing() -> None:
    permutation = torch.tensor([2, 0, 3, 1])
    plan = transport.solve(1 - torch.eye(4)[permutation][None], method="proximal")
    assert plan.converged.all()
    torch.testing.assert_close(plan.coupling[0], torch.eye(4)[permutation] / 4, atol=1e-6, rtol=0)
