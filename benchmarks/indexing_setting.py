"""The tower that images are indexed with, and what its raw work costs: decoding, then the forward pass."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kivuko.search.building import BATCH
from kivuko.search.decoding import Tensors, start_fork_server
from kivuko.search.encoding import TowerEncoder

_CHUNK = 16


def default_tower() -> Path:
    """Return the folder of the image tower that Kivuko brings."""
    import kivuko.datasets.emoji

    return Path(kivuko.datasets.emoji.__file__).parent / "image_tower"


def load_tower(folder: Path) -> Any:
    """Load an image tower from its folder, or a model."""
    from kivuko.encoders.model import load_encoder

    return load_encoder(folder).float()  # the one that Kivuko brings rests in half precision


@dataclass(frozen=True)
class RawCost:
    """Seconds that the two parts take, each with all cores to itself."""

    decoding: float
    forward: float

    @property
    def total(self) -> float:
        """Back to back."""
        return self.decoding + self.forward


class RawWork:
    """Decoding and preparation with plain Pillow in as many processes, then the forward pass on what is prepared.

    Nothing is hashed, no thumbnail made, nothing written, no pixel sent from process to process.

    Args:
        pool: processes that have imported what they need.
    """

    def __init__(self, pool: Any, encoder: TowerEncoder) -> None:
        self._pool, self._encoder = pool, encoder

    def measure(self, files: list[str]) -> RawCost:
        """Time both parts for these files."""
        began = time.perf_counter()
        for _ in self._pool.imap_unordered(_decode_plainly, files, chunksize=_CHUNK):
            pass
        decoding = time.perf_counter() - began
        # A forward pass costs the same for any pixels: one batch serves for all, so that memory is no limit.
        batch = [_prepare_plainly(files[number % len(files)], self._encoder.prepare) for number in range(BATCH)]
        self._encoder.encode(batch)
        began = time.perf_counter()
        for start in range(0, len(files), BATCH):
            self._encoder.encode(batch[: min(BATCH, len(files) - start)])
        return RawCost(decoding, time.perf_counter() - began)


@contextmanager
def raw_work(encoder: TowerEncoder, workers: int, warm: str) -> Iterator[RawWork]:
    """Yield the raw work with its processes at the ready, each warmed on one image."""
    start_fork_server(getattr(encoder.prepare, "preload", "torch"))  # so that neither imports in its time
    context = multiprocessing.get_context("forkserver")
    with context.Pool(workers, initializer=_start, initargs=(encoder.prepare,)) as pool:
        pool.map(_decode_plainly, [warm] * workers * _CHUNK, chunksize=_CHUNK)
        yield RawWork(pool, encoder)


_PREPARE: Any = None


def _start(prepare: Any) -> None:
    global _PREPARE
    import torch

    torch.set_num_threads(1)
    _PREPARE = prepare


def _decode_plainly(file: str) -> int:
    return len(_prepare_plainly(file, _PREPARE))


def _prepare_plainly(file: str, prepare: Any) -> Tensors:
    from PIL import Image

    with Image.open(file) as image:
        found: Tensors = prepare(image.convert("RGB"))
    return {name: np.asarray(value) for name, value in found.items()}
