"""chrF against values worked out by hand."""

from __future__ import annotations

import pytest

from kivuko.translation.translator import chrf


def test_equal_texts_score_one_and_strangers_zero():
    assert chrf(["black cat", "dog"], ["Black  cat", "dog"]) == 1.0
    assert chrf(["xyz"], ["abc"]) == 0.0
    assert chrf([""], ["abc"]) == 0.0
    assert chrf([], []) == 0.0


def test_recall_counts_twice():
    # Of "abc" against "ab": unigrams P 2/3, R 1; bigrams P 1/2, R 1; F2 = 5PR / (4P + R).
    assert chrf(["abc"], ["ab"]) == pytest.approx((5 * 2 / 3 / (8 / 3 + 1) + 2.5 / 3) / 2)
    assert chrf(["abc"], ["ab"]) > chrf(["ab"], ["abc"]), "too much costs less than too little"


def test_counts_are_of_the_collection_and_clipped():
    assert chrf(["aa", "b"], ["a", "b"]) == pytest.approx(5 * 2 / 3 / (4 * 2 / 3 + 1))
