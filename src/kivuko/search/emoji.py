"""The emoji gallery: every image of the emoji world, encoded by one image tower."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from kivuko.datasets.emoji import EmojiWorld
from kivuko.encoders.image_tower import Vectors, encode_images
from kivuko.encoders.loading import image_fingerprint
from kivuko.encoders.model import has_images
from kivuko.errors import CorruptFileError, ModelError
from kivuko.files import atomic_path, cache_folder

Progress = Callable[[int, int], None]
_BATCH = 128


@dataclass(frozen=True)
class EmojiHit:
    """One search result: the image's row, its emoji, its English name, and the cosine with the query."""

    image: int
    sequence: str
    name: str
    score: float


@dataclass(frozen=True)
class EmojiGallery:
    """Images and their unit vectors, float32 [images, dim]."""

    world: EmojiWorld
    vectors: Vectors

    def search(self, query: np.ndarray[Any, np.dtype[np.float32]], k: int = 10) -> list[EmojiHit]:
        """Return the ``k`` images nearest to a unit query vector [dim], best first, by exact search."""
        scores = self.vectors @ query
        best = np.argsort(-scores, kind="stable")[:k]
        sequences, english = self.world.image_sequences, self.world.annotations["en"]
        return [EmojiHit(int(row), sequences[row], english[sequences[row]].name, float(scores[row])) for row in best]


def emoji_gallery(
    model: Any, world: EmojiWorld, *, cache: Path | None = None, progress: Progress | None = None
) -> EmojiGallery:
    """Encode all images on white with a model's image side, or read the vectors from the cache.

    Raises:
        ModelError: the model encodes no images.
        CorruptFileError: the cached vectors are damaged.
    """
    if not has_images(model):
        raise ModelError("this model encodes text only, so it cannot search images. Distill it with an image tower.")
    key = hashlib.sha256(f"2:{world.fingerprint}:{image_fingerprint(model)}".encode()).hexdigest()
    file = (cache or cache_folder() / "gallery") / f"emoji-{key[:24]}.safetensors"
    if not file.is_file():
        parts = []
        for start in range(0, len(world.images), _BATCH):
            rows = range(start, min(start + _BATCH, len(world.images)))
            parts.append(encode_images(model, [world.image(row) for row in rows], batch_size=_BATCH))
            if progress:
                progress(rows.stop, len(world.images))
        with atomic_path(file) as temporary:
            made = np.concatenate(parts)
            save_file({"vectors": torch.from_numpy(made)}, temporary, metadata={"sha256": _digest(made)})
    try:
        with safe_open(file, framework="pt") as stored:
            vectors, expected = stored.get_tensor("vectors").numpy(), (stored.metadata() or {}).get("sha256")
    except (SafetensorError, OSError, ValueError) as problem:
        raise CorruptFileError(f"{file}: corrupted or unreadable. Delete this file and run again.") from problem
    if _digest(vectors) != expected:
        raise CorruptFileError(
            f"{file}: corrupted (its checksum differs from what was written). Delete this file and run again."
        )
    lengths = np.linalg.norm(vectors, axis=1)
    if len(vectors) != len(world.images) or not np.allclose(lengths, 1, atol=1e-3):
        raise CorruptFileError(f"{file}: corrupted (not one unit vector per image). Delete this file and run again.")
    return EmojiGallery(world, vectors)


def _digest(vectors: Vectors) -> str:
    return hashlib.sha256(f"{vectors.dtype} {vectors.shape}".encode() + vectors.tobytes()).hexdigest()
