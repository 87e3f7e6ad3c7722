"""``NAME:PATH[,IMAGES][@PART]``: how a caption set is named on the command line and in Python."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

from kivuko.datasets.captions.caption_set import CaptionSet, Request
from kivuko.errors import DataError, UsageError

# name -> (module, reader, splits that it knows)
_READERS: Mapping[str, tuple[str, str, tuple[str, ...]]] = {
    "xm3600": ("xm3600", "read_xm3600", ("test",)),
    "xtd": ("xtd", "read_xtd", ("test",)),
    "multi30k": ("multi30k", "read_multi30k", ("test", "validation")),
    "xflickrco": ("xflickrco", "read_xflickrco", ("test",)),
    "wit": ("wit", "read_wit", ("test", "validation")),
    "flickr30k200": ("flickr30k200", "read_flickr30k200", ("test",)),
    "coco": ("coco", "read_coco", ("test", "validation")),
    "captions": ("captions_file", "read_captions_file", ("test", "validation")),
    "webdataset": ("webdataset", "read_webdataset", ("test",)),
}
NAMES = tuple(_READERS)
_OWN = frozenset(("coco", "captions", "webdataset"))
_WITH_PARTS = frozenset(("multi30k",))


def is_caption_spec(spec: str) -> bool:
    """Tell whether a spec names a caption set."""
    return spec.partition(":")[0] in _READERS


def is_own_set(spec: str) -> bool:
    """Tell whether a spec names a file or shards of anybody's making, of which there are many under one name."""
    return spec.partition(":")[0] in _OWN


def path_of(spec: str) -> Path:
    """Return the file or folder that a spec names, without its images; perhaps with ``*`` in it."""
    return _split(spec.partition(":")[2])[0]


def open_caption_set(spec: str, *, split: str = "test", language: str | None = None) -> CaptionSet:
    """Read the caption set that a spec names.

    Args:
        spec: ``NAME:PATH``, with ``,IMAGES`` where the images lie elsewhere, and ``@PART`` for a part of Multi30k.
        split: "test" or "validation", where the set has both.
        language: code of the captions, where the files do not say it.

    Raises:
        UsageError: no such set, nothing after the colon, or a split that the set does not have.
        DataError: what the set's own reader raises: a file that is missing or malformed.
    """
    name, _, rest = spec.partition(":")
    if name not in _READERS or not rest:
        raise UsageError(f"{spec}: give NAME:PATH, where NAME is one of {', '.join(NAMES)}")
    module, function, splits = _READERS[name]
    if split not in splits:
        raise UsageError(f"{name} has no split {split!r}; it has {', '.join(splits)}")
    if "\0" in rest:
        raise UsageError(f"{spec!r}: a path cannot hold a NUL character")
    part = None
    if name in _WITH_PARTS and "@" in rest and not _exists(rest):
        rest, _, part = rest.rpartition("@")
    path, images = _split(rest)
    request = Request(path=path, images=images, part=part, split=split, language=language)
    read = getattr(importlib.import_module(f"kivuko.datasets.captions.{module}"), function)
    try:
        return cast(Callable[[Request], CaptionSet], read)(request)
    except OSError as problem:  # a folder that may not be listed
        raise DataError(f"{problem.filename or path}: cannot be read ({problem.strerror or problem})") from problem


def _split(rest: str) -> tuple[Path, Path | None]:
    """Part the path from the folder of images; a path that exists as it stands has no such folder."""
    before, comma, after = rest.rpartition(",")
    if not comma or _exists(rest) or not before or not after:
        return Path(rest).expanduser(), None
    return Path(before).expanduser(), Path(after).expanduser()


def _exists(path: str) -> bool:
    try:
        return Path(path).expanduser().exists()
    except (OSError, RuntimeError, ValueError):
        return False
