"""``NAME:PATH[,IMAGES][@PART]``: every set and file format of captions, and the function that opens them."""

from pathlib import Path

from kivuko.datasets.captions.caption_set import CaptionSet, Request
from kivuko.datasets.captions.own_files import CAPTIONS
from kivuko.datasets.captions.published_sets import PUBLISHED
from kivuko.datasets.captions.webdataset import WEBDATASET
from kivuko.errors import DataError, UsageError

FORMATS = {one.name: one for one in (*PUBLISHED, CAPTIONS, WEBDATASET)}
NAMES = tuple(FORMATS)


def is_caption_spec(spec: str) -> bool:
    return spec.partition(":")[0] in FORMATS


def is_own_set(spec: str) -> bool:
    """Return True if a spec names a user's own files, of which there are many under one name."""
    name = spec.partition(":")[0]
    return name in FORMATS and FORMATS[name].own


def path_of(spec: str) -> Path:
    """Return the file or folder that a spec names, without its images; perhaps with ``*`` in it."""
    return _split(spec.partition(":")[2])[0]


def open_caption_set(spec: str, *, split: str = "test", language: str | None = None) -> CaptionSet:
    """Read the caption set ``NAME:PATH[,IMAGES][@PART]``; ``language`` is for files that do not say theirs."""
    name, _, rest = spec.partition(":")
    if name not in FORMATS or not rest:
        raise UsageError(f"{spec}: give NAME:PATH, where NAME is one of {', '.join(NAMES)}")
    known = FORMATS[name]
    if split not in known.splits:
        raise UsageError(f"{name} has no split {split!r}; it has {', '.join(known.splits)}")
    if "\0" in rest:
        raise UsageError(f"{spec!r}: a path cannot hold a NUL character")
    part = None
    if known.with_parts and "@" in rest and not _exists(rest):
        rest, _, part = rest.rpartition("@")
    path, images = _split(rest)
    try:
        return known.read(Request(path=path, images=images, part=part, split=split, language=language))
    except OSError as problem:  # a folder that may not be listed
        raise DataError(f"{problem.filename or path}: cannot be read ({problem.strerror or problem})") from problem


def _split(rest: str) -> tuple[Path, Path | None]:
    """Separate the path from the folder of images; a comma within an existing path or within braces is of the path."""
    before, comma, after = rest.rpartition(",")
    if not comma or _exists(rest) or not before or not after or before.count("{") > before.count("}"):
        return Path(rest).expanduser(), None
    return Path(before).expanduser(), Path(after).expanduser()


def _exists(path: str) -> bool:
    try:
        return Path(path).expanduser().exists()
    except (OSError, RuntimeError, ValueError):
        return False
