"""The randomization test against exact enumeration; Holm against a worked example."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kivuko.errors import DataError, UsageError
from kivuko.evaluation.statistics import holm, randomization_test


def exact_p(differences):
    """Share of all sign assignments whose sum is at least as far from zero as the observed one."""
    sums = [
        abs(sum(s * d for s, d in zip(signs, differences, strict=True)))
        for signs in product([1, -1], repeat=len(differences))
    ]
    return np.mean(np.array(sums) >= abs(sum(differences)) - 1e-12)


@pytest.mark.parametrize(
    "differences",
    [
        [0.1, 0.2, 0.3],
        [0.5, -0.1, 0.2, 0.4, 0.05],
        [1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
        [0.1, 0.2, -0.3, 0.0],
        [0.3],
    ],
)
def test_approaches_exact_enumeration(differences):
    result = randomization_test(differences, np.zeros(len(differences)), trials=20_000)
    assert result.p_value == pytest.approx(exact_p(differences), abs=0.015)
    assert result.difference == pytest.approx(np.mean(differences))
    assert result.n == len(differences)


def test_p_is_about_uniform_when_nothing_differs():
    rng = np.random.default_rng(0)
    p = [randomization_test(rng.random(40), rng.random(40), 500, seed).p_value for seed in range(400)]
    for level in [0.05, 0.25, 0.5, 0.75]:
        assert np.mean(np.array(p) <= level) == pytest.approx(level, abs=3 * np.sqrt(level * (1 - level) / 400))


def test_a_real_effect_reaches_the_smallest_p_there_is():
    rng = np.random.default_rng(0)
    b = rng.random(200)
    result = randomization_test(b + 0.2 + 0.1 * rng.standard_normal(200), b, trials=999)
    assert result.p_value == 1 / 1000


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=20), st.integers(0, 5))
def test_is_symmetric_deterministic_and_valid(differences, seed):
    zeros = np.zeros(len(differences))
    one = randomization_test(differences, zeros, 99, seed)
    assert one == randomization_test(differences, zeros, 99, seed)
    assert one.p_value == randomization_test(zeros, differences, 99, seed).p_value
    assert 1 / 100 <= one.p_value <= 1


def test_equal_systems_have_p_one():
    assert randomization_test([0.5, 0.2], [0.5, 0.2]).p_value == 1


def test_trials_in_chunks_are_all_counted(monkeypatch):
    monkeypatch.setattr("kivuko.evaluation.statistics._CHUNK_CELLS", 10)
    assert randomization_test([1.0], [0.0], trials=25).p_value == 1


def test_holm_by_hand():
    # 4 · 0.005 = 0.02; 3 · 0.01 = 0.03; 2 · 0.03 = 0.06; 0.04 rises to 0.06.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_lies_between_no_correction_and_bonferroni(p_values):
    adjusted = holm(p_values)
    for p, corrected in zip(p_values, adjusted, strict=True):
        assert p <= corrected <= 1
    assert min(adjusted) == min(1.0, len(p_values) * min(p_values))


def test_bad_arguments():
    with pytest.raises(DataError, match="p-value is nan"):
        holm([0.5, float("nan")])
    with pytest.raises(DataError, match="paired"):
        randomization_test([1.0], [1.0, 2.0])
    with pytest.raises(UsageError, match="trials"):
        randomization_test([1.0], [0.0], trials=0)
