"""The reference, exact, greedy and proximal methods."""

from __future__ import annotations

import builtins
import math
import re
import sys

import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from transport_problems import Ragged, Single, finite, misplaced, pad, ragged, random, skewed

from kivuko.errors import MissingDependencyError, UsageError
from kivuko.transport.solve import solve

SIZES = [(1, 1), (1, 6), (5, 1), (3, 4), (6, 6), (12, 9), (20, 30)]
DTYPES = [torch.float32, torch.float64]


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_plan_is_a_vertex(dtype) -> None:
    batch = ragged(SIZES, seed=1, dtype=dtype, padding=math.nan)
    plan = solve(*batch.arguments(), **batch.masks(), method="exact", tolerance=1e-6)
    assert finite(plan)
    assert plan.converged.all()
    assert (misplaced(plan, *batch.arguments()[1:]) < 1e-6).all()
    for coupling, (n, m) in zip(plan.coupling, SIZES, strict=True):
        assert coupling.count_nonzero() <= n + m - 1
    assert plan.coupling.dtype == dtype
    assert (plan.iterations == 1).all()


def test_a_permutation_is_found_exactly() -> None:
    permutation = torch.tensor([2, 0, 3, 1])
    plan = solve(1 - torch.eye(4)[permutation][None], method="exact")
    assert torch.equal(plan.coupling[0], torch.eye(4)[permutation] / 4)
    assert plan.value.item() == plan.transport_cost.item() == 0


def test_zero_mass_bins_carry_exactly_nothing() -> None:
    rows, cols = torch.tensor([[0.5, 0.0, 0.5]]), torch.tensor([[0.0, 0.25, 0.75]])
    cost = torch.tensor([[[math.nan, 1.0, 2.0], [0.0, 0.0, 0.0], [0.0, 2.0, 1.0]]])
    cost[0, 0, 0] = -5.0  # tempting, but that column holds no mass
    plan = solve(cost, rows, cols, method="exact")
    assert plan.coupling.tolist() == [[[0, 0.25, 0.25], [0, 0, 0], [0, 0, 0.5]]]


def test_negative_and_transposed_costs_are_taken_as_they_are() -> None:
    cost = torch.tensor([[[-3.0, 0.0], [0.0, -1.0], [5.0, 2.0]]]).transpose(1, 2)
    assert not cost.is_contiguous()
    row, col = torch.tensor([[0.5, 0.5]]), torch.tensor([[0.25, 0.5, 0.25]])
    plan = solve(cost, row, col, method="exact")
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
        plan = solve(cost[None], method="exact")
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
    plan = solve(cost, method="exact")
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
    plan = solve(ragged([(20, 30)], seed=2).cost, method="exact")
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
        solve(torch.zeros(1, 2, 2), method="exact")
    assert "\n" not in str(caught.value)


GREEDY_SIZES = [(1, 1), (1, 6), (5, 1), (3, 4), (6, 6), (9, 12)]


def matches(problem: Single) -> list[tuple[int, int]]:
    """The pairs in the order in which they are taken: of equally cheap ones the first, rows before columns."""
    row, col, cost = problem
    rows = [i for i in range(len(row)) if row[i] > 0]
    cols = [j for j in range(len(col)) if col[j] > 0]
    found = []
    while rows and cols:
        _, i, j = min((cost[i, j].item(), i, j) for i in rows for j in cols)
        found.append((i, j))
        rows.remove(i)
        cols.remove(j)
    return found


def expected(problem: Single) -> torch.Tensor:
    pairs = matches(problem)
    plan = torch.zeros_like(problem[2])
    for i, j in pairs:
        plan[i, j] = 1 / len(pairs)
    return plan


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 8), st.integers(1, 8)), min_size=1, max_size=4),
    seed=st.integers(0, 2**31),
    levels=st.sampled_from([2, 5, 1000]),  # few levels: many pairs are equally cheap
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_it_takes_the_cheapest_free_pair_again_and_again(sizes, seed, levels, dtype) -> None:
    generator = torch.Generator().manual_seed(seed)
    problems = [
        tuple(
            part.to(dtype)
            for part in (
                skewed(n, 1.0, generator=generator),
                skewed(m, 1.0, generator=generator),
                (levels * random(n, m, generator=generator)).floor() - 1,
            )
        )
        for n, m in sizes
    ]
    batch = pad(problems, padding=-math.inf)  # type: ignore[arg-type]
    plan = solve(*batch.arguments(), **batch.masks(), method="greedy")
    assert finite(plan)
    for i, (n, m) in enumerate(sizes):
        torch.testing.assert_close(plan.coupling[i, :n, :m], expected(problems[i]))  # type: ignore[arg-type]
        assert plan.iterations[i] == len(matches(problems[i]))  # type: ignore[arg-type]
    torch.testing.assert_close(plan.coupling.sum((1, 2)), torch.ones(len(sizes), dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_position_is_matched_at_most_once(dtype) -> None:
    plan = solve(ragged(GREEDY_SIZES, seed=1, dtype=dtype).cost, method="greedy")
    taken = plan.coupling > 0
    assert (taken.sum(1) <= 1).all()
    assert (taken.sum(2) <= 1).all()


def test_converged_is_said_exactly_where_the_marginals_are_met() -> None:
    batch = ragged([(4, 4), (4, 3), (3, 3)], seed=2)
    given_ = solve(*batch.arguments(), **batch.masks(), method="greedy")
    even = solve(batch.cost, **batch.masks(), method="greedy", tolerance=1e-12)
    torch.testing.assert_close(given_.marginal_error, misplaced(given_, *batch.arguments()[1:]))
    assert even.converged.tolist() == [True, False, True]
    assert given_.converged.tolist() == [False, False, False]
    torch.testing.assert_close(even.marginal_error, torch.tensor([0, 0.5, 0], dtype=torch.float64))
    loose = solve(batch.cost, **batch.masks(), method="greedy", tolerance=0.5 + 1e-9)
    assert loose.converged.all()


def test_of_the_marginals_only_the_zeros_count() -> None:
    batch = ragged([(5, 5)], seed=3)
    uneven = torch.tensor([[0.9, 0.05, 0.03, 0.01, 0.01]], dtype=torch.float64)
    plan = solve(batch.cost, uneven, uneven, method="greedy")
    assert torch.equal(plan.coupling, solve(batch.cost, method="greedy").coupling)


def test_where_all_is_equal_the_first_row_takes_the_first_column() -> None:
    plan = solve(torch.ones(2, 3, 4), method="greedy")
    assert torch.equal(plan.coupling[1], torch.eye(3, 4) / 3)
    assert plan.value.tolist() == pytest.approx([1, 1])


PROXIMAL_SIZES = [(1, 1), (1, 6), (5, 1), (3, 4), (6, 6), (12, 9), (20, 30)]
PROXIMAL_DTYPES = [torch.float32, torch.float64]


def solve_proximal(batch: Ragged, **options):
    return solve(*batch.arguments(), **batch.masks(), method="proximal", **options)


def optimum(batch: Ragged, index: int) -> float:
    row, col, cost = (part.double() for part in batch.single(index))
    return ot.emd2((row / row.sum()).numpy(), (col / col.sum()).numpy(), cost.contiguous().numpy())


@pytest.mark.parametrize("dtype", PROXIMAL_DTYPES)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_nearly_all_mass_lies_on_as_many_cells_as_a_vertex_has(dtype, seed) -> None:
    plan = solve_proximal(ragged(PROXIMAL_SIZES, seed=seed, dtype=dtype, padding=math.nan))
    assert plan.converged.all()
    for coupling, (n, m) in zip(plan.coupling, PROXIMAL_SIZES, strict=True):
        largest = coupling.flatten().topk(min(n + m - 1, coupling.numel())).values
        assert largest.sum() > 0.9


@pytest.mark.parametrize("dtype", PROXIMAL_DTYPES)
def test_the_marginals_hold_whether_it_converged_or_not(dtype) -> None:
    batch = ragged(PROXIMAL_SIZES, seed=4, dtype=dtype, padding=math.nan)
    for max_iterations in (1, 7, 50, 1000):
        plan = solve_proximal(batch, max_iterations=max_iterations)
        assert finite(plan)
        assert (misplaced(plan, *batch.arguments()[1:]) < 1e-6).all()
        torch.testing.assert_close(
            misplaced(plan, *batch.arguments()[1:]), plan.marginal_error.double(), atol=1e-6, rtol=0
        )


@pytest.mark.parametrize("dtype", PROXIMAL_DTYPES)
@pytest.mark.parametrize("regularization", [1e-3, 0.05, 1.0])
@pytest.mark.parametrize("max_iterations", [20, 100, 2000])
def test_what_it_calls_converged_is_optimal(dtype, regularization, max_iterations) -> None:
    batch = ragged(PROXIMAL_SIZES, seed=5, dtype=dtype)
    plan = solve_proximal(batch, regularization=regularization, max_iterations=max_iterations)
    for i in plan.converged.nonzero()[:, 0].tolist():
        assert plan.transport_cost[i].item() <= optimum(batch, i) * 1.0005 + 5e-6
    assert plan.converged.all() or max_iterations < 2000


@pytest.mark.parametrize("max_iterations", [1, 2, 5])
def test_what_has_not_converged_says_so(max_iterations) -> None:
    batch = ragged([(12, 9), (1, 1)], seed=6)
    plan = solve_proximal(batch, max_iterations=max_iterations)
    assert plan.converged.tolist() == [False, True]
    assert plan.transport_cost[0].item() > 1.0005 * optimum(batch, 0)


@pytest.mark.parametrize("max_iterations", [1, 3, 10, 33, 100])
def test_the_iterations_of_all_steps_together_keep_to_the_limit(max_iterations) -> None:
    plan = solve_proximal(ragged(PROXIMAL_SIZES, seed=7), max_iterations=max_iterations)
    assert (plan.iterations <= max_iterations).all()
    assert (plan.iterations >= 1).all()
    assert (plan.iterations[~plan.converged] == max_iterations).all()


def test_a_problem_does_not_depend_on_its_batch_mates() -> None:
    batch = ragged(PROXIMAL_SIZES, seed=8)
    together = solve_proximal(batch)
    for i, (n, m) in enumerate(PROXIMAL_SIZES):
        row, col, cost = (part[None] for part in batch.single(i))
        alone = solve(cost, row, col, method="proximal")
        torch.testing.assert_close(together.coupling[i, :n, :m], alone.coupling[0], atol=1e-9, rtol=0)
        assert together.iterations[i] == alone.iterations[0]


@pytest.mark.parametrize("dtype", PROXIMAL_DTYPES)
def test_uneven_masses_with_zeros_are_carried(dtype) -> None:
    generator = torch.Generator().manual_seed(9)
    problems = [
        (skewed(n, 3.0, generator=generator), skewed(m, 3.0, generator=generator), random(n, m, generator=generator))
        for n, m in PROXIMAL_SIZES
    ]
    batch = pad(problems, padding=1e30).to(dtype)
    plan = solve_proximal(batch)
    assert finite(plan)
    assert (plan.coupling[batch.row_marginal == 0] == 0).all()
    assert (plan.coupling.transpose(1, 2)[batch.col_marginal == 0] == 0).all()
    for i in plan.converged.nonzero()[:, 0].tolist():
        assert plan.transport_cost[i].item() == pytest.approx(optimum(batch, i), rel=1e-3, abs=5e-6)


def test_a_permutation_costs_nothing() -> None:
    permutation = torch.tensor([2, 0, 3, 1])
    plan = solve(1 - torch.eye(4)[permutation][None], method="proximal")
    assert plan.converged.all()
    torch.testing.assert_close(plan.coupling[0], torch.eye(4)[permutation] / 4, atol=1e-6, rtol=0)
