"""One image of a gallery, as a search shows it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

Value = str | int | float | bool | None


@dataclass(frozen=True)
class Item:
    """A distinct image: several files with the same bytes are one.

    Args:
        id: the gallery's own number of the image; it keeps it for as long as the image stays in the gallery.
        key: where it comes from: the path relative to the folder (with ``/``), ``SHARD.tar/member``, or the emoji. Of
            several copies the first by name.
        caption: what the source says of it; of several copies, the first that has one.
        width, height: in pixels, upright.
        metadata: what else the source says, by name.
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
    """An image of the gallery and its cosine with the query (-1 to 1)."""

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

    ``place``: where its bytes lie, or the bytes themselves.
    """

    key: str
    place: FilePlace | bytes
    size: int
    mtime_ns: int
    caption: str | None = None
    metadata: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True)
class Skip:
    """Something that the source itself leaves out."""

    key: str
    reason: str
    detail: str = ""


class Source(Protocol):
    """Where images come from. It is walked anew in every run, in the same order, and never held whole in memory."""

    def describe(self) -> Mapping[str, str]:
        """Return what tells this source from others and finds it again: ``kind`` and ``path``."""
        ...

    def count(self) -> int | None:
        """Return about how many pieces of work there are, for a progress bar; None: not known."""
        ...

    def __iter__(self) -> Iterator[Work | Skip]: ...
