"""The small types of indexing and search: an image of an index, a hit, and a source of images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

Value = str | int | float | bool | None


@dataclass(frozen=True)
class Item:
    """A distinct image: several files with the same bytes are one.

    Args:
        id: number of the image in the index, kept for as long as the image stays there.
        key: where it comes from: the path relative to the folder (with ``/``), ``SHARD.tar/member``, or the emoji. Of
            several copies the first by name.
        caption: from the source; of several copies, the first that has one.
        width, height: in pixels, upright.
        metadata: further fields of the source, by name.
        copies: how many files have these bytes, at least 1.
    """

    id: int
    key: str
    caption: str | None
    width: int
    height: int
    metadata: Mapping[str, Value] = field(default_factory=dict)
    copies: int = 1


@dataclass(frozen=True)
class Hit:
    """An image of an index and its cosine with the query (-1 to 1)."""

    item: Item
    score: float


@dataclass(frozen=True)
class FilePlace:
    """A file of its own, or ``length`` bytes from ``offset`` in one (a member of a tar shard)."""

    path: str
    offset: int = 0
    length: int | None = None


@dataclass(frozen=True)
class Work:
    """One image to index: unchanged while key, ``size`` and ``mtime_ns`` are, so it is not decoded again.

    ``place``: where to read its bytes, or the bytes themselves.
    """

    key: str
    place: FilePlace | bytes
    size: int
    mtime_ns: int
    caption: str | None = None
    metadata: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True)
class Skip:
    """A file or line that a source skips, and why."""

    key: str
    reason: str
    detail: str = ""


class Source(Protocol):
    """A place that images come from. Each run walks it in the same order; it is never held whole in memory."""

    def describe(self) -> Mapping[str, str]:
        """Return what identifies this source and finds it again: ``kind`` and ``path``."""
        ...

    def count(self) -> int | None:
        """Return about how many images there are, for a progress bar; None: not known."""
        ...

    def __iter__(self) -> Iterator[Work | Skip]: ...
