"""Indexes of images: building them, opening them, and searching them with words or an image.

Names load when they are first used: the worker processes that decode images import this package and need no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_WHERE = {
    "Filter": "kivuko.search.filter",
    "FlatIndex": "kivuko.search.index",
    "Hit": "kivuko.search.items",
    "ImageIndex": "kivuko.search.image_index",
    "Index": "kivuko.search.index",
    "Item": "kivuko.search.items",
    "Searcher": "kivuko.search.searcher",
    "build_index": "kivuko.search.building",
    "emoji_index": "kivuko.search.emoji",
    "emoji_vectors": "kivuko.search.emoji",
    "parse_filter": "kivuko.search.filter",
}
__all__ = [
    "Filter",
    "FlatIndex",
    "Hit",
    "ImageIndex",
    "Index",
    "Item",
    "Searcher",
    "build_index",
    "emoji_index",
    "emoji_vectors",
    "parse_filter",
]

if TYPE_CHECKING:
    from kivuko.search.building import build_index
    from kivuko.search.emoji import emoji_index, emoji_vectors
    from kivuko.search.filter import Filter, parse_filter
    from kivuko.search.image_index import ImageIndex
    from kivuko.search.index import FlatIndex, Index
    from kivuko.search.items import Hit, Item
    from kivuko.search.searcher import Searcher


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(importlib.import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'kivuko.search' has no attribute '{name}'")
