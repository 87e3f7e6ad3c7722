"""The emoji world: real pictures, real translations in over a hundred languages, no download from a model hub."""

from kivuko.datasets.emoji.build import emoji_world
from kivuko.datasets.emoji.world import Emoji, EmojiWorld, Query

__all__ = ["Emoji", "EmojiWorld", "Query", "emoji_world"]
