"""Noise on images: on levels, seeded, nothing at severity 0, and worse the more severe."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kivuko.errors import UsageError
from kivuko.perturbations.image.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from kivuko.perturbations.image.pixel_tower import PixelTower, on_levels

NAMES = sorted(CORRUPTIONS)


def random_pixels(count: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    return on_levels(torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed)))


@pytest.fixture(scope="module")
def images(tiny_world):
    """Real images as the shipped tower sees them, with the tower."""
    from kivuko.datasets.emoji.sources import shipped_image_tower
    from kivuko.encoders.image_tower import load_image_tower

    tower = PixelTower(load_image_tower(shipped_image_tower(), 384))
    return tower, tower.pixels([tiny_world.image(row) for row in range(24)])


@pytest.mark.parametrize("name", NAMES)
def test_severity_0_changes_nothing_and_the_original_is_left_alone(name):
    pixels = random_pixels(3, 16, 16)
    before = pixels.clone()
    assert torch.equal(corrupt(pixels, name, 0), before)
    corrupt(pixels, name, 5)
    assert torch.equal(pixels, before)


@pytest.mark.parametrize("name", NAMES)
def test_damage_grows_with_severity(name, images):
    tower, pixels = images
    clean = tower.encode(pixels)
    changes, cosines = [0.0], [1.0]
    for severity in range(1, SEVERITIES + 1):
        found = corrupt(pixels, name, severity, seed=3)
        changes.append(float((found - pixels).abs().mean()))
        cosines.append(float((tower.encode(found) * clean).sum(1).mean()))
    assert changes == sorted(set(changes))
    assert cosines == sorted(set(cosines), reverse=True)
    assert cosines[-1] < 0.9  # the last severity really hurts
    assert cosines[1] > cosines[-1] + 0.05


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(NAMES), st.integers(0, 5), st.integers(1, 20), st.integers(1, 20), st.integers(0, 2**40))
def test_the_result_is_an_8_bit_image(name, severity, height, width, seed):
    found = corrupt(random_pixels(2, height, width), name, severity, seed)
    assert found.shape == (2, 3, height, width)
    assert found.dtype == torch.float32
    assert found.min() >= 0
    assert found.max() <= 1
    assert torch.equal(on_levels(found), found)


@pytest.mark.parametrize("name", NAMES)
def test_one_seed_gives_one_result(name):
    pixels = random_pixels(4, 32, 32)
    assert torch.equal(corrupt(pixels, name, 3, seed=5), corrupt(pixels, name, 3, seed=5))
    if name in ("gaussian-noise", "occlusion"):
        assert not torch.equal(corrupt(pixels, name, 3, seed=5), corrupt(pixels, name, 3, seed=6))


def test_the_patch_grows_around_where_it_was():
    pixels = torch.ones(6, 3, 64, 64)
    covered = [(corrupt(pixels, "occlusion", severity, seed=1) < 1) for severity in range(1, 6)]
    for smaller, larger in itertools.pairwise(covered):
        assert not (smaller & ~larger).any()
    shares = [float(one.float().mean()) for one in covered]
    assert shares == pytest.approx([0.015, 0.03, 0.06, 0.1, 0.16], abs=0.01)


def test_no_images_is_no_trouble():
    assert corrupt(torch.zeros(0, 3, 8, 8), "jpeg", 2).shape == (0, 3, 8, 8)


@pytest.mark.parametrize("severity", [-1, 6, 2.5, float("nan")])
def test_other_severities_are_refused(severity):
    with pytest.raises(UsageError, match="0 to 5"):
        corrupt(random_pixels(1, 4, 4), "blur", severity)


def test_an_unknown_corruption_is_refused():
    with pytest.raises(UsageError, match="gaussian-noise"):
        corrupt(random_pixels(1, 4, 4), "fog", 1)
