"""What the search benchmark searches: sentences of the emoji world's words, and their vectors by a real student.

A sentence is two to five names or keywords, drawn by seed from all languages of the model; queries are other sentences.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kivuko.datasets.emoji.world import emoji_world
from kivuko.encoders.model import encode_texts, load_encoder
from kivuko.files import atomic_path, cache_folder, sha256_of
from kivuko.languages import DEFAULT_LANGUAGES

_BATCH = 10_000
Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Corpus:
    """A model and the pieces that its sentences are put together from."""

    folder: Path
    model: Any
    pieces: tuple[str, ...]

    def sentences(self, count: int, seed: str) -> list[str]:
        """Return distinct sentences, the same for the same seed; of fewer, the first."""
        found: dict[str, None] = {}
        drawn = random.Random(seed)
        while len(found) < count:
            found[" ".join(drawn.choice(self.pieces) for _ in range(drawn.choice((2, 3, 3, 4, 5))))] = None
        return list(found)

    def vectors(self, count: int) -> Vectors:
        """Return unit vectors of the first sentences, float32 [count, dim]; kept in the cache from run to run."""
        key = hashlib.sha256(f"1 {self._weights()} {count} {len(self.pieces)}".encode()).hexdigest()[:24]
        file = cache_folder() / "benchmark" / f"vectors-{key}.npy"
        if not file.is_file():
            with atomic_path(file) as temporary, temporary.open("wb") as stream:
                dim = int(self.model.get_embedding_dimension())
                header = {"descr": "<f4", "fortran_order": False, "shape": (count, dim)}
                np.lib.format.write_array_header_1_0(stream, header)
                for vectors in self.encoded(count):
                    stream.write(vectors.tobytes())
        found: Vectors = np.load(file, mmap_mode="r")
        return found

    def encoded(self, count: int) -> Iterator[Vectors]:
        """Yield the vectors of the first sentences, batch by batch."""
        texts = self.sentences(count, "gallery")
        for start in range(0, count, _BATCH):
            yield encode_texts(self.model, texts[start : start + _BATCH])

    def _weights(self) -> str:
        return "".join(sorted(sha256_of(file) for file in self.folder.rglob("*.safetensors")))


def load_corpus(folder: Path) -> Corpus:
    """Load a model and the words of the emoji world in the default languages."""
    world = emoji_world(DEFAULT_LANGUAGES)
    texts = {
        text
        for code in DEFAULT_LANGUAGES
        for annotation in world.annotations[code].values()
        for text in (annotation.name, *annotation.keywords)
        if text
    }
    return Corpus(folder, load_encoder(folder), tuple(sorted(texts)))
