"""Noise on images without a model: five kinds, each at five severities.

In the spirit of ImageNet-C (Hendrycks & Dietterich 2019, "Benchmarking Neural Network Robustness to Common Corruptions
and Perturbations", arXiv 1903.12261), with strengths chosen for small images. Lengths are shares of the shorter side,
so that a severity means the same at every size.
"""

import io
from collections.abc import Callable, Mapping

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from kivuko.errors import UsageError
from kivuko.perturbations.catalog import LEVELS
from kivuko.perturbations.image.pixel_tower import on_levels

SEVERITIES = 5
# One strength per severity, rising in harm.
_DEVIATION = (0.05, 0.1, 0.14, 0.19, 0.25)  # of Gaussian noise, on the pixel scale
_BLUR = (0.011, 0.017, 0.023, 0.03, 0.04)  # deviation of the Gaussian, in shorter sides
_QUALITY = (20, 10, 6, 3, 1)  # of JPEG
_COVERED = (0.015, 0.03, 0.06, 0.1, 0.16)  # share of the area under a gray patch
_CONTRAST = (0.6, 0.45, 0.36, 0.28, 0.2)  # of the original contrast


def corrupt(pixels: Tensor, name: str, severity: int, seed: int = 0) -> Tensor:
    """Return corrupted images, float32 [n, 3, h, w] on whole levels of 8-bit images in 0-1.

    Severity 0 changes nothing. Random draws (the noise, the place of the patch) are the same at every severity.
    """
    if name not in CORRUPTIONS:
        raise UsageError(f"unknown corruption '{name}': choose one of {', '.join(CORRUPTIONS)}.")
    if severity not in range(SEVERITIES + 1):
        raise UsageError(f"{name} of severity {severity}: choose a whole number from 0 to {SEVERITIES}.")
    if severity == 0 or not len(pixels):
        return pixels.clone()
    generator = torch.Generator().manual_seed(seed)
    corrupted = CORRUPTIONS[name](pixels, severity - 1, generator)
    return on_levels(corrupted.clamp(0, 1)).contiguous(memory_format=torch.channels_last)


def _gaussian_noise(pixels: Tensor, strength: int, generator: torch.Generator) -> Tensor:
    return pixels + _DEVIATION[strength] * torch.empty_like(pixels).normal_(generator=generator)


def _blur(pixels: Tensor, strength: int, _generator: torch.Generator) -> Tensor:
    """Convolve rows, then columns; outside is the color of the edge."""
    deviation = _BLUR[strength] * min(pixels.shape[2:])
    reach = max(1, round(3 * deviation))
    kernel = torch.exp(-torch.arange(-reach, reach + 1).float().square() / (2 * deviation**2))
    kernel = (kernel / kernel.sum()).expand(3, 1, -1)  # [channels, 1, 2 * reach + 1]
    wide = F.pad(pixels, (reach, reach, reach, reach), mode="replicate")
    return F.conv2d(F.conv2d(wide, kernel[:, :, None, :], groups=3), kernel[..., None], groups=3)


def _jpeg(pixels: Tensor, strength: int, _generator: torch.Generator) -> Tensor:
    levels = (pixels * LEVELS).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    read = []
    for image in levels:
        file = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(image)).save(file, "JPEG", quality=_QUALITY[strength])
        read.append(np.asarray(Image.open(file)))
    return torch.from_numpy(np.stack(read)).permute(0, 3, 1, 2).float() / LEVELS


def _occlusion(pixels: Tensor, strength: int, generator: torch.Generator) -> Tensor:
    """Lay a gray patch of the image's own proportions somewhere on it."""
    height, width = pixels.shape[2:]
    share = _COVERED[strength] ** 0.5
    place = torch.rand(len(pixels), 2, generator=generator)
    inside = []
    for axis, length in enumerate((height, width)):
        size = max(1, round(share * length))
        first = (place[:, axis] * (length - size)).round()[:, None]  # [n, 1]
        steps = torch.arange(length)[None]
        inside.append((steps >= first) & (steps < first + size))
    covered = inside[0][:, None, :, None] & inside[1][:, None, None, :]  # [n, 1, h, w]
    return torch.where(covered, 0.5, pixels)


def _contrast(pixels: Tensor, strength: int, _generator: torch.Generator) -> Tensor:
    """Draw all values toward the image's mean."""
    mean = pixels.mean(dim=(1, 2, 3), keepdim=True)
    return mean + _CONTRAST[strength] * (pixels - mean)


CORRUPTIONS: Mapping[str, Callable[[Tensor, int, torch.Generator], Tensor]] = {
    "gaussian-noise": _gaussian_noise,
    "blur": _blur,
    "jpeg": _jpeg,
    "occlusion": _occlusion,
    "contrast": _contrast,
}
