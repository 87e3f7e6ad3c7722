"""The emoji world: images with names in over a hundred languages, from the system's font and CLDR."""

from pathlib import Path

from kivuko.datasets.emoji.world import Emoji, EmojiWorld, Query, emoji_world


def shipped_image_tower() -> Path:
    """Return the folder of the image tower that comes with Kivuko."""
    return Path(__file__).parent / "image_tower"


__all__ = ["Emoji", "EmojiWorld", "Query", "emoji_world", "shipped_image_tower"]
