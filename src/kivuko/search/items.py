"""Types of indexing and search: an image of an index, a hit, and a source of images."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

Value = str | int | float | bool | None


@dataclass(frozen=True)
class Item:
    """A distinct image; files with the same bytes are one image."""

    id: int  # constant as long as the image stays in the index
    key: str  # path relative to the folder (with ``/``), ``SHARD.tar/member`` or emoji; of copies, the first by name
    caption: str | None  # of copies, the first that there is
    width: int  # pixels, upright
    height: int
    metadata: Mapping[str, Value] = field(default_factory=dict)  # further fields of the source
    copies: int = 1  # number of files with these bytes


@dataclass(frozen=True)
class Hit:
    """A search result: an image of the index (``item``) and its cosine with the query (``score``, -1 to 1)."""

    item: Item
    score: float


@dataclass(frozen=True)
class FilePlace:
    """A file, or ``length`` bytes from ``offset`` in one (a member of a tar shard)."""

    path: str
    offset: int = 0
    length: int | None = None


@dataclass(frozen=True)
class Work:
    """An image to index; while key, ``size`` and ``mtime_ns`` are the same, it is not decoded again."""

    key: str
    place: FilePlace | bytes  # of the image's bytes, or the bytes themselves
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
    """A source of images, read one by one and in the same order in each run."""

    def describe(self) -> Mapping[str, str]:
        """Return the ``kind`` and ``path`` that identify this source."""
        ...

    def count(self) -> int | None:
        """Return the approximate number of images, for a progress bar; None: unknown."""
        ...

    def __iter__(self) -> Iterator[Work | Skip]: ...
