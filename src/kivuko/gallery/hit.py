"""One search result of a gallery."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kivuko.gallery.item import Item


@dataclass(frozen=True)
class Hit:
    """A picture of the gallery and its cosine with the query (-1 to 1)."""

    item: Item
    score: float
