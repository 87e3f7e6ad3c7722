"""Files of vectors: each holds those of one committed batch, is whole or absent, and never changes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from kivuko.files import atomic_path
from kivuko.gallery.schema import SEGMENTS, damaged

Storage = Literal["float16", "float32", "int8"]
STORAGES: tuple[Storage, ...] = ("float16", "float32", "int8")


def segment_path(folder: Path, number: int) -> Path:
    """Return where a gallery keeps one segment."""
    return folder / SEGMENTS / f"{number:06}.safetensors"


def stored(vectors: NDArray[np.float32], storage: Storage) -> dict[str, NDArray[Any]]:
    """Return unit vectors [n, dim] as they rest on disk; ``int8`` has one scale per vector."""
    if storage != "int8":
        return {"vectors": vectors.astype(storage)}
    scales = np.abs(vectors).max(axis=1, keepdims=True) / 127
    scales[scales == 0] = 1
    return {"vectors": np.rint(vectors / scales).astype(np.int8), "scales": scales[:, 0].astype(np.float32)}


def write_segment(folder: Path, number: int, parts: dict[str, NDArray[Any]]) -> None:
    """Write one segment, whole or not at all; what ``stored`` returned, or rows of it.

    Raises:
        KivukoError: the disk is full or cannot be written.
    """
    with atomic_path(segment_path(folder, number)) as temporary:
        save_file({name: np.ascontiguousarray(part) for name, part in parts.items()}, temporary)


class Segment:
    """One file of vectors, memory-mapped.

    Raises:
        FileNotFoundError: it is not there (any more).
        CorruptFileError: it is damaged.
    """

    def __init__(self, folder: Path, number: int, dim: int) -> None:
        self._folder, self._file = folder, segment_path(folder, number)
        if not self._file.is_file():
            raise FileNotFoundError(self._file)
        try:
            self._stored = cast(Any, safe_open(self._file, framework="np"))
            self._parts = {name: self._stored.get_slice(name) for name in self._stored.keys()}  # noqa: SIM118
            shape = self._parts["vectors"].get_shape()
        except (SafetensorError, OSError, KeyError, ValueError) as problem:
            raise damaged(folder, f"{self._file.name}: {problem}") from problem
        if len(shape) != 2 or shape[1] != dim:
            raise damaged(folder, f"{self._file.name}: vectors of shape {shape}, not {dim} wide")
        self.rows: int = shape[0]

    def raw(self, rows: NDArray[np.int64] | Sequence[int]) -> dict[str, NDArray[Any]]:
        """Return some rows as they are stored.

        Raises:
            CorruptFileError: there are fewer.
        """
        wanted = np.asarray(rows, dtype=np.int64)
        first, last = int(wanted.min()), int(wanted.max())
        if last >= self.rows:
            raise damaged(self._folder, f"{self._file.name}: {self.rows} vectors, row {last} is missing")
        return {name: part[first : last + 1][wanted - first] for name, part in self._parts.items()}

    def unit(self, rows: NDArray[np.int64] | Sequence[int]) -> NDArray[np.float32]:
        """Return some rows as unit vectors, float32 [rows, dim].

        Raises:
            CorruptFileError: there are fewer, or they are no unit vectors.
        """
        parts = self.raw(rows)
        vectors = parts["vectors"].astype(np.float32)
        if "scales" in parts:
            vectors *= parts["scales"].astype(np.float32)[:, None]
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not np.allclose(lengths, 1, atol=0.05):
            raise damaged(self._folder, f"{self._file.name}: not unit vectors")
        return cast(NDArray[np.float32], vectors / lengths)
