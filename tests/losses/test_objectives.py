"""What all objectives have in common, and their sum."""

from __future__ import annotations

import pytest
import torch
from token_batches import E1, E2, drawn, gradient, pooled, sentences

from kivuko.losses.objectives import (
    BarycenterObjective,
    GreedyObjective,
    LearnedContrastive,
    RelationalObjective,
    SentenceContrastive,
    SentenceCosine,
    SentenceMSE,
    TransportObjective,
    WeightedSum,
)

EVERY = [
    SentenceMSE(), SentenceCosine(), SentenceContrastive(), LearnedContrastive(), RelationalObjective(),
    TransportObjective(), TransportObjective(marginal_penalty=1.0), GreedyObjective(), BarycenterObjective(),
]  # fmt: skip
every_objective = pytest.mark.parametrize("objective", EVERY, ids=lambda one: type(one).__name__)


def test_a_weighted_sum_weighs_the_total_and_leaves_the_parts():
    student, teacher = pooled([1.0, 2.0]), pooled([0.0, 0.0])
    value = WeightedSum([(2.0, SentenceMSE()), (0.5, SentenceCosine())])(student, teacher)
    assert value.parts["mse"].item() == pytest.approx(5)
    assert value.parts["cosine"].item() == pytest.approx(1)
    assert value.total.item() == pytest.approx(2 * 5 + 0.5 * 1)


def test_no_part_hides_another_of_its_name():
    student, teacher = sentences([E1, E2]), sentences([E1, E2])
    near, far = TransportObjective(), TransportObjective(regularization=50.0)
    parts = WeightedSum([(1.0, near), (1.0, far)])(student, teacher).parts
    assert parts.keys() == {"transport", "unconverged", "transport_2", "unconverged_2"}
    assert parts["transport_2"].item() > parts["transport"].item()


def test_a_sum_knows_which_of_its_objectives_learn():
    learned = LearnedContrastive()
    assert dict(WeightedSum([(1.0, SentenceMSE()), (0.0, learned)]).learned().items()) == {"1": learned}
    assert not list(WeightedSum([(1.0, SentenceMSE())]).learned().parameters())


@every_objective
def test_parts_carry_no_gradient_and_totals_do(objective):
    student = sentences([E1, E2], [E2], [E1, E1])
    student.tokens.requires_grad_()
    student.pooled.requires_grad_()
    value = objective(student, sentences([E1], [[1.0, 1.0]], [E2]))
    assert value.total.requires_grad
    assert value.total.shape == ()
    assert not any(part.requires_grad for part in value.parts.values())


@every_objective
def test_the_teacher_gets_no_gradient_and_the_student_one_that_is_not_zero(objective):
    student, teacher = drawn([3, 1, 2]), drawn([2, 3, 4], seed=1)
    teacher.tokens.requires_grad_()
    assert gradient(objective, student, teacher)[student.mask].abs().max() > 1e-4
    assert teacher.tokens.grad is None


@every_objective
def test_half_precision_is_not_computed_in(objective):
    student, teacher = drawn([3, 1, 2]), drawn([2, 3, 4], seed=1)
    alone = objective(student, teacher).total
    with torch.autocast("cpu", torch.bfloat16):
        value = objective(student, teacher).total
    torch.testing.assert_close(value.double(), alone.double(), rtol=0.02, atol=1e-3)
