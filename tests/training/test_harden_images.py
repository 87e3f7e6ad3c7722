"""Images to harden on: of the emoji world and of folders, as the tower sees them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from kivuko.encoders.image_tower import SmallImageTower
from kivuko.errors import DataError
from kivuko.perturbations.image.pixel_tower import PixelTower
from kivuko.training.harden_images import PlainImages, emoji_images, folder_images


@pytest.fixture(scope="module")
def tower():
    torch.manual_seed(0)
    return PixelTower(SmallImageTower(12, size=32).eval().to_sentence_transformer())


@pytest.fixture
def folder(tmp_path):
    """Five images in two folders, a text, and an image cut short."""
    random = np.random.default_rng(0)
    place = tmp_path / "images"
    (place / "more").mkdir(parents=True)
    for number, name in enumerate(["a.png", "b.jpg", "more/c.PNG", "more/d.webp"]):
        Image.fromarray(random.integers(0, 256, (20 + number, 30, 3), dtype=np.uint8)).save(place / name)
    Image.new("CMYK", (40, 40), (0, 255, 255, 0)).save(place / "more" / "e.jpg")
    (place / "notes.txt").write_text("none")
    (place / "cut.png").write_bytes((place / "a.png").read_bytes()[:300])
    return place


def test_a_folders_images_are_read_in_order_and_the_rest_is_told(folder, tower):
    found = folder_images(folder, tower)
    assert found.pixels.shape == (5, 3, 32, 32)
    assert found.pixels.dtype == torch.uint8
    assert len(found.left_out) == 1
    assert str(folder / "cut.png") in found.left_out[0]
    with Image.open(folder / "a.png") as image:
        torch.testing.assert_close(next(found.clean_batches())[:1], tower.pixels([image]))
    assert found.pixels[4].float().mean((1, 2))[0] > 200, "CMYK red is red"
    assert found.beyond == 0


def test_a_folder_that_memory_does_not_hold_is_drawn_from_by_seed(folder, tower, monkeypatch):
    monkeypatch.setattr("kivuko.training.harden_images._MOST_BYTES", 3 * 3 * 32 * 32)
    (folder / "cut.png").unlink()
    found = folder_images(folder, tower, seed=1)
    assert len(found) == 3
    assert found.beyond == 2
    assert found.fingerprint == folder_images(folder, tower, seed=1).fingerprint


def test_a_folder_without_images_is_named(tmp_path, tower):
    with pytest.raises(DataError, match="no such folder"):
        folder_images(tmp_path / "none", tower)
    Image.new("RGB", (9, 9)).save(tmp_path / "one.png")
    with pytest.raises(DataError, match="fewer than two images") as caught:
        folder_images(tmp_path, tower)
    assert str(caught.value).startswith(f"{tmp_path}: ")


def test_views_of_plain_images_are_parts_and_the_images_themselves():
    ramp = torch.arange(32, dtype=torch.uint8).mul(8).expand(3, 32, 32)
    images = PlainImages(torch.stack([ramp, 255 - ramp, ramp, ramp]))
    rows = torch.tensor([0, 1, 2, 3])
    views = images.views(rows, torch.Generator().manual_seed(0))
    assert views.shape == (4, 3, 32, 32)
    torch.testing.assert_close(views[2:], images.pixels[2:].float() / 255)
    spread = views[:2, 0, 0].amax(1) - views[:2, 0, 0].amin(1)
    assert ((spread > 0.7) & (spread < 0.96)).all(), "between 0.8 of the ramp and all of it"
    assert torch.equal(views, images.views(rows, torch.Generator().manual_seed(0)))
    assert not torch.equal(views, images.views(rows, torch.Generator().manual_seed(1)))


def test_emoji_are_seen_on_white_as_in_the_gallery_and_strayed(tiny_world, tower):
    images = emoji_images(tiny_world, tower)
    assert len(images) == len(tiny_world.images)
    clean = torch.cat(list(images.clean_batches()))
    torch.testing.assert_close(clean[3:4], tower.pixels([tiny_world.image(3)]))
    rows = torch.arange(6)
    views = images.views(rows, torch.Generator().manual_seed(0))
    assert views.shape == (6, 3, 32, 32)
    assert views.min() >= 0
    assert views.max() <= 1
    torch.testing.assert_close(views[3:], clean[3:6])
    assert (views[:3] - clean[:3]).abs().mean() > 0.01
    assert torch.equal(views, images.views(rows, torch.Generator().manual_seed(0)))


def test_some_of_the_emoji_are_another_set(tiny_world, tower):
    some = emoji_images(tiny_world, tower, [4, 2])
    assert len(some) == 2
    torch.testing.assert_close(next(some.clean_batches())[1:], tower.pixels([tiny_world.image(2)]))
    assert some.fingerprint != emoji_images(tiny_world, tower).fingerprint
