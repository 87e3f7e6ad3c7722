"""Sentence-level cosine distance."""

from __future__ import annotations

import pytest
from token_batches import E2, assert_same_gradient, drawn, finite_differences, gradient, pooled

from kivuko.losses.objectives import SentenceCosine


def test_by_hand():
    value = SentenceCosine()(pooled([3.0, 0.0], [1.0, 1.0], [2.0, 0.0]), pooled(E2, [5.0, 5.0], [-1.0, 0.0]))
    assert value.total.item() == pytest.approx((1 + 0 + 2) / 3)
    assert value.parts.keys() == {"cosine"}


def test_the_gradient_is_that_of_the_value():
    student, teacher = drawn([3, 1, 2], dim=4), drawn([2, 2, 4], dim=4, seed=1)
    expected = finite_differences(SentenceCosine(), student, teacher)
    assert_same_gradient(gradient(SentenceCosine(), student, teacher), expected)
