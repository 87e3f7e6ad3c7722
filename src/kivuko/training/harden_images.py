"""The images that an image tower is hardened on: those of the emoji world, or any in a folder. No names needed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from kivuko.datasets.emoji.augment import Augmentation, augment, premultiplied
from kivuko.datasets.emoji.world import EmojiWorld
from kivuko.encoders.images import open_image
from kivuko.errors import DataError
from kivuko.perturbations.image.pixel_tower import PixelTower

# Less augmented than in the tower's own training: the plain images must hold against perturbations.
EMOJI_VIEWS = Augmentation(
    rotation=8.0, scale=(0.85, 1.05), shift=0.05, contrast=0.15, brightness=0.1, noise=0.02
)  # fmt: skip
_CLOSEST = 0.8  # smallest part of the side that a view of a folder's image shows
_ENDINGS = frozenset(
    (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".jp2", ".avif", ".ico")
)  # fmt: skip
_MOST_BYTES = 2 << 30  # of a folder's images at once in memory
_MOST_PIXELS = 64_000_000  # of one image: some 250 MB while it is decoded
_LONGEST_SIDE = 1024  # no image tower sees more, and a batch of images has to fit in memory
_BATCH = 128


class Images(Protocol):
    """Images as pixels, and random views of them."""

    @property
    def fingerprint(self) -> str: ...

    def __len__(self) -> int: ...

    def clean_batches(self) -> Iterator[Tensor]:
        """Yield all images unchanged in batches, float32 [b, 3, h, w] in 0-1 on whole levels."""
        ...

    def views(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Draw one view of each of these images, float32 [b, 3, h, w] in 0-1: half of them unchanged."""
        ...


@dataclass(frozen=True, eq=False)
class PlainImages:
    """Images of any kind; a view is the image, or a random part of it enlarged to the whole."""

    pixels: Tensor  # uint8 [images, 3, h, w], as the tower sees them
    left_out: tuple[str, ...] = ()  # a line for each file that is not an image
    beyond: int = 0  # images that were not read, since memory holds no more
    fingerprint: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "fingerprint", _digest(self.pixels))

    def __len__(self) -> int:
        return len(self.pixels)

    def clean_batches(self) -> Iterator[Tensor]:
        for part in self.pixels.split(_BATCH):
            yield part.float() / 255

    def views(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        images = self.pixels[rows].float() / 255
        half = len(rows) // 2
        zoom, shift_x, shift_y = torch.rand(3, half, generator=generator)
        zoom = _CLOSEST + (1 - _CLOSEST) * zoom
        free, zero = 1 - zoom, torch.zeros(half)
        across = torch.stack([zoom, zero, free * (2 * shift_x - 1)], 1)
        down = torch.stack([zero, zoom, free * (2 * shift_y - 1)], 1)
        grid = F.affine_grid(torch.stack([across, down], 1), [half, *images.shape[1:]], align_corners=False)
        parts = F.grid_sample(images[:half], grid, padding_mode="border", align_corners=False)
        return torch.cat([parts.clamp(0, 1), images[half:]])


@dataclass(frozen=True, eq=False)
class EmojiImages:
    """The emoji world's images on white; a view is that, or an augmented one."""

    white: PlainImages
    drawn: Tensor  # premultiplied RGBA, float32 [images, 4, s, s], of the same images

    @property
    def fingerprint(self) -> str:
        return f"emoji:{EMOJI_VIEWS}:{self.white.fingerprint}:{self.drawn.shape[-1]}"

    def __len__(self) -> int:
        return len(self.white)

    def clean_batches(self) -> Iterator[Tensor]:
        return self.white.clean_batches()

    def views(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        half, side = len(rows) // 2, self.white.pixels.shape[-1]
        strayed = augment(self.drawn[rows[:half]], side, generator, EMOJI_VIEWS)
        return torch.cat([strayed, self.white.pixels[rows[half:]].float() / 255])


def emoji_images(world: EmojiWorld, tower: PixelTower, rows: Sequence[int] | None = None) -> EmojiImages:
    """Take images of the emoji world, all by default, as a tower sees them (square images, as of every CLIP)."""
    rows = range(len(world.images)) if rows is None else rows
    white = _as_seen([world.image(row) for row in rows], tower)
    # A quarter larger than the views, so that turning and shrinking them does not alias.
    side = min(max(world.images.shape[1:3]), round(1.25 * white.shape[-1]))
    images = premultiplied(torch.from_numpy(world.images[np.asarray(rows)]))
    return EmojiImages(PlainImages(white), F.interpolate(images, size=(side, side), mode="bilinear", antialias=True))


def folder_images(folder: Path, tower: PixelTower, seed: int = 0) -> PlainImages:
    """Read the images of a folder and its subfolders as a tower sees them; a random part if beyond 2 GiB of pixels."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of images.")
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in _ENDINGS and file.is_file())
    chosen, beyond = _that_fit(files, tower, seed)
    parts, left_out = [], []
    for start in range(0, len(chosen), _BATCH):
        batch = []
        for file in chosen[start : start + _BATCH]:
            try:
                batch.append(open_image(file, most_pixels=_MOST_PIXELS, longest_side=_LONGEST_SIDE))
            except DataError as problem:
                left_out.append(str(problem))
        if batch:
            parts.append(_as_seen(batch, tower))
    if sum(map(len, parts)) < 2:
        raise DataError(f"{folder}: fewer than two images that can be read ({len(left_out)} cannot). Give more.")
    return PlainImages(torch.cat(parts), tuple(left_out), beyond)


def _that_fit(files: list[Path], tower: PixelTower, seed: int) -> tuple[list[Path], int]:
    """Return the files, or a random part that fits into memory, and the number of the others."""
    one = tower.pixels([Image.new("RGB", (8, 8))]).numel()
    most = max(2, _MOST_BYTES // one)
    if len(files) <= most:
        return files, 0
    rows = np.random.default_rng(seed).choice(len(files), most, replace=False)
    return [files[row] for row in sorted(rows)], len(files) - most


def _as_seen(images: Sequence[Image.Image], tower: PixelTower) -> Tensor:
    """Return images as the tower's network sees them, uint8 [images, 3, h, w]."""
    parts = [tower.pixels(images[start : start + _BATCH]) for start in range(0, len(images), _BATCH)]
    return (torch.cat(parts) * 255).round().to(torch.uint8).contiguous()


def _digest(pixels: Tensor) -> str:
    return hashlib.sha256(f"{tuple(pixels.shape)}".encode() + pixels.contiguous().numpy().tobytes()).hexdigest()
