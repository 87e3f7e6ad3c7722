"""Small towers, images and goals that the tests of image attacks share."""

from __future__ import annotations

from functools import cache

import torch
from torch.nn import functional as F
from transformers import ResNetConfig, ResNetModel

from kivuko.encoders.image_tower import SmallImageTower
from kivuko.perturbations.image.goal import AttackedImages, ImageToText, TextToImage, Threat
from kivuko.perturbations.image.pixel_tower import PixelTower, on_levels

SIDE, DIM = 16, 12


@cache
def tiny_tower(seed: int = 0) -> PixelTower:
    """A tower with random weights for images of 16 x 16 pixels, its batch statistics away from their first values."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        tower = SmallImageTower(DIM, size=SIDE)
        tower.body = ResNetModel(
            ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", hidden_act="relu")
        )
        tower.head = torch.nn.Linear(16, DIM)
        with torch.no_grad():
            for _ in range(3):
                tower.train()(torch.rand(16, 3, SIDE, SIDE))
        return PixelTower(tower.eval().to_sentence_transformer())


def images(count: int, seed: int = 0) -> torch.Tensor:
    """Random images with black, white and anything between, on whole levels."""
    drawn = torch.rand(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
    return on_levels((drawn * 1.5 - 0.25).clamp(0, 1))


def search_goal(tower: PixelTower, pixels: torch.Tensor, targeted: bool = False) -> TextToImage:
    """Queries near the images' own vectors; of a targeted goal, between theirs and the next image's."""
    vectors, rows = tower.encode(pixels), torch.arange(len(pixels))
    between = F.normalize(vectors + 1.2 * vectors.roll(-1, 0), dim=-1)
    return TextToImage(between if targeted else _near(vectors), vectors, rows, targeted)


def naming_goal(tower: PixelTower, pixels: torch.Tensor, targeted: bool = False) -> ImageToText:
    """Texts near the images' own vectors; of a targeted goal the next image's is wanted."""
    labels = torch.arange(len(pixels))
    return ImageToText(_near(tower.encode(pixels)), labels.roll(-1) if targeted else labels, targeted)


def _near(vectors: torch.Tensor) -> torch.Tensor:
    noise = torch.randn(vectors.shape, generator=torch.Generator().manual_seed(1))
    return F.normalize(vectors + 0.02 * F.normalize(noise, dim=-1), dim=-1)


def assert_allowed(found: AttackedImages | torch.Tensor, original: torch.Tensor, threat: Threat) -> None:
    """What every attack owes: 8-bit values, 0 to 1, inside the radius; counted in whole levels, so exactly."""
    pixels = found if isinstance(found, torch.Tensor) else found.pixels
    assert pixels.shape == original.shape
    assert pixels.min() >= 0
    assert pixels.max() <= 1
    levels = (pixels.double() * 255).round()
    assert torch.equal(pixels, (levels / 255).float()), "on whole levels"
    change = (levels - (original.double() * 255).round()).flatten(1)
    if threat.norm == "linf":
        assert change.abs().max() <= threat.eps * 255 + 1e-6
    else:
        assert change.norm(dim=1).max() <= threat.eps * 255 + 1e-6
