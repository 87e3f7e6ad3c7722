"""Galleries: pictures, their vectors and their search."""

from kivuko.gallery.emoji import EmojiGallery, Hit, emoji_gallery

__all__ = ["EmojiGallery", "Hit", "emoji_gallery"]
