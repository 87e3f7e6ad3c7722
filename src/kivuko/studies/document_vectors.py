"""Vectors of a collection's documents, remembered by their texts and by what reads them.

A collection of millions takes hours to read, and is read again for each model that is compared on it, mostly by the
same teacher. A run that was killed goes on from the last block that it wrote.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kivuko.errors import KivukoError
from kivuko.files import atomic_path, cache_folder

_LEFT_FREE = 2 << 30  # bytes of disk that are not filled with what can be made again
_FEW = 256  # so few documents are read sooner than a user would wonder at a file


class DocumentVectors:
    """A reader of documents that remembers what it gave; every block of texts has a file of its own.

    A file that does not hold what was written is passed over and written anew. Where the disk is nearly full, or the
    cache cannot be written, nothing more is remembered.

    Args:
        encode: texts -> float32 [texts, dim].
        space: what tells vectors of this reader from those of others.
    """

    def __init__(self, encode: Callable[[list[str]], Any], space: str) -> None:
        self.folder: Path = cache_folder() / "document-vectors" / hashlib.sha256(space.encode()).hexdigest()[:32]
        self.taken = 0
        self._encode = encode
        self._writable = True

    def __call__(self, texts: list[str]) -> NDArray[np.float32]:
        """Return the vectors of a block of texts, float32 [texts, dim]."""
        if len(texts) < _FEW:
            return np.asarray(self._encode(texts), dtype=np.float32)
        name = _digest(texts)
        path = self.folder / name[:2] / f"{name}.safetensors"
        found = _read(path, len(texts))
        if found is not None:
            self.taken += len(texts)
            return found
        vectors = np.ascontiguousarray(self._encode(texts), dtype=np.float32)
        self._write(path, vectors)
        return vectors

    def bytes(self) -> int:
        """Return how much disk the remembered vectors take."""
        return sum(file.stat().st_size for file in self.folder.rglob("*.safetensors"))

    def _write(self, path: Path, vectors: NDArray[np.float32]) -> None:
        from safetensors.numpy import save_file

        if not self._writable or not np.isfinite(vectors).all():
            return
        self._writable = False
        with suppress(KivukoError, OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            if shutil.disk_usage(path.parent).free > _LEFT_FREE + vectors.nbytes:
                with atomic_path(path) as temporary:
                    save_file({"vectors": vectors}, temporary, metadata={"sha256": _checksum(vectors)})
                self._writable = True


def _digest(texts: list[str]) -> str:
    digest = hashlib.sha256()
    for text in texts:
        content = text.encode("utf-8", "surrogatepass")
        digest.update(len(content).to_bytes(8, "big"))
        digest.update(content)
    return digest.hexdigest()


def _read(path: Path, rows: int) -> NDArray[np.float32] | None:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as stored:
            vectors: NDArray[np.float32] = stored.get_tensor("vectors")
            written = (stored.metadata() or {}).get("sha256")
    except (SafetensorError, OSError, ValueError):
        return None
    return vectors if vectors.shape[:1] == (rows,) and written == _checksum(vectors) else None


def _checksum(vectors: NDArray[np.float32]) -> str:
    return hashlib.sha256(vectors.tobytes()).hexdigest()
