"""Cached vectors of documents and images, so that models compared on one data set do not encode it again and again.

They are keyed by the texts' or images' content and by the space of the encoder. A damaged file is ignored and
rewritten.
"""

import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kivuko.datasets.captions.caption_set import CaptionSet, Image
from kivuko.encoders.images import RefusedImage
from kivuko.errors import KivukoError
from kivuko.files import atomic_path, cache_folder
from kivuko.processes import cores
from kivuko.search import decoding
from kivuko.search.items import FilePlace

_LEFT_FREE = 2 << 30  # bytes of disk that the cache of documents does not fill
_FEW = 256  # so few documents are encoded about as fast as read


class DocumentVectors:
    """An encoder of documents, texts to float32 [texts, dim], with a cache: every block of texts has its file.

    ``space``: a name of the encoder's vector space. Nothing is written where the disk is nearly full.
    """

    def __init__(self, encode: Callable[[list[str]], Any], space: str) -> None:
        self.folder: Path = cache_folder() / "document-vectors" / hashlib.sha256(space.encode()).hexdigest()[:32]
        self.taken = 0
        self._encode = encode
        self._writable = True

    def __call__(self, texts: list[str]) -> NDArray[np.float32]:
        if len(texts) < _FEW:
            return np.asarray(self._encode(texts), dtype=np.float32)
        name = _digest(texts)
        path = self.folder / name[:2] / f"{name}.safetensors"
        stored = _read_arrays(path, "vectors")
        if stored is not None and stored["vectors"].shape[:1] == (len(texts),):
            self.taken += len(texts)
            return stored["vectors"]
        vectors = np.ascontiguousarray(self._encode(texts), dtype=np.float32)
        if self._writable and np.isfinite(vectors).all():
            self._writable = False
            with suppress(KivukoError, OSError):
                path.parent.mkdir(parents=True, exist_ok=True)
                if shutil.disk_usage(path.parent).free > _LEFT_FREE + vectors.nbytes:
                    _write_arrays(path, vectors=vectors)
                    self._writable = True
        return vectors

    def bytes(self) -> int:
        return sum(file.stat().st_size for file in self.folder.rglob("*.safetensors"))


def _digest(texts: list[str]) -> str:
    digest = hashlib.sha256()
    for text in texts:
        content = text.encode("utf-8", "surrogatepass")
        digest.update(len(content).to_bytes(8, "big"))
        digest.update(content)
    return digest.hexdigest()


def _read_arrays(path: Path, *names: str) -> dict[str, NDArray[Any]] | None:
    """Read arrays of a file; None where it is missing or damaged."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as stored:
            arrays = {name: stored.get_tensor(name) for name in names}
            written = (stored.metadata() or {}).get("sha256")
    except (SafetensorError, OSError, ValueError):
        return None
    return arrays if written == _checksum(arrays) else None


def _write_arrays(path: Path, **arrays: NDArray[Any]) -> None:
    from safetensors.numpy import save_file

    with atomic_path(path) as temporary:
        save_file(arrays, temporary, metadata={"sha256": _checksum(arrays)})


def _checksum(arrays: dict[str, NDArray[Any]]) -> str:
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays.values())).hexdigest()


_BATCH, _COMMIT, _WINDOW = 64, 2048, 96
_LIMITS = decoding.Limits()  # of one image, as in an index
_IN_PROCESS = 32  # so few images are decoded sooner than worker processes start
_MOST_SCANS = 50  # of a JPEG that is decoded in this process; encoders write about ten

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class ImageVectors:
    """The vectors of a set's images."""

    vectors: NDArray[np.float32]  # unit, [images, dim]; rows of refused images are zero
    sha256: tuple[str | None, ...]  # of each image's bytes; None where refused
    refused: dict[int, decoding.Refused] = field(default_factory=dict)  # by row
    encoded: int = 0  # images that were not in the cache

    def digest(self) -> str:
        """Return one SHA-256 over those of the images that were read, in their order."""
        read = (f"{one}\n" for one in self.sha256 if one is not None)
        return hashlib.sha256("".join(read).encode()).hexdigest()


def encode_images(
    encoder: decoding.ImageEncoder,
    caption_set: CaptionSet,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
    reading: Progress | None = None,
) -> ImageVectors:
    """Encode the images of a set, or take their vectors from the cache.

    ``progress`` and ``reading`` are called with (done, total) while images are encoded, and while they are hashed.
    """
    images = caption_set.images
    sha256, refused = _hashed(images, reading)
    known = VectorCache(encoder)
    waiting: dict[str, Image] = {}  # content to the first image that has it
    for image, content in zip(images, sha256, strict=True):
        if content is not None and content not in known.vectors:
            waiting.setdefault(content, image)
    done, total = len(images) - len(waiting), len(images)
    unusable: dict[str, decoding.Refused] = {}
    batch: list[tuple[str, decoding.Decoded]] = []

    def encode() -> None:
        for (content, _), vector in zip(batch, encoder.encode([one.tensors for _, one in batch]), strict=True):
            known.add(content, vector)
        batch.clear()

    for content, answer in _decoded(waiting, encoder, workers):
        if isinstance(answer, decoding.Refused):
            unusable[content] = answer
        else:
            batch.append((content, answer))
        if len(batch) == _BATCH:
            encode()
        done += 1
        if progress is not None:
            progress(done, total)
    if batch:
        encode()
    known.save()
    vectors = np.zeros((len(images), encoder.dim), dtype=np.float32)
    for row, content in enumerate(sha256):
        if content in unusable:
            refused[row] = unusable[content]
        elif content is not None:
            vectors[row] = known.vectors[content]
    kept = tuple(None if row in refused else content for row, content in enumerate(sha256))
    return ImageVectors(vectors, kept, refused, len(waiting) - len(unusable))


class VectorCache:
    """Vectors by the SHA-256 of an image's bytes, one file for each image side and its preparation."""

    def __init__(self, encoder: decoding.ImageEncoder) -> None:
        self.path = cache_folder() / "image-vectors" / f"{_space(encoder)[:32]}.safetensors"
        self._dim = encoder.dim
        self.vectors: dict[str, NDArray[np.float32]] = self._read()
        self._new = 0

    def add(self, content: str, vector: NDArray[np.float32]) -> None:
        """Add one; every so many are written, so that a killed run resumes."""
        self.vectors[content] = vector.copy()
        self._new += 1
        if self._new >= _COMMIT:
            self.save()

    def save(self) -> None:
        """Write the file, if anything is new and the cache can be written."""
        if not self._new:
            return
        merged = {**self._read(), **self.vectors}  # another process may have written meanwhile
        digests = np.frombuffer(b"".join(bytes.fromhex(one) for one in merged), dtype=np.uint8).reshape(-1, 32)
        with suppress(KivukoError, OSError):
            _write_arrays(self.path, digests=digests.copy(), vectors=np.stack(list(merged.values())))
        self._new = 0

    def _read(self) -> dict[str, NDArray[np.float32]]:
        stored = _read_arrays(self.path, "digests", "vectors")
        if stored is None or stored["vectors"].shape != (len(stored["digests"]), self._dim):
            return {}
        return {bytes(one).hex(): vector for one, vector in zip(stored["digests"], stored["vectors"], strict=True)}


_DECODING = 2  # to be raised when images are decoded to other pixels


def _space(encoder: decoding.ImageEncoder) -> str:
    """Return a hash of decoding and of the image side's weights and preparation: each changes the vectors."""
    prepare = encoder.prepare
    settings = ""
    if isinstance(prepare, decoding.ProcessorPreparation):
        settings = str(getattr(prepare.processor, "to_json_string", lambda: "")())
    return hashlib.sha256(f"{_DECODING}\n{encoder.fingerprint}\n{settings}".encode()).hexdigest()


def _place(image: Image) -> FilePlace | None:
    return None if image.path is None else FilePlace(str(image.path), image.offset, image.length)


def read_image(image: Image) -> bytes:
    """Return the bytes of an image's file; RefusedImage if they cannot be read."""
    if (place := _place(image)) is None:
        raise RefusedImage("missing")
    return decoding.read_place(place)


def _hashed(images: Sequence[Image], reading: Progress | None) -> tuple[list[str | None], dict[int, decoding.Refused]]:
    hashes: list[str | None] = []
    refused: dict[int, decoding.Refused] = {}
    for row, image in enumerate(images):
        try:
            hashes.append(hashlib.sha256(read_image(image)).hexdigest())
        except RefusedImage as problem:
            refused[row] = decoding.Refused(problem.reason, problem.detail)
            hashes.append(None)
        if reading is not None:
            reading(row + 1, len(images))
    return hashes, refused


def _decoded(
    waiting: dict[str, Image], encoder: decoding.ImageEncoder, workers: int | None
) -> Iterator[tuple[str, decoding.Decoded | decoding.Refused]]:
    """Decode in processes that can be ended; a few quick files here, since processes take a while to start."""
    places = [(content, place) for content, image in waiting.items() if (place := _place(image)) is not None]
    quick = dict(places if workers is None and len(places) <= _IN_PROCESS else ())
    quick = {content: place for content, place in quick.items() if not _has_many_scans(place)}
    for content, place in quick.items():
        yield content, decoding.decode_place(place, encoder.prepare, _LIMITS)
    slow = [(content, place) for content, place in places if content not in quick]
    if slow:
        count = workers or min(8, cores(), len(slow))
        with decoding.DecodingWorkers[str](encoder.prepare, count, _LIMITS, _WINDOW) as processes:
            for content, answer in processes.answers(iter(slow)):
                assert answer is not None  # each request has a place
                yield content, answer


def _has_many_scans(place: FilePlace) -> bool:
    """Return True for a progressive JPEG that takes minutes, each of its scans as long as a whole image."""
    with suppress(RefusedImage):
        content = decoding.read_place(place)
        return content[:2] == b"\xff\xd8" and content.count(b"\xff\xda") > _MOST_SCANS
    return False
