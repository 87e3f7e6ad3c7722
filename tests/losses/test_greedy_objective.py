"""Token-level distillation along a greedy matching."""

from __future__ import annotations

import pytest
import torch
from token_batches import E1, E2, assert_same_gradient, drawn, finite_differences, gradient, row_of, sentences

from kivuko.encoders.token_batch import TokenBatch
from kivuko.losses.objectives import GreedyObjective

CENTER = torch.tensor([0.5, -1.0, 2.0, 0.0, 1.0, -0.5], dtype=torch.float64)
CENTRINGS = [
    pytest.param(None, True, id="none"),
    pytest.param(CENTER, True, id="both"),
    pytest.param(CENTER, False, id="teacher"),
]
every_centering = pytest.mark.parametrize(("center", "student_centered"), CENTRINGS)


@pytest.fixture
def batches():
    return drawn([3, 1, 4]), drawn([2, 3, 4], seed=1)


def by_search(student, teacher, center, student_centered):
    """The error of one pair of sentences, [n, dim] and [m, dim]: a match at a time."""
    theirs = teacher - (0 if center is None else center)
    mine = student - (center if center is not None and student_centered else 0)
    nearness = torch.nn.functional.cosine_similarity(mine[:, None], theirs[None], dim=2)
    free = {(i, j) for i in range(len(mine)) for j in range(len(theirs))}
    errors = []
    while free:
        i, j = max(free, key=lambda pair: nearness[pair].item())
        errors.append((mine[i] - theirs[j]).square().sum().item())
        free = {pair for pair in free if pair[0] != i and pair[1] != j}
    return sum(errors) / len(errors)


@every_centering
def test_against_a_search(batches, center, student_centered):
    student, teacher = batches
    expected = [by_search(row_of(student, row), row_of(teacher, row), center, student_centered) for row in range(3)]
    value = GreedyObjective(center, student_centered)(student, teacher)
    assert value.total.item() == pytest.approx(sum(expected) / 3)
    assert {name: part.item() for name, part in value.parts.items()} == {"greedy": value.total.item()}


def test_by_hand():
    # E2's mate is nearest. The other token is left with the far one, however ill they fit: squares 0 and 1 + 9.
    value = GreedyObjective()(sentences([E1, E2]), sentences([E2, [0.0, 3.0]]))
    assert value.total.item() == pytest.approx((0 + 10) / 2)


def test_what_is_not_matched_learns_nothing():
    student, teacher = sentences([E1, [0.9, 0.1], E2]), sentences([E2])
    slope = gradient(GreedyObjective(), student, teacher)
    assert slope[0, :2].abs().max() == 0
    moved = gradient(GreedyObjective(), student, sentences([[0.0, 3.0]]))
    assert moved[0, 2].tolist() == [0.0, -4.0]


@every_centering
def test_the_gradient_is_that_of_the_value(batches, center, student_centered):
    objective = GreedyObjective(center, student_centered)
    assert_same_gradient(gradient(objective, *batches), finite_differences(objective, *batches))


@every_centering
def test_padding_changes_nothing_whatever_it_holds(batches, center, student_centered):
    objective = GreedyObjective(center, student_centered)
    longer = (drawn([3, 1, 4], longest=7, junk=torch.nan), drawn([2, 3, 4], seed=1, longest=6, junk=torch.nan))
    torch.testing.assert_close(objective(*longer).total, objective(*batches).total)
    slope = gradient(objective, *longer)
    torch.testing.assert_close(slope[:, :4], gradient(objective, *batches))
    assert slope[:, 4:].abs().max() == 0


def test_empty_rows_are_harmless_and_do_not_dilute_the_mean():
    student, teacher = drawn([2, 0, 3, 0]), drawn([3, 2, 0, 0], seed=1)
    alone = TokenBatch(teacher.tokens[:1], teacher.mask[:1], teacher.pooled[:1])
    expected = GreedyObjective()(drawn([2]), alone).total.item()
    assert GreedyObjective()(student, teacher).total.item() == pytest.approx(expected)
    slope = gradient(GreedyObjective(), student, teacher)
    assert slope[0].abs().max() > 0
    assert slope[1:].abs().max() == 0
    assert GreedyObjective()(drawn([0, 0], longest=2), drawn([0, 0], longest=1)).total.item() == 0
