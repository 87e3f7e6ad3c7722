"""The contrastive objective, at a given and at a learned temperature."""

from __future__ import annotations

import math

import pytest
import torch
from token_batches import E1, E2, assert_same_gradient, drawn, finite_differences, gradient, pooled

from kivuko.losses.objectives import LearnedContrastive, SentenceContrastive


def test_by_hand():
    # Each student vector has cosine 1 with its own and 0 with the other: log(1 + exp(-1 / temperature)).
    value = SentenceContrastive(temperature=0.5)(pooled([2.0, 0.0], [0.0, 3.0]), pooled([5.0, 0.0], E2))
    assert value.total.item() == pytest.approx(math.log(1 + math.exp(-2)))
    swapped = SentenceContrastive(temperature=0.5)(pooled(E2, E1), pooled(E1, E2))
    assert swapped.total.item() == pytest.approx(math.log(1 + math.exp(2)))


def test_one_english_sentence_in_several_languages_is_one_target():
    # Rows 0 and 1 translate the same sentence. Were they wrong answers to each other, the loss would be log 2.
    value = SentenceContrastive(temperature=0.5)(pooled(E1, E1), pooled(E1, E1))
    assert value.total.item() == 0
    alone = SentenceContrastive(temperature=0.5)(pooled(E1, E2), pooled(E1, E2)).total.item()
    assert SentenceContrastive(temperature=0.5)(pooled(E1, E1, E2), pooled(E1, E1, E2)).total.item() < 1.5 * alone


@pytest.mark.parametrize("objective", [SentenceContrastive(), LearnedContrastive()])
def test_a_second_translation_of_a_text_is_no_wrong_answer(objective):
    # "paka" next to "cat" and next to "kitty", and another word: was 2/3 log 2, each translation wrong for the other.
    student, teacher = pooled([1.0, 1, 0], [1, 1, 0], [0, 0, 1]), pooled([1.0, 0, 0], [0, 1, 0], [0, 0, 1])
    assert objective(student, teacher).total.item() == pytest.approx(0, abs=1e-6)


def test_texts_decide_where_they_are_known():
    student, teacher = pooled(E1, [0.9, 0.1]), pooled(E1, E2)  # the vectors of one text, with dropout
    apart = SentenceContrastive(temperature=0.5)(student, teacher).total.item()
    assert apart > 0.5
    for texts in (["paka", "paka"], ["Paka", "paka"], ["\u00e9cole", "e\u0301cole"]):
        student.texts = texts
        assert SentenceContrastive(temperature=0.5)(student, teacher).total.item() == 0
    student.texts = ["paka", "mbwa"]
    assert SentenceContrastive(temperature=0.5)(student, teacher).total.item() == apart
    same = pooled(E1, E1)
    same.texts = ["paka", "mbwa"]  # of a student that cannot tell them apart yet, and must learn to
    assert SentenceContrastive(temperature=0.5)(same, teacher).total.item() > 0.5


def test_another_texts_equal_translation_is_no_wrong_answer_either():
    # Row 0 is "paka": cat; row 1 "paka": kitty; row 2 "gatto": kitty, which is therefore right for row 0 too.
    student, teacher = pooled([1.0, 0, 0], [1, 0, 0], [0, 0, 1]), pooled([1.0, 0, 0], [0, 1, 0], [0, 1, 0])
    student.texts = ["paka", "paka", "gatto"]
    value = SentenceContrastive(temperature=0.5)(student, teacher).total.item()
    assert value == pytest.approx(math.log(2) / 3)  # row 2 alone has a wrong answer, "cat", as near as its own


def test_equal_sentences_are_known_under_autocast():
    torch.manual_seed(0)
    one = torch.randn(384).tolist()
    with torch.autocast("cpu", torch.bfloat16):
        assert SentenceContrastive()(pooled(one, one), pooled(one, one)).total.item() == 0


def test_one_sentence_alone_is_nothing_and_has_no_nan():
    student = pooled(E1)
    student.pooled.requires_grad_()
    value = SentenceContrastive()(student, pooled(E2))
    value.total.backward()
    assert value.total.item() == 0
    assert student.pooled.grad.abs().max() == 0


def test_the_gradient_is_that_of_the_value():
    student, teacher = drawn([3, 1, 2], dim=4), drawn([2, 2, 4], dim=4, seed=1)
    objective = SentenceContrastive(temperature=0.3)
    expected = finite_differences(objective, student, teacher)
    assert_same_gradient(gradient(objective, student, teacher), expected)


def test_a_learned_temperature_starts_as_the_given_one():
    student, teacher = drawn([3, 1, 2]), drawn([2, 2, 4], seed=1)
    learned = LearnedContrastive(temperature=0.2)(student, teacher)
    assert learned.total.item() == pytest.approx(SentenceContrastive(temperature=0.2)(student, teacher).total.item())
    assert learned.parts["temperature"].item() == pytest.approx(0.2)
    assert not any(part.requires_grad for part in learned.parts.values())


def test_the_gradient_along_the_temperature_is_that_of_the_value():
    student, teacher = drawn([3, 1, 2]), drawn([2, 2, 4], seed=1)
    objective = LearnedContrastive(temperature=0.2)
    objective(student, teacher).total.backward()
    step = 1e-4
    ends = [SentenceContrastive(0.2 * math.exp(-sign * step))(student, teacher).total.item() for sign in (1, -1)]
    assert objective.log_scale.grad.item() == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-3)


@pytest.mark.parametrize(("beyond", "least"), [(9.0, 0.01), (-3.0, 1.0)])
def test_the_scale_stays_between_1_and_100_and_finds_back(beyond, least):
    objective = LearnedContrastive()
    with torch.no_grad():
        objective.log_scale.fill_(beyond)
    # The answers are wrong at the sharp end and right at the dull one: both losses pull the scale back inside.
    student = pooled(E2, E1) if beyond > 0 else pooled(E1, E2)
    value = objective(student, pooled(E1, E2))
    value.total.backward()
    assert value.parts["temperature"].item() == pytest.approx(least)
    assert objective.log_scale.grad.item() * beyond > 0
