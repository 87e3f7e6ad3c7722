"""Augmented views of images."""

from __future__ import annotations

import pytest
import torch

from kivuko.datasets.emoji.augment import Augmentation, augment, premultiplied

STILL = Augmentation(rotation=0, scale=(1, 1), shift=0, contrast=0, brightness=0, noise=0)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def images(tiny_world):
    return premultiplied(torch.from_numpy(tiny_world.images[:6].copy()))


def squares(n, color=(0.0, 0.0, 0.0), side=32):
    """Opaque squares of one color that fill the whole image."""
    result = torch.ones(n, 4, side, side)
    result[:, :3] = torch.tensor(color)[:, None, None]
    return result


def test_premultiplied_pads_to_a_square_around_the_center():
    images = torch.full((1, 2, 6, 4), 255, dtype=torch.uint8)
    images[..., 3] = 51  # an alpha of 0.2
    result = premultiplied(images)
    assert result.shape == (1, 4, 6, 6)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result[0, :, 2:4], torch.full((4, 2, 6), 0.2))
    assert result[0, :, :2].abs().max() == result[0, :, 4:].abs().max() == 0


def test_shape_range_and_type(images):
    views = augment(images, 48, seeded())
    assert views.shape == (6, 3, 48, 48)
    assert views.dtype == torch.float32
    assert views.min() >= 0
    assert views.max() <= 1


def test_strong_changes_stay_in_range(images):
    strong = Augmentation(contrast=2.0, brightness=2.0, noise=1.0)
    views = augment(images, 32, seeded(), strong)
    assert views.min() == 0
    assert views.max() == 1


def test_the_generator_alone_decides(images):
    torch.manual_seed(1)
    first = augment(images, 32, seeded(7))
    torch.manual_seed(2)
    assert torch.equal(first, augment(images, 32, seeded(7)))
    assert not torch.equal(first, augment(images, 32, seeded(8)))


def test_two_draws_differ_in_every_image(images):
    generator = seeded()
    first, second = augment(images, 32, generator), augment(images, 32, generator)
    assert ((first - second).abs().amax((1, 2, 3)) > 0.05).all()


def test_the_views_of_one_image_in_a_batch_differ():
    views = augment(squares(2, (0.5, 0.2, 0.1)), 32, seeded())
    assert (views[0] - views[1]).abs().max() > 0.05


def test_without_change_an_opaque_image_is_itself():
    image = torch.rand(2, 4, 16, 16, generator=seeded())
    image[:, 3] = 1
    torch.testing.assert_close(augment(image, 16, seeded(), STILL), image[:, :3], atol=1e-5, rtol=0)


def test_nothing_but_background_where_the_image_is_transparent():
    views = augment(torch.zeros(200, 4, 8, 8), 8, seeded(), STILL)
    plain = (views == views[:, :, :1, :1]).all(-1).all(-1).all(-1)
    assert 60 < plain.sum() < 140, "half the backgrounds are one color"
    ramps = views[~plain]
    across, down = (
        (ramps == ramps[:, :, :1]).all(-1).all(-1).all(-1),
        (ramps == ramps[..., :1]).all(-1).all(-1).all(-1),
    )
    assert (across ^ down).all(), "a ramp runs from left to right or from top to bottom"
    assert across.any()
    assert down.any()


@pytest.mark.parametrize("scale", [0.5, 0.7, 0.9])
def test_a_scaled_image_stays_within_view(scale):
    how = Augmentation(rotation=0, scale=(scale, scale), shift=0, contrast=0, brightness=0, noise=0)
    # The same draw over black and over white images tells ground from image: only the image differs.
    black, white = (augment(squares(3, (c, c, c)), 64, seeded(), how) for c in (0.0, 1.0))
    drawn = (white - black)[:, 0]  # 1 where the image is
    assert drawn[:, 0].max() == drawn[:, -1].max() == drawn[..., 0].max() == drawn[..., -1].max() == 0
    torch.testing.assert_close(drawn.mean((1, 2)), torch.full((3,), scale**2), atol=0.02, rtol=0)


def test_a_turned_and_shifted_image_moves_as_far_as_it_may():
    image = torch.zeros(64, 4, 33, 33)
    image[:, :, 16, 16] = 1  # one white point in the middle
    how = Augmentation(rotation=0, scale=(1, 1), shift=0.25, contrast=0, brightness=0, noise=0)
    alpha = augment(torch.cat([image[:, :3], image[:, 3:]], 1), 33, seeded(), how)
    dark = augment(torch.cat([image[:, :3] * 0, image[:, 3:]], 1), 33, seeded(), how)
    weight = (alpha - dark)[:, 0]
    place = torch.arange(33.0)
    x = (weight.sum(1) * place).sum(1) / weight.sum((1, 2)) - 16
    y = (weight.sum(2) * place).sum(1) / weight.sum((1, 2)) - 16
    most = 0.25 * 33 / 2
    for moved in (x, y):
        assert moved.abs().max() <= most + 1e-3
        assert moved.max() > 0.7 * most
        assert moved.min() < -0.7 * most


def test_rotation_stays_within_its_bound():
    image = torch.zeros(64, 4, 65, 65)
    image[:, 3, 32, 48:] = 1  # a spoke to the right
    how = Augmentation(rotation=30, scale=(1, 1), shift=0, contrast=0, brightness=0, noise=0)
    lit = image.clone()
    lit[:, :3] = image[:, 3:]
    weight = (augment(lit, 65, seeded(), how) - augment(image, 65, seeded(), how))[:, 0]
    place = torch.arange(65.0) - 32
    x, y = (weight.sum(1) * place).sum(1), (weight.sum(2) * place).sum(1)
    angles = torch.rad2deg(torch.atan2(y, x))
    assert angles.abs().max() <= 31
    assert angles.max() > 15
    assert angles.min() < -15
