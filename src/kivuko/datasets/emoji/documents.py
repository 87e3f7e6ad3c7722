"""One English document per picture of the emoji world: what people call the emoji that are drawn so."""

from __future__ import annotations

from kivuko.datasets.emoji.world import ENGLISH, EmojiWorld


def english_documents(world: EmojiWorld) -> list[str]:
    """Return, for each picture, the English names and keywords of the emoji that share it [images].

    Names come first, then keywords, with commas between, each once whatever its case; the ids of the documents are
    ``world.image_sequences``, as those of the pictures are.

    >>> english_documents(world)[world.image_sequences.index("🐈")]  # doctest: +SKIP
    'cat, pet'
    """
    english = world.annotations[ENGLISH]
    names: list[list[str]] = [[] for _ in world.images]
    keywords: list[list[str]] = [[] for _ in world.images]
    for emoji in world.emoji:
        annotation = english[emoji.sequence]
        names[emoji.image].append(annotation.name)
        keywords[emoji.image] += annotation.keywords
    return [", ".join(_once([*called, *about])) for called, about in zip(names, keywords, strict=True)]


def _once(texts: list[str]) -> list[str]:
    """Return the texts in their order, the first of those that differ in case only."""
    first: dict[str, str] = {}
    for text in texts:
        first.setdefault(text.casefold(), text)
    return list(first.values())
