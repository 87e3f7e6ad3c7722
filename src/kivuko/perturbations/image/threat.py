"""The set of images that an attack may choose from: a ball on the pixel scale, cut by the cube, on 8-bit levels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from kivuko.errors import UsageError
from kivuko.perturbations.image.pixel_tower import LEVELS

Norm = Literal["linf", "l2"]
LARGEST_L2 = 1000.0  # the diagonal of a color image of 577 x 577 pixels; no image tower sees larger ones
_TIE, _BISECTIONS = 0.02, 12
_SLACK = 1e-6  # of one level: 2 / 255 * 255 must count as two whole levels in spite of rounding


@dataclass(frozen=True)
class Threat:
    """A ball of radius ``eps`` on the pixel scale 0-1, intersected with the cube [0, 1]."""

    norm: Norm  # "linf", the largest change of any value, or "l2", the Euclidean length of the change
    eps: float  # the radius; for "linf" in 0-1, for "l2" in 0-1000. A radius of 0 allows the original only.

    def __post_init__(self) -> None:
        if self.norm not in get_args(Norm):
            raise UsageError(f"unknown norm '{self.norm}': choose linf or l2.")
        largest = 1.0 if self.norm == "linf" else LARGEST_L2
        if not 0 <= self.eps <= largest:  # NaN too
            raise UsageError(f"eps={self.eps} is no {self.norm} radius: choose one from 0 to {largest:g} (2/255, say).")

    @property
    def allows_nothing(self) -> bool:
        """True if the radius is below one level, so that only the original is inside."""
        return self.eps * LEVELS + _SLACK < 1

    def project(self, original: Tensor, pixels: Tensor) -> Tensor:
        """Bring pixels [images, 3, height, width] back inside the ball and the cube.

        For "linf" this is the nearest such point. For "l2" the change is shortened and then cut by the cube, which
        can only shorten it further: inside, if not always nearest.
        """
        return self.shorten(pixels - original).add_(original).clamp_(0, 1)

    def shorten(self, change: Tensor) -> Tensor:
        """Bring changes [images, 3, height, width] into the ball around zero."""
        if self.norm == "linf":
            return change.clamp(-self.eps, self.eps)
        return change * (self.eps / _length(change).clamp_min(1e-12)).clamp_max(1)

    def ascent(self, gradient: Tensor) -> Tensor:
        """Return the steepest direction of length 1 in this norm; zero where the gradient is."""
        if self.norm == "linf":
            return gradient.sign()
        return gradient / _length(gradient).clamp_min(1e-30)

    def random_start(self, original: Tensor, generator: torch.Generator) -> Tensor:
        """Draw a point inside for every image, uniform in the ball and then cut by the cube."""
        if self.norm == "linf":
            change = torch.empty_like(original).uniform_(-self.eps, self.eps, generator=generator)
        else:
            change = torch.empty_like(original).normal_(generator=generator)
            share = torch.empty_like(change[:, :1, :1, :1]).uniform_(generator=generator)
            change *= self.eps * share ** (1 / original[0].numel()) / _length(change)
        return self.project(original, change.add_(original))

    def on_levels(self, original: Tensor, pixels: Tensor) -> Tensor:
        """Round pixels to 8-bit values so that the rounded image is still inside the ball and the cube.

        For "linf" a radius counts in whole levels, rounded down. For "l2" the values furthest from their level below
        are rounded away from the original, for as long as the change does not grow longer. Both arguments: float32
        [images, 3, height, width]; ``original`` is on whole levels, ``pixels`` may be a little outside the ball.
        """
        if self.norm == "linf":
            reach = int(self.eps * LEVELS + _SLACK)
            steps = ((pixels - original) * LEVELS).round_().clamp_(-reach, reach)
        else:
            steps = whole_steps((pixels - original) * LEVELS, self.eps * LEVELS)
        # Sums of whole numbers: exact, so that a level is the same float wherever it comes from.
        return (original * LEVELS).round_().add_(steps).clamp_(0, LEVELS).div_(LEVELS)


def whole_steps(change: Tensor, radius: float) -> Tensor:
    """Round changes [images, 3, height, width], in levels, to whole ones no longer than they are and the radius (L2).

    Values are rounded toward zero; the length that this frees is spent on those with the largest fractions, above a
    threshold by bisection, which costs a fifth of sorting them. The result is inside exactly, since its whole numbers
    are squared and summed in double precision; where that is too long, the first, shorter rounding is kept.
    """
    flat = change.reshape(len(change), -1)
    nearest = flat.round()  # of a change that is whole but for what float32 errs
    flat = torch.where((flat - nearest).abs() < 1e-4, nearest, flat)
    length = flat.double().norm(dim=1, keepdim=True)
    shorter = radius * (1 - 1e-6) / length.clamp_min(1e-12)  # by more than float32 errs
    flat = flat * torch.where(length > radius, shorter, torch.ones_like(length)).to(flat.dtype)
    size = flat.abs()
    down = size.floor()
    # Equal fractions are distinguished by their place, evenly spread, so that some of them can go up where not all can.
    fraction = size - down + _TIE * (torch.arange(flat.shape[1], device=flat.device) * 0.618034 % 1)
    cost = (2 * down + 1) * (size > down)  # (d + 1)^2 - d^2
    allowed = size.double().square().sum(1, keepdim=True).clamp_max(radius**2) + _SLACK
    spare = (allowed - down.double().square().sum(1, keepdim=True)).float()
    low, high = torch.zeros_like(spare), torch.full_like(spare, 1 + 2 * _TIE)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        fits = (cost * (fraction >= middle)).sum(1, keepdim=True) <= spare
        low, high = torch.where(fits, low, middle), torch.where(fits, middle, high)
    up = down + ((fraction >= high) & (size > down))
    whole: Tensor = torch.where(up.double().square().sum(1, keepdim=True) <= allowed, up, down) * flat.sign()
    return whole.to(change.dtype).reshape(change.shape)


def _length(change: Tensor) -> Tensor:
    """Return the Euclidean length per image, [images, 1, 1, 1]."""
    length: Tensor = change.flatten(1).norm(dim=1)
    return length[:, None, None, None]
