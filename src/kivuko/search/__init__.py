"""Galleries: images, their vectors and their search.

Names load when they are first used: the worker processes that decode images import this package and need no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_WHERE = {
    "EmojiGallery": "kivuko.search.emoji",
    "EmojiHit": "kivuko.search.emoji",
    "Filter": "kivuko.search.filter",
    "Gallery": "kivuko.search.gallery",
    "Hit": "kivuko.search.items",
    "Searcher": "kivuko.search.searcher",
    "parse_filter": "kivuko.search.filter",
    "emoji_gallery": "kivuko.search.emoji",
    "GalleryStore": "kivuko.search.store",
    "Item": "kivuko.search.items",
    "build_gallery": "kivuko.search.building",
}
__all__ = [
    "EmojiGallery",
    "EmojiHit",
    "Filter",
    "Gallery",
    "GalleryStore",
    "Hit",
    "Item",
    "Searcher",
    "build_gallery",
    "emoji_gallery",
    "parse_filter",
]

if TYPE_CHECKING:
    from kivuko.search.building import build_gallery
    from kivuko.search.emoji import EmojiGallery, EmojiHit, emoji_gallery
    from kivuko.search.filter import Filter, parse_filter
    from kivuko.search.gallery import Gallery
    from kivuko.search.items import Hit, Item
    from kivuko.search.searcher import Searcher
    from kivuko.search.store import GalleryStore


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(importlib.import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'kivuko.search' has no attribute '{name}'")
