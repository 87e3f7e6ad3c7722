"""What a worker process does with one picture: read, hash, decode, make the thumbnail, prepare it for the tower."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kivuko.gallery.picture import MOST_BYTES, MOST_PIXELS, RefusedPicture, decode, identify, thumbnail
from kivuko.gallery.work import FilePlace

Prepare = Callable[[Image.Image], dict[str, NDArray[Any]]]
_MOST_PROPORTION = 200  # of the long side to the short
_IDENTIFIED_FIRST = 1 << 20  # smaller files are read whole at once


@dataclass(frozen=True)
class Limits:
    """What a file may ask for: ``pixels`` after decoding, ``bytes`` on disk, ``seconds`` of a worker's time."""

    pixels: int = MOST_PIXELS
    bytes: int = MOST_BYTES
    seconds: float = 300.0


@dataclass(frozen=True)
class Decoded:
    """A picture ready for the tower: ``tensors`` are its input, each with a leading axis of 1."""

    sha256: str
    width: int
    height: int
    thumbnail: bytes
    tensors: dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Refused:
    """A picture that is left out, and why."""

    reason: str
    detail: str = ""


def decode_place(place: FilePlace | bytes, prepare: Prepare, limits: Limits) -> Decoded | Refused:
    """Do all the work on one picture that needs no model."""
    try:
        content = place if isinstance(place, bytes) else read_place(place, limits.bytes)
        picture = decode(content, limits.pixels)
        if max(picture.size) > _MOST_PROPORTION * min(picture.size):  # scaled by the short side, it would fill memory
            raise RefusedPicture("too narrow", f"{picture.width} x {picture.height}")
        small = thumbnail(picture, content)
        tensors = prepare(picture)
    except RefusedPicture as problem:
        return Refused(problem.reason, problem.detail)
    except MemoryError:
        return Refused("too many pixels", "not enough memory to decode it")
    except Exception as problem:  # a tower's own preparation may refuse what it cannot use
        return Refused("cannot be prepared", f"{type(problem).__name__}: {problem}"[:300])
    return Decoded(hashlib.sha256(content).hexdigest(), *picture.size, small, tensors)


def read_place(place: FilePlace, most_bytes: int = MOST_BYTES) -> bytes:
    """Read a regular file or a part of one; a pipe or a device put in its place meanwhile is not waited for.

    Raises:
        RefusedPicture: it cannot be read, is no regular file, is too large, or is no picture by its first bytes.
    """
    try:
        number = os.open(place.path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with open(number, "rb") as stream:  # noqa: PTH123
            state = os.fstat(number)
            if not stat.S_ISREG(state.st_mode):
                raise RefusedPicture("not a regular file")
            length = state.st_size if place.length is None else place.length
            if length > most_bytes:
                raise RefusedPicture("too large a file", f"{length:,} bytes, most {most_bytes:,}")
            if place.length is None and length > _IDENTIFIED_FIRST:
                identify(stream)
            stream.seek(place.offset)
            content = stream.read(length)
    except FileNotFoundError as problem:
        raise RefusedPicture("missing", "gone since it was listed") from problem
    except PermissionError as problem:
        raise RefusedPicture("cannot be read", "no permission") from problem
    except (OSError, ValueError) as problem:
        raise RefusedPicture("cannot be read", str(getattr(problem, "strerror", None) or problem)) from problem
    if len(content) < length:
        raise RefusedPicture("broken picture", "the file ends before it should")
    return content


def as_png(picture: Image.Image) -> bytes:
    """Return a picture that was drawn, not read, as bytes, without loss."""
    stream = io.BytesIO()
    picture.save(stream, format="PNG", compress_level=1)
    return stream.getvalue()


def raw_pixels(picture: Image.Image) -> dict[str, NDArray[Any]]:
    """Prepare for a tower whose own preparation cannot be done in a worker: the pixels, uint8 [1, height, width, 3]."""
    return {"pixels": np.asarray(picture)[None]}
