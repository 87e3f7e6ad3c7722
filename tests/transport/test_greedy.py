"""Greedy one-to-one alignment against a plain loop."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transport_problems import Single, finite, misplaced, pad, ragged, random, skewed

from kivuko import transport

SIZES = [(1, 1), (1, 6), (5, 1), (3, 4), (6, 6), (9, 12)]


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
    plan = transport.solve(*batch.arguments(), **batch.masks(), method="greedy")
    assert finite(plan)
    for i, (n, m) in enumerate(sizes):
        torch.testing.assert_close(plan.coupling[i, :n, :m], expected(problems[i]))  # type: ignore[arg-type]
        assert plan.iterations[i] == len(matches(problems[i]))  # type: ignore[arg-type]
    torch.testing.assert_close(plan.coupling.sum((1, 2)), torch.ones(len(sizes), dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_position_is_matched_at_most_once(dtype) -> None:
    plan = transport.solve(ragged(SIZES, seed=1, dtype=dtype).cost, method="greedy")
    taken = plan.coupling > 0
    assert (taken.sum(1) <= 1).all()
    assert (taken.sum(2) <= 1).all()


def test_converged_is_said_exactly_where_the_marginals_are_met() -> None:
    batch = ragged([(4, 4), (4, 3), (3, 3)], seed=2)
    given_ = transport.solve(*batch.arguments(), **batch.masks(), method="greedy")
    even = transport.solve(batch.cost, **batch.masks(), method="greedy", tolerance=1e-12)
    torch.testing.assert_close(given_.marginal_error, misplaced(given_, *batch.arguments()[1:]))
    assert even.converged.tolist() == [True, False, True]
    assert given_.converged.tolist() == [False, False, False]
    torch.testing.assert_close(even.marginal_error, torch.tensor([0, 0.5, 0], dtype=torch.float64))
    loose = transport.solve(batch.cost, **batch.masks(), method="greedy", tolerance=0.5 + 1e-9)
    assert loose.converged.all()


def test_of_the_marginals_only_the_zeros_count() -> None:
    batch = ragged([(5, 5)], seed=3)
    uneven = torch.tensor([[0.9, 0.05, 0.03, 0.01, 0.01]], dtype=torch.float64)
    plan = transport.solve(batch.cost, uneven, uneven, method="greedy")
    assert torch.equal(plan.coupling, transport.solve(batch.cost, method="greedy").coupling)


def test_where_all_is_equal_the_first_row_takes_the_first_column() -> None:
    plan = transport.solve(torch.ones(2, 3, 4), method="greedy")
    assert torch.equal(plan.coupling[1], torch.eye(3, 4) / 3)
    assert plan.value.tolist() == pytest.approx([1, 1])
