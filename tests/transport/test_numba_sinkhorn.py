"""The compiled CPU path: threads, forks, layouts, hard problems, and what happens where numba is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from transport_problems import finite, misplaced, ragged, random, uneven

from kivuko.transport import sinkhorn as backends
from kivuko.transport.solve import solve

pytest.importorskip("numba", reason="numba is not installed: pip install 'kivuko[fast]'")

# Enough cells for several threads to be worth waking.
MANY = [(9 + i % 8, 16 - i % 8) for i in range(250)]


def numba(*arguments, **options):
    return solve(*arguments, backend="numba", **options)


def same(one, other) -> bool:
    fields = ("coupling", "transport_cost", "value", "entropy", "marginal_error", "iterations", "converged")
    return all(torch.equal(getattr(one, field), getattr(other, field)) for field in fields)


@pytest.fixture
def threads():
    """A function that sets how many threads torch may use; put back afterward."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_it_is_what_sinkhorn_runs_on_by_default() -> None:
    batch = ragged([(5, 6), (7, 3)], seed=1)
    assert same(solve(*batch.arguments(), **batch.masks()), numba(*batch.arguments(), **batch.masks()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_answer_does_not_depend_on_the_number_of_threads(threads, dtype) -> None:
    batch = ragged(MANY, seed=2, dtype=dtype, padding=float("nan"))
    threads(1)
    alone = numba(*batch.arguments(), **batch.masks())
    assert alone.converged.all()
    for count in (2, 4, 3):
        threads(count)
        assert same(alone, numba(*batch.arguments(), **batch.masks()))


def test_callers_on_several_threads_get_their_own_answers(threads) -> None:
    threads(2)
    batches = [ragged(MANY[: 60 + 20 * i], seed=i, dtype=torch.float32) for i in range(8)]
    alone = [numba(*batch.arguments(), **batch.masks()) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda batch: numba(*batch.arguments(), **batch.masks()), batches * 3))
    for i, plan in enumerate(together):
        assert same(plan, alone[i % len(batches)])


FORKING = """
import os, sys, torch
from kivuko.transport.solve import solve

torch.set_num_threads(4)
cost = torch.rand(256, 16, 16, generator=torch.Generator().manual_seed(0))
expected = solve(cost, backend="numba").coupling
child = os.fork()
if child == 0:
    os._exit(0 if torch.equal(solve(cost, backend="numba").coupling, expected) else 3)
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
again = torch.equal(solve(cost, backend="numba").coupling, expected)
sys.exit(code or (0 if again else 4))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_child_forked_after_use_does_not_hang() -> None:
    ran = subprocess.run([sys.executable, "-c", FORKING], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr


def test_the_layout_in_memory_does_not_matter() -> None:
    batch = ragged([(6, 6)] * 3, seed=3)
    cost, row, col = batch.arguments()
    plain = numba(cost, row, col)
    strided_cost = cost.transpose(1, 2).contiguous().transpose(1, 2)
    wide = torch.zeros(3, 12, dtype=torch.float64)
    wide[:, ::2] = row
    assert not strided_cost.is_contiguous()
    assert same(numba(strided_cost, wide[:, ::2], col.T.contiguous().T), plain)
    assert numba(strided_cost).coupling.is_contiguous()


def test_expanded_costs_and_marginals_are_taken() -> None:
    cost, row, col = (part[:1] for part in ragged([(4, 5)], seed=4).arguments())
    plan = numba(cost.expand(3, -1, -1), row.expand(3, -1), col.expand(3, -1))
    assert torch.equal(plan.coupling, numba(cost, row, col).coupling.expand(3, -1, -1))
    flat = numba(torch.zeros(1, 1, 1).expand(2, 4, 5))
    torch.testing.assert_close(flat.coupling, torch.full((2, 4, 5), 1 / 20))


HARD = 40  # problems


def near_permutations(generator: torch.Generator) -> torch.Tensor:
    cost = 1 - torch.eye(8, dtype=torch.float64).expand(HARD, -1, -1)
    return cost + 0.01 * random(HARD, 8, 8, generator=generator)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("regularization", "kind"), [(1e-3, "uniform"), (1e-4, "uniform"), (1e-3, "permutation")])
def test_hard_problems_converge_where_the_plain_iteration_would_take_thousands(dtype, regularization, kind) -> None:
    generator = torch.Generator().manual_seed(5)
    cost = near_permutations(generator) if kind == "permutation" else random(HARD, 5, 5, generator=generator)
    uniform = torch.full(cost.shape[:2], 1 / cost.shape[1], dtype=dtype)
    plan = numba(cost.to(dtype), regularization=regularization)
    assert plan.converged.all()
    assert (misplaced(plan, uniform, uniform) <= 1.1e-4).all()
    if kind == "uniform":
        plain = solve(cost.to(dtype), regularization=regularization, method="sinkhorn_log")
        assert not plain.converged.all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [3, 4, 8, 24])
def test_what_the_plain_iteration_solves_is_solved_however_uneven_the_masses(dtype, size) -> None:
    for seed in range(3):
        problem = uneven(size, seed=seed, dtype=dtype)
        plan = numba(*problem, regularization=0.005)
        plain = solve(*(part.double() for part in problem), regularization=0.005, method="sinkhorn_log")
        assert finite(plan)
        assert plan.converged[plain.converged].all(), plan.marginal_error[plain.converged].max()


def test_a_tolerance_of_one_millionth_in_float32_is_reached_or_flagged() -> None:
    batch = ragged([(5, 5), (20, 30), (40, 40)] * 5, seed=6, dtype=torch.float32)
    for regularization in (0.1, 0.02, 0.005):
        plan = numba(*batch.arguments(), **batch.masks(), regularization=regularization, tolerance=1e-6)
        assert finite(plan)
        error = misplaced(plan, *batch.arguments()[1:])
        assert torch.equal(plan.converged, plan.marginal_error <= 1e-6)
        assert (error[plan.converged] <= 4e-6).all()
        assert (error < 1e-4).all()


def test_without_numba_torch_takes_over(monkeypatch) -> None:
    batch = ragged([(5, 6), (7, 3)], seed=7)
    torchs = solve(*batch.arguments(), **batch.masks(), backend="torch")
    monkeypatch.setattr(backends, "is_installed", lambda package: False)
    assert same(solve(*batch.arguments(), **batch.masks()), torchs)
    assert finite(solve(*batch.arguments(), **batch.masks(), method="proximal"))
