"""Ranks of right answers: ties count against them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kivuko.ranks import relevant_ranks, right_ranks


def test_equal_scores_rank_the_right_answer_last():
    scores = np.array([[0.1, 0.9, 0.5], [0.5, 0.5, 0.5]])
    assert right_ranks(scores, np.array([2, 0])).tolist() == [2, 3]
    assert right_ranks(torch.from_numpy(scores), torch.tensor([2, 0])).tolist() == [2, 3]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), levels=st.sampled_from([1, 3, 1000]))
def test_one_relevant_answer_ranks_as_the_right_one(seed, levels):
    draw = np.random.default_rng(seed)
    scores, right = draw.integers(levels, size=(4, 9)).astype(float), draw.integers(9, size=4)
    for row, rank in enumerate(right_ranks(scores, right)):
        assert relevant_ranks(scores[row], np.arange(9) == right[row]).tolist() == [rank]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), levels=st.sampled_from([1, 3, 1000]))
def test_several_relevant_answers_rank_as_in_a_sorted_list(seed, levels):
    draw = np.random.default_rng(seed)
    scores, relevant = draw.integers(levels, size=12).astype(float), draw.random(12) < 0.4
    order = sorted(range(12), key=lambda place: (-scores[place], relevant[place]))
    expected = [rank for rank, place in enumerate(order, start=1) if relevant[place]]
    assert relevant_ranks(scores, relevant).tolist() == pytest.approx(expected)
