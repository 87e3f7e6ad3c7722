"""The emoji world as a source: every picture once, on white, under its first emoji, with its English name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from kivuko.gallery.decoding import as_png
from kivuko.gallery.work import Skip, Work

if TYPE_CHECKING:
    from kivuko.datasets.emoji import EmojiWorld


class EmojiSource:
    """The pictures of an emoji world; key: the emoji, caption: its English name, metadata: keywords and split.

    Args:
        world: the emoji world, as :func:`kivuko.datasets.emoji.emoji_world` builds it.
    """

    def __init__(self, world: EmojiWorld) -> None:
        self._world = world

    def describe(self) -> Mapping[str, str]:
        """See Source."""
        return {"kind": "emoji", "path": "emoji"}

    def count(self) -> int | None:
        """See Source."""
        return len(self._world.images)

    def __iter__(self) -> Iterator[Work | Skip]:
        english = self._world.annotations["en"]
        split = {one.sequence: one.split for one in self._world.emoji}
        drawn = int(self._world.fingerprint[:15] or "0", 16)  # takes the place of a file's time of change
        for row, sequence in enumerate(self._world.image_sequences):
            said = english[sequence]
            metadata = {"keywords": ", ".join(said.keywords), "split": split[sequence]}
            yield Work(sequence, as_png(self._world.picture(row)), row, drawn, said.name, metadata)
