"""Images from files of any origin: one RGB image, or one clear line that says why not."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from kivuko.errors import DataError, UsageError
from kivuko.perturbations.image.pixel_tower import LEVELS

MOST_PIXELS = 64_000_000  # that are decoded at all: some 250 MB
LONGEST_SIDE = 1024  # that is kept; no image tower sees more, and a folder of images has to fit in memory
# Decoders for images made of pixels. Others (EPS, say) would run a program on the file.
_FORMATS = ("PNG", "JPEG", "MPO", "GIF", "WEBP", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "ICO")
_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N", "I")
_WHITE = (255, 255, 255, 255)


def open_image(path: Path | str) -> Image.Image:
    """Read an image as 8-bit RGB, its longer side at most ``LONGEST_SIDE`` pixels (a larger one is reduced).

    What is not plain RGB becomes it: what is transparent lies on white; of an animation the first frame is taken; 16
    bits become 8; CMYK, gray and palettes are converted; a camera's rotation (EXIF) is carried out.

    Args:
        path: PNG, JPEG, GIF, WebP, BMP, TIFF, PPM, JPEG 2000, AVIF or ICO, told by its content, not by its name.

    Raises:
        DataError: no such file, not an image, cut short, damaged, or of more than ``MOST_PIXELS`` pixels.
    """
    path = Path(path)
    try:
        if path.is_file() and not path.stat().st_size:
            raise DataError(f"{path}: the file is empty. Take it out, or copy it again.")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own word on large or odd files; what is wrong raises
            with Image.open(path, formats=_decoders()) as file:
                _refuse_large(file, path)
                file.draft(None, (LONGEST_SIDE, LONGEST_SIDE))  # JPEG: decode at a half, quarter or eighth
                file.load()
                return _reduced(_rgb(ImageOps.exif_transpose(file)))
    except DataError:
        raise
    except Image.DecompressionBombError as problem:
        raise DataError(f"{path}: {_TOO_LARGE}") from problem
    except UnidentifiedImageError as problem:
        raise DataError(f"{path}: not an image that can be read. Give PNG, JPEG, GIF, WebP, BMP or TIFF.") from problem
    except Exception as problem:  # decoders raise many kinds, all of them the file's fault
        reason = getattr(problem, "strerror", None) or str(problem).strip() or type(problem).__name__
        raise DataError(
            f"{path}: the image cannot be read ({reason.splitlines()[0][:150]}). Take it out, or copy it again."
        ) from problem


_TOO_LARGE = f"the image has more than {MOST_PIXELS // 1_000_000} million pixels. Reduce it first."


def _decoders() -> list[str]:
    Image.init()
    return [name for name in _FORMATS if name in Image.OPEN]


def _refuse_large(image: Image.Image, path: Path) -> None:
    """Look at the size, which the file's first bytes tell, before a pixel is decoded."""
    if image.width * image.height > MOST_PIXELS:
        raise DataError(f"{path}: {image.width:,} x {image.height:,} pixels; {_TOO_LARGE}")


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode in _SIXTEEN_BIT:
        return _from_levels(np.asarray(image).astype(np.float64) / 257)  # 65,535 becomes 255
    if image.mode == "F":
        return _from_levels(np.asarray(image).astype(np.float64) * 255)
    if image.has_transparency_data:
        drawn = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", drawn.size, _WHITE), drawn).convert("RGB")
    return image.convert("RGB")


def _from_levels(levels: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Image.Image:
    """Make a gray image of levels [height, width] in 0-255."""
    if not (levels >= 0).all() or not (levels <= 255).all():  # NaN too
        raise ValueError("its values are neither 16-bit levels nor numbers from 0 to 1")
    return Image.fromarray(levels.round().astype(np.uint8)).convert("RGB")


def _reduced(image: Image.Image) -> Image.Image:
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.BICUBIC, reducing_gap=2.0)
    return image


Norm = Literal["linf", "l2"]
LARGEST_L2 = 1000.0  # the diagonal of a color image of 577 x 577 pixels; no image tower sees larger ones
_TIE, _BISECTIONS = 0.02, 12
_SLACK = 1e-6  # of one level: 2 / 255 * 255 must count as two whole levels, whatever the floats make of it


@dataclass(frozen=True)
class Threat:
    """A ball of radius ``eps`` on the pixel scale 0-1, intersected with the cube [0, 1].

    Args:
        norm: "linf", the largest change of any value, or "l2", the Euclidean length of the change.
        eps: the radius; for "linf" in 0-1, for "l2" in 0-1000. A radius of 0 allows the original only.

    Raises:
        UsageError: an unknown norm, or a radius out of range.
    """

    norm: Norm
    eps: float

    def __post_init__(self) -> None:
        if self.norm not in get_args(Norm):
            raise UsageError(f"unknown norm '{self.norm}': choose linf or l2.")
        largest = 1.0 if self.norm == "linf" else LARGEST_L2
        if not 0 <= self.eps <= largest:  # NaN too
            raise UsageError(f"eps={self.eps} is no {self.norm} radius: choose one from 0 to {largest:g} (2/255, say).")

    @property
    def allows_nothing(self) -> bool:
        """No 8-bit image but the original lies inside: the radius is below one level."""
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
        are the ones that are rounded away from the original, for as long as the change does not grow longer.

        Args:
            original: on whole levels itself, float32 [images, 3, height, width].
            pixels: inside the ball and the cube, or a little outside; float32, the same shape.
        """
        if self.norm == "linf":
            reach = int(self.eps * LEVELS + _SLACK)
            steps = ((pixels - original) * LEVELS).round_().clamp_(-reach, reach)
        else:
            steps = whole_steps((pixels - original) * LEVELS, self.eps * LEVELS)
        # Sums of whole numbers: exact, so that a level is the same float wherever it comes from.
        return (original * LEVELS).round_().add_(steps).clamp_(0, LEVELS).div_(LEVELS)


def whole_steps(change: Tensor, radius: float) -> Tensor:
    """Round a change, counted in levels, to whole ones without making it longer than it is or than the radius (L2).

    Every value starts at the whole number toward zero. What length that frees is spent on the values with the
    largest fractions, each going one further from zero: a threshold for the fraction is found by bisection, which
    costs a fifth of sorting them. The result is inside exactly, since its whole numbers are squared and summed in
    double precision; where that were too long, the first rounding, which is shorter, would stand.

    Args:
        change: float [images, 3, height, width].
        radius: in levels.
    """
    flat = change.reshape(len(change), -1)
    nearest = flat.round()  # of a change that is whole but for what float32 errs
    flat = torch.where((flat - nearest).abs() < 1e-4, nearest, flat)
    length = flat.double().norm(dim=1, keepdim=True)
    shorter = radius * (1 - 1e-6) / length.clamp_min(1e-12)  # by more than float32 errs
    flat = flat * torch.where(length > radius, shorter, torch.ones_like(length)).to(flat.dtype)
    size = flat.abs()
    down = size.floor()
    # Equal fractions are told apart by their place, evenly spread, so that some of them can go up where not all can.
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
    """Euclidean length per image, [images, 1, 1, 1]."""
    length: Tensor = change.flatten(1).norm(dim=1)
    return length[:, None, None, None]
