"""The ball that an attack on pixels may use: nothing gets out of it, least of all by rounding."""

from __future__ import annotations

import math

import pytest
import torch
from attacked_images import assert_allowed, images
from hypothesis import given, settings
from hypothesis import strategies as st

from kivuko.errors import UsageError
from kivuko.perturbations.image.goal import Threat, whole_steps

THREATS = st.one_of(
    st.builds(Threat, st.just("linf"), st.one_of(st.floats(0, 1), st.integers(0, 255).map(lambda n: n / 255))),
    st.builds(Threat, st.just("l2"), st.floats(0, 30)),
)


@given(threat=THREATS, seed=st.integers(0, 10**6), reach=st.floats(0, 3))
@settings(max_examples=80, deadline=None)
def test_projected_and_rounded_pixels_are_inside(threat, seed, reach):
    original = images(3, seed)
    wild = original + reach * torch.randn(original.shape, generator=torch.Generator().manual_seed(seed))
    inside = threat.project(original, wild)
    assert inside.min() >= 0
    assert inside.max() <= 1
    change = (inside - original).flatten(1)
    length = change.abs().amax(1) if threat.norm == "linf" else change.norm(dim=1)
    assert length.max() <= threat.eps * (1 + 1e-5) + 1e-6
    assert_allowed(threat.on_levels(original, inside), original, threat)


@given(threat=THREATS, seed=st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_rounding_holds_pixels_that_are_a_little_outside(threat, seed):
    original = images(2, seed)
    start = threat.random_start(original, torch.Generator().manual_seed(seed))
    assert_allowed(threat.on_levels(original, original + 1.01 * (start - original)), original, threat)


@given(threat=THREATS, seed=st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_an_image_that_was_not_changed_stays_itself(threat, seed):
    original = images(2, seed)
    assert torch.equal(threat.on_levels(original, original), original)
    assert torch.equal(threat.project(original, original), original)


def test_an_l2_change_keeps_its_length_when_it_is_rounded():
    original = torch.full((4, 3, 16, 16), 128 / 255)
    for eps in (0.05, 0.2, 1.0):
        threat = Threat("l2", eps)
        gradient = torch.randn(original.shape, generator=torch.Generator().manual_seed(0))
        rounded = threat.on_levels(original, original + eps * threat.ascent(gradient))
        length = (rounded - original).flatten(1).norm(dim=1)
        assert length.min() >= 0.9 * eps, "rounding each value by itself would leave nothing of a small radius"
        assert ((rounded - original) * gradient >= 0).all()


@given(threat=THREATS, seed=st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_rounding_twice_is_rounding_once(threat, seed):
    original = images(2, seed)
    once = threat.on_levels(original, threat.random_start(original, torch.Generator().manual_seed(seed)))
    assert torch.equal(threat.on_levels(original, once), once)


def test_whole_steps_with_equal_fractions_round_some_up():
    steps = whole_steps(torch.full((1, 3, 16, 16), -0.4), 100.0)
    assert set(steps.unique().tolist()) == {0, -1}
    assert steps.sum() == pytest.approx(-0.16 * 768, abs=10)


def test_whole_steps_spend_what_is_left_on_the_largest_fractions():
    change = torch.tensor([0.9, -0.8, 0.3, 1.2]).reshape(1, 1, 2, 2)
    # The length squared is 2.98. Towards zero only the last is left, 1; the first is affordable, which makes 2.
    assert whole_steps(change, 10.0).flatten().tolist() == [1, 0, 0, 1]
    assert whole_steps(change, 1.0).flatten().abs().sum() <= 1


@pytest.mark.parametrize(("levels", "reach"), [(1, 1), (2, 2), (2.7, 2), (0.9, 0), (8, 8)])
def test_an_l_inf_radius_counts_in_whole_levels(levels, reach):
    original = torch.full((1, 3, 4, 4), 100 / 255)
    rounded = Threat("linf", levels / 255).on_levels(original, original + levels / 255)
    assert ((rounded - original) * 255).round().unique().tolist() == [reach]
    assert Threat("linf", levels / 255).allows_nothing == (reach == 0)


def test_random_starts_fill_the_ball():
    original = torch.full((50, 3, 8, 8), 0.5)
    linf = Threat("linf", 0.1).random_start(original, torch.Generator().manual_seed(0)) - 0.5
    assert 0.099 < linf.abs().max() <= 0.1 + 1e-6
    assert abs(float(linf.mean())) < 0.01
    l2 = (Threat("l2", 2.0).random_start(original, torch.Generator().manual_seed(0)) - 0.5).flatten(1).norm(dim=1)
    assert 1.99 < l2.max() <= 2.0 + 1e-4
    assert l2.min() < l2.max()


@pytest.mark.parametrize(
    ("norm", "eps"),
    [("linf", -0.01), ("linf", 1.01), ("linf", 8), ("linf", math.nan), ("l2", -1), ("l2", math.inf), ("l1", 0.1)],
)
def test_a_ball_that_makes_no_sense_is_refused(norm, eps):
    with pytest.raises(UsageError) as caught:
        Threat(norm, eps)
    assert "\n" not in str(caught.value)
    assert norm in str(caught.value)
