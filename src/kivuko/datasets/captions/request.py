"""What a reader is asked for: the parts of ``NAME:PATH[,IMAGES][@PART]`` and the options beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Request:
    """One set to read.

    ``path``: the set's folder or file. ``images``: where its pictures lie, if not there. ``part``: one of several that
    a set has, such as Multi30k's ``test_2017_flickr``. ``split``: "test" or "validation". ``language``: code of the
    captions where the files do not say.
    """

    path: Path
    images: Path | None = None
    part: str | None = None
    split: str = "test"
    language: str | None = None
