"""Galleries: pictures, their vectors and their search.

Names load when they are first used: the worker processes that decode pictures import this package and need no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_WHERE = {
    "EmojiGallery": "kivuko.gallery.emoji",
    "EmojiHit": "kivuko.gallery.emoji",
    "Filter": "kivuko.gallery.filter",
    "Gallery": "kivuko.gallery.gallery",
    "Hit": "kivuko.gallery.hit",
    "Searcher": "kivuko.gallery.searcher",
    "parse_filter": "kivuko.gallery.filter",
    "emoji_gallery": "kivuko.gallery.emoji",
    "GalleryStore": "kivuko.gallery.store",
    "Item": "kivuko.gallery.item",
    "build_gallery": "kivuko.gallery.indexing",
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
    from kivuko.gallery.emoji import EmojiGallery, EmojiHit, emoji_gallery
    from kivuko.gallery.filter import Filter, parse_filter
    from kivuko.gallery.gallery import Gallery
    from kivuko.gallery.hit import Hit
    from kivuko.gallery.indexing import build_gallery
    from kivuko.gallery.item import Item
    from kivuko.gallery.searcher import Searcher
    from kivuko.gallery.store import GalleryStore


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(importlib.import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'kivuko.gallery' has no attribute '{name}'")
