"""What a source of pictures gives to indexing: one piece of work for each picture, and where its bytes lie."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from kivuko.gallery.item import Value


@dataclass(frozen=True)
class FilePlace:
    """A file of its own, or ``length`` bytes from ``offset`` in one (a member of a tar shard)."""

    path: str
    offset: int = 0
    length: int | None = None


@dataclass(frozen=True)
class Work:
    """One picture to index: unchanged while key, ``size`` and ``mtime_ns`` are, so it is not decoded again.

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
    """Where pictures come from. It is walked anew in every run, in the same order, and never held whole in memory."""

    def describe(self) -> Mapping[str, str]:
        """Return what tells this source from others and finds it again: ``kind`` and ``path``."""
        ...

    def count(self) -> int | None:
        """Return about how many pieces of work there are, for a progress bar; None: not known."""
        ...

    def __iter__(self) -> Iterator[Work | Skip]: ...
