"""An image encoder without a network, and images for it: indexing itself is what these tests are about."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

DIM = 8


def prepare(image: Image.Image) -> dict[str, np.ndarray]:
    """See ImageEncoder; a function of a module, so that it travels to the workers."""
    small = image.resize((8, 8), Image.Resampling.BOX)
    return {"pixels": np.asarray(small, dtype=np.float32)[None] / 255}


class TinyEncoder:
    """A random projection. The bits of its vectors depend a little on the whole batch, as those of networks may."""

    dim = DIM
    prepare = staticmethod(prepare)

    def __init__(self, fingerprint: str = "tiny") -> None:
        self.fingerprint = fingerprint
        self._projection = np.random.default_rng(0).normal(size=(192, DIM)).astype(np.float32)
        self.batches: list[int] = []

    def encode(self, prepared):
        """See ImageEncoder."""
        self.batches.append(len(prepared))
        pixels = np.concatenate([one["pixels"] for one in prepared]).reshape(len(prepared), -1) - 0.5
        vectors = pixels @ self._projection
        vectors += 1e-3 * vectors.mean(axis=0)
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def image(number: int, size: tuple[int, int] = (24, 16)) -> Image.Image:
    """Return a small image unlike those of other numbers."""
    cells = np.random.default_rng(number).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(cells).resize(size, Image.Resampling.NEAREST)


def write_images(folder: Path, numbers: range, ending: str = "png") -> Path:
    """Write one image for each number, some of them in subfolders."""
    for number in numbers:
        place = folder / (f"sub{number % 3}" if number % 4 == 0 else "") / f"{number:04}.{ending}"
        place.parent.mkdir(parents=True, exist_ok=True)
        image(number).save(place)
    return folder
