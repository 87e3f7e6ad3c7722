"""The emoji world as an index of images, built once for each image tower and cached."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from kivuko.datasets.emoji.world import EmojiWorld
from kivuko.encoders.image_tower import Vectors
from kivuko.errors import CorruptFileError, ImageIndexError
from kivuko.files import cache_folder, write_text
from kivuko.progress import progress_bar
from kivuko.search.building import IndexOptions, index_images
from kivuko.search.encoding import TowerEncoder
from kivuko.search.image_index import ImageIndex
from kivuko.search.sources import EmojiSource

_CHECKSUM = "vectors.sha256"  # written last: an index without it is not finished


def emoji_index(
    model: Any, world: EmojiWorld, *, cache: Path | None = None, progress: bool | None = None
) -> ImageIndex:
    """Open, or build and cache, the index of a world's images, encoded by a ``SentenceTransformer``.

    The image of row ``n`` of the world has the id ``n + 1``. ``cache``: a folder; None: ``index/`` in Kivuko's cache.
    """
    encoder = TowerEncoder(model)
    key = hashlib.sha256(f"3:{world.fingerprint}:{encoder.fingerprint}".encode()).hexdigest()
    folder = (cache or cache_folder() / "index") / f"emoji-{key[:24]}.index"
    if not (folder / _CHECKSUM).is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            if not (folder / _CHECKSUM).is_file():
                _build(encoder, world, folder, progress)
    try:
        index = ImageIndex(folder, kind="flat", storage="float32")
        if _digest(_vectors(index)) != (folder / _CHECKSUM).read_text(encoding="ascii").strip():
            raise CorruptFileError("its checksum differs from what was written")
    except (CorruptFileError, ImageIndexError, OSError, ValueError) as problem:
        raise CorruptFileError(f"{folder}: corrupted. Delete this folder and run again.") from problem
    return index


def emoji_vectors(model: Any, world: EmojiWorld, *, cache: Path | None = None, progress: bool | None = None) -> Vectors:
    """Return the unit vectors of a world's images, float32 [images, dim], in the world's order; see ``emoji_index``."""
    with emoji_index(model, world, cache=cache, progress=progress) as index:
        return _vectors(index)


def _build(encoder: TowerEncoder, world: EmojiWorld, folder: Path, progress: bool | None) -> None:
    # Drawn images need no processes that may crash, and starting some takes longer than drawing.
    options = IndexOptions(workers=0, storage="float32", batch_size=128)
    with progress_bar("encoding images", progress) as report:
        index_images(
            encoder, [EmojiSource(world)], folder, options=options,
            report=lambda counts, total: report(counts.seen, total or counts.seen),
        )  # fmt: skip
    with ImageIndex(folder, kind="flat", storage="float32") as index:
        write_text(folder / _CHECKSUM, _digest(_vectors(index)) + "\n")


def _vectors(index: ImageIndex) -> Vectors:
    return np.concatenate([vectors for _, vectors in index.store.vectors()])


def _digest(vectors: Vectors) -> str:
    return hashlib.sha256(f"{vectors.dtype} {vectors.shape}".encode() + vectors.tobytes()).hexdigest()
