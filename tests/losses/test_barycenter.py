"""Token-level mean squared error along a transport plan."""

from __future__ import annotations

import dataclasses

import ot
import pytest
import torch
from token_batches import (
    E1,
    E2,
    assert_same_gradient,
    drawn,
    finite_differences,
    gradient,
    row_of,
    sentences,
    with_tokens,
)

from kivuko.encoders.token_batch import TokenBatch
from kivuko.losses import objectives as module
from kivuko.losses.objectives import BarycenterObjective
from kivuko.transport.solve import solve

CENTER = torch.tensor([0.5, -1.0, 2.0, 0.0, 1.0, -0.5], dtype=torch.float64)
CENTRINGS = [
    pytest.param(None, True, id="none"),
    pytest.param(CENTER, True, id="both"),
    pytest.param(CENTER, False, id="teacher"),
]
every_centering = pytest.mark.parametrize(("center", "student_centered"), CENTRINGS)
EXACTLY = {"regularization": 0.1, "tolerance": 1e-9, "max_iterations": 20000}


@pytest.fixture
def batches():
    return drawn([3, 1, 4]), drawn([2, 3, 4], seed=1)


def by_pot(student, teacher, center, student_centered):
    """The error of one pair of sentences, [n, dim] and [m, dim], along POT's plan."""
    theirs = teacher - (0 if center is None else center)
    mine = student - (center if center is not None and student_centered else 0)
    cost = ot.dist(mine.numpy(), theirs.numpy(), metric="cosine")
    plan = torch.from_numpy(ot.sinkhorn([], [], cost, 0.1, method="sinkhorn_log", numItermax=100000, stopThr=1e-13))
    total = 0.0
    for row, token in zip(plan, mine, strict=True):
        mean = sum(share * other for share, other in zip(row / row.sum(), theirs, strict=True))
        total += (token - mean).square().sum().item() / len(mine)
    return total


@every_centering
def test_against_pot(batches, center, student_centered):
    student, teacher = batches
    expected = [by_pot(row_of(student, row), row_of(teacher, row), center, student_centered) for row in range(3)]
    value = BarycenterObjective(center=center, student_centered=student_centered, **EXACTLY)(student, teacher)
    assert value.total.item() == pytest.approx(sum(expected) / 3, rel=1e-6)
    assert value.parts["barycenter"].item() == value.total.item()
    assert value.parts["unconverged"].item() == 0


def test_a_sharp_plan_holds_each_token_against_its_match_and_a_diffuse_one_against_the_mean():
    student, teacher = sentences([[2.0, 0.0], E2]), sentences([E2, E1])
    assert BarycenterObjective(regularization=0.01)(student, teacher).total.item() == pytest.approx(1 / 2, abs=1e-3)
    # All barycenters at (1/2, 1/2): squares 9/4 + 1/4 and 1/4 + 1/4, averaged.
    assert BarycenterObjective(regularization=50.0)(student, teacher).total.item() == pytest.approx(1.5, abs=0.02)


def test_many_sentences_of_all_lengths_are_each_taken_for_themselves():
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(0, 9, (2, 150), generator=generator).tolist()
    student, teacher = drawn(lengths[0]), drawn(lengths[1], seed=1)
    total, filled = 0.0, 0
    for row in range(150):
        one, other = (
            TokenBatch(side.tokens[row : row + 1], side.mask[row : row + 1], side.pooled[row : row + 1])
            for side in (student, teacher)
        )
        total += BarycenterObjective()(one, other).total.item()
        filled += bool(one.mask.any() and other.mask.any())
    assert BarycenterObjective()(student, teacher).total.item() == pytest.approx(total / filled)


def test_special_tokens_in_front_are_not_seen(batches):
    student, teacher = (
        with_tokens(torch.cat([side.tokens[:, :1] + 50, side.tokens], 1), torch.cat([~side.mask[:, :1], side.mask], 1))
        for side in batches
    )
    objective = BarycenterObjective(**EXACTLY)
    assert objective(student, teacher).total.item() == pytest.approx(objective(*batches).total.item())


@every_centering
def test_the_gradient_is_that_of_the_error_under_the_fixed_plan(batches, center, student_centered, monkeypatch):
    objective = BarycenterObjective(center=center, student_centered=student_centered, **EXACTLY)
    slope, kept = gradient(objective, *batches), []

    def remembered(cost, **settings):
        kept.append(solve(cost, **settings))
        return kept[0]

    monkeypatch.setattr(module, "solve", remembered)
    assert_same_gradient(slope, finite_differences(objective, *batches))


@every_centering
def test_padding_changes_nothing_whatever_it_holds(batches, center, student_centered):
    objective = BarycenterObjective(center=center, student_centered=student_centered, **EXACTLY)
    longer = (drawn([3, 1, 4], longest=7, junk=torch.nan), drawn([2, 3, 4], seed=1, longest=6, junk=torch.nan))
    torch.testing.assert_close(objective(*longer).total, objective(*batches).total)
    slope = gradient(objective, *longer)
    torch.testing.assert_close(slope[:, :4], gradient(objective, *batches))
    assert slope[:, 4:].abs().max() == 0


def test_empty_rows_are_harmless_and_do_not_dilute_the_mean():
    student, teacher = drawn([2, 0, 3, 0]), drawn([3, 2, 0, 0], seed=1)
    objective = BarycenterObjective()
    alone = objective(drawn([2]), TokenBatch(teacher.tokens[:1], teacher.mask[:1], teacher.pooled[:1])).total
    value = objective(student, teacher)
    assert value.total.item() == pytest.approx(alone.item())
    assert value.parts["unconverged"].item() == 0
    slope = gradient(objective, student, teacher)
    assert slope[0].abs().max() > 0
    assert slope[1:].abs().max() == 0
    assert objective(drawn([0, 0], longest=2), drawn([0, 0], longest=1)).total.item() == 0


def test_plans_that_do_not_converge_are_counted():
    student, teacher = drawn([3, 1, 4]), drawn([2, 1, 4], seed=1)  # one token against one has but one plan
    hasty = BarycenterObjective(regularization=0.01, tolerance=1e-6, max_iterations=1)
    assert hasty(student, teacher).parts["unconverged"].item() == pytest.approx(2 / 3)
    patient = dataclasses.replace(hasty, max_iterations=100000)
    assert patient(student, teacher).parts["unconverged"].item() == 0


def test_a_student_that_has_the_teachers_tokens_has_nothing_to_learn():
    teacher = drawn([3, 2])
    sharp = BarycenterObjective(regularization=0.005)
    assert sharp(teacher, teacher).total.item() == pytest.approx(0, abs=1e-6)
    centered = with_tokens(teacher.tokens - CENTER, teacher.mask)
    own = dataclasses.replace(sharp, center=CENTER, student_centered=False)
    assert own(centered, teacher).total.item() == pytest.approx(0, abs=1e-6)
