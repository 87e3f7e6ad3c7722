"""Relational distillation: the likeness of sentences to each other."""

from __future__ import annotations

import math

import pytest
import torch
from token_batches import E1, E2, assert_same_gradient, drawn, finite_differences, gradient, pooled

from kivuko.encoders.token_batch import TokenBatch
from kivuko.losses.objectives import RelationalObjective


def reference(student, teacher, temperature):
    """The same, a pair of rows at a time, in plain floats."""

    def cosine(a, b):
        return sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)

    total, related = 0.0, 0
    for i in range(len(teacher)):
        others = [j for j in range(len(teacher)) if teacher[j] != teacher[i]]
        shares = []
        for side in (teacher, student):
            likeness = [math.exp(cosine(side[i], side[j]) / temperature) for j in others]
            shares.append([one / sum(likeness) for one in likeness])
        total += sum(p * math.log(p / q) for p, q in zip(*shares, strict=True))
        related += bool(others)
    return total / related


def vectors(batch):
    return batch.pooled.tolist()


@pytest.mark.parametrize("temperature", [0.05, 0.5])
def test_against_the_reference(temperature):
    student, teacher = drawn([3, 1, 2, 4, 2]), drawn([2, 2, 4, 1, 3], seed=1)
    value = RelationalObjective(temperature)(student, teacher)
    assert value.total.item() == pytest.approx(reference(vectors(student), vectors(teacher), temperature), rel=1e-9)
    assert value.parts["relational"].item() == value.total.item()


def test_one_english_sentence_in_several_languages_takes_no_part_in_its_own_likeness():
    student, teacher = drawn([3, 1, 2, 4]), drawn([2, 2, 4, 1], seed=1)
    target = teacher.pooled.clone()
    target[1] = target[0]
    teacher = TokenBatch(teacher.tokens, teacher.mask, target)
    value = RelationalObjective(0.3)(student, teacher)
    assert value.total.item() == pytest.approx(reference(vectors(student), vectors(teacher), 0.3), rel=1e-9)


def test_a_text_with_two_translations_takes_no_part_in_its_own_likeness():
    student, teacher = drawn([3, 1, 2, 4]), drawn([2, 2, 4, 1], seed=1)
    own = student.pooled.clone()
    own[1] = own[0]
    student = TokenBatch(student.tokens, student.mask, own)
    known = RelationalObjective(0.3)(student, teacher).total.item()
    student.texts = ["paka", "paka", "mbwa", "ndege"]
    assert RelationalObjective(0.3)(student, teacher).total.item() == known
    student.texts = ["paka", "chui", "mbwa", "ndege"]
    assert RelationalObjective(0.3)(student, teacher).total.item() > known


def test_the_gradient_is_that_of_the_value():
    student, teacher = drawn([3, 1, 2, 2], dim=4), drawn([2, 2, 4, 1], dim=4, seed=1)
    objective = RelationalObjective(0.3)
    expected = finite_differences(objective, student, teacher)
    assert expected.abs().max() > 0.01
    assert_same_gradient(gradient(objective, student, teacher), expected)


def test_a_rotated_student_is_as_good_which_is_why_it_needs_an_anchor():
    teacher = drawn([3, 1, 2, 4])
    rotation, _ = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    student = TokenBatch(teacher.tokens, teacher.mask, 3 * teacher.pooled @ rotation)
    assert RelationalObjective()(student, teacher).total.item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("rows", [(E1,), (E1, E1), (E1, E2)])
def test_sentences_without_a_choice_teach_nothing_and_have_no_nan(rows):
    student = pooled(*[[1.0, 2.0 + place] for place in range(len(rows))])
    student.pooled.requires_grad_()
    value = RelationalObjective()(student, pooled(*rows))
    value.total.backward()
    assert value.total.item() == 0
    assert student.pooled.grad.abs().max() == 0


def test_a_sentence_without_vectors_has_no_nan():
    student = pooled([0.0, 0.0], E1, E2)
    student.pooled.requires_grad_()
    value = RelationalObjective()(student, pooled(E1, [0.0, 0.0], E2))
    value.total.backward()
    assert value.total.isfinite()
    assert student.pooled.grad.isfinite().all()


def test_cosines_are_not_rounded_under_autocast():
    torch.manual_seed(0)
    student, teacher = pooled(*torch.randn(8, 384).tolist()), pooled(*torch.randn(8, 384).tolist())
    alone = RelationalObjective()(student, teacher).total
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(RelationalObjective()(student, teacher).total, alone)
