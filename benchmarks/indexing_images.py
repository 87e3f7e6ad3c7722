"""Images to index: JPEG files as a camera would make them, each unlike the others, quick to write."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

_SCENES = 64
_A_FOLDER = 1000


def write_images(folder: Path, count: int, size: tuple[int, int], seed: int = 0) -> None:
    """Write ``count`` JPEG files of ``size`` pixels (width, height), a thousand in each subfolder.

    The pixels are those of a few dozen scenes; a comment in each file makes its bytes, and so its content, its own.
    """
    random = np.random.default_rng(seed)
    scenes = []
    for _ in range(_SCENES):
        coarse = Image.fromarray(random.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        scene = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), dtype=np.int16)
        grain = random.normal(0, 6, scene.shape).astype(np.int16)
        stream = io.BytesIO()
        Image.fromarray((scene + grain).clip(0, 255).astype(np.uint8)).save(stream, format="JPEG", quality=88)
        scenes.append(stream.getvalue())
    for number in range(count):
        place = folder / f"{number // _A_FOLDER:04}"
        place.mkdir(parents=True, exist_ok=True)
        comment = f"{number:010}".encode()
        scene = scenes[number % _SCENES]
        # After the start marker: a comment segment, FF FE and its length.
        marked = scene[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + scene[2:]
        (place / f"{number:07}.jpg").write_bytes(marked)
