"""One picture of a gallery, as a search shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Value = str | int | float | bool | None


@dataclass(frozen=True)
class Item:
    """A distinct picture: several files with the same bytes are one.

    Args:
        id: the gallery's own number of the picture; it keeps it for as long as the picture stays in the gallery.
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
