"""Augmented views of emoji: background, scale, shift, rotation, brightness, contrast and noise, drawn in torch."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Bounds of random views; each draw is uniform within them.

    Half of the backgrounds are one color, half a ramp between two.
    """

    rotation: float = 15.0  # degrees either way
    scale: tuple[float, float] = (0.7, 1.1)  # factors
    shift: float = 0.1  # fraction of half the side
    contrast: float = 0.25  # as ``brightness``, fractions of the pixel scale 0-1
    brightness: float = 0.2
    noise: float = 0.06  # largest standard deviation of Gaussian noise on that scale


def premultiplied(images: Tensor) -> Tensor:
    """Turn RGBA images, uint8 [n, h, w, 4], into float32 [n, 4, s, s] in 0-1, s = max(h, w), color times alpha.

    Colors multiplied by alpha can be interpolated without dark fringes.
    """
    x = images.permute(0, 3, 1, 2).float() / 255
    x = torch.cat([x[:, :3] * x[:, 3:], x[:, 3:]], dim=1)
    side = max(x.shape[-2:])
    extra_h, extra_w = side - x.shape[-2], side - x.shape[-1]
    return F.pad(x, (extra_w // 2, extra_w - extra_w // 2, extra_h // 2, extra_h - extra_h // 2))


def augment(images: Tensor, size: int, generator: torch.Generator, how: Augmentation | None = None) -> Tensor:
    """Draw one random view, float32 [n, 3, size, size], of premultiplied images float [n, 4, s, s], all in 0-1."""
    how = how or Augmentation()
    n = len(images)

    def uniform(*shape: int, low: float = -1.0, high: float = 1.0) -> Tensor:
        return torch.rand(*shape, generator=generator) * (high - low) + low

    angle = uniform(n) * math.radians(how.rotation)
    zoom = 1 / uniform(n, low=how.scale[0], high=how.scale[1])
    cos, sin, shift = torch.cos(angle) * zoom, torch.sin(angle) * zoom, uniform(2, n) * how.shift
    rows = [torch.stack([cos, -sin, shift[0]], 1), torch.stack([sin, cos, shift[1]], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), [n, 4, size, size], align_corners=False)
    view = F.grid_sample(images, grid, align_corners=False)  # [n, 4, size, size]

    pixels = view[:, :3] + (1 - view[:, 3:]) * _background(n, size, generator)
    pixels = (pixels - 0.5) * (1 + how.contrast * uniform(n, 1, 1, 1)) + 0.5 + how.brightness * uniform(n, 1, 1, 1)
    deviation = how.noise * uniform(n, 1, 1, 1, low=0.0)
    return (pixels + deviation * torch.randn(pixels.shape, generator=generator)).clamp(0, 1)


def _background(n: int, size: int, generator: torch.Generator) -> Tensor:
    """Return one color, or a ramp from left to right or top to bottom: float [n, 3, size, size]."""
    first, second = torch.rand(2, n, 3, 1, 1, generator=generator)
    plain, upright = (torch.rand(2, n, 1, 1, 1, generator=generator) < 0.5).float()
    ramp = torch.linspace(0, 1, size)
    ramp = upright * ramp[:, None] + (1 - upright) * ramp[None, :]  # [n, 1, size, size]
    mixed: Tensor = first + (second - first) * (1 - plain) * ramp
    return mixed
