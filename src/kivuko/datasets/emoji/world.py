"""The emoji world: pictures, their names and keywords in many languages, and a split by concept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from PIL import Image

from kivuko.bitext import Bitext, Pair
from kivuko.datasets.emoji.cldr import Annotation
from kivuko.datasets.emoji.font import Pixels
from kivuko.datasets.emoji.splits import SPLITS, content_words, is_compositional, is_copied
from kivuko.errors import UsageError

ENGLISH = "en"


@dataclass(frozen=True, slots=True)
class Emoji:
    """One emoji: its code points, its concept and split, and the row of its picture in the gallery."""

    sequence: str
    concept: str
    split: str
    image: int


@dataclass(frozen=True, slots=True)
class Query:
    """One emoji's name in one language, which should find its picture.

    ``compositional``: every English content word of its name occurs in training; otherwise the query is *lexical*.
    ``copied``: the name is the English name again.
    """

    id: str
    language: str
    text: str
    english: str
    image: int
    concept: str
    compositional: bool
    copied: bool


@dataclass(frozen=True)
class EmojiWorld:
    """Emoji that the font draws, each picture once, with annotations per language.

    ``images``: uint8 RGBA [images, 128, 136, 4]; emoji that the font draws alike (the flags of Norway and Bouvet
    Island, say) share one. ``left_out`` counts, by reason, the sequences of CLDR that have no picture here.
    """

    emoji: tuple[Emoji, ...]
    images: Pixels
    annotations: dict[str, dict[str, Annotation]]
    left_out: Counter[str] = field(default_factory=Counter)
    fingerprint: str = ""

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages other than English whose annotations are at hand."""
        return tuple(code for code in self.annotations if code != ENGLISH)

    @cached_property
    def training_words(self) -> frozenset[str]:
        """All English content words in names and keywords of training emoji."""
        texts = (text for emoji in self.emoji if emoji.split == "train" for text in self._english_texts(emoji.sequence))
        return frozenset(word for text in texts for word in content_words(text))

    def bitext(self, languages: Sequence[str], split: str, *, keywords: bool = True) -> Bitext:
        """Return sentence pairs of one split: each emoji's name, and its keywords as a list where both have some.

        A pair's ``origin`` is ``emoji:SEQUENCE:name`` or ``emoji:SEQUENCE:keywords``.
        """
        self._check(languages, split)
        english = self.annotations[ENGLISH]
        pairs = []
        for language in languages:
            own = self.annotations[language]
            for emoji in self.emoji:
                if emoji.split != split or emoji.sequence not in own:
                    continue
                here, there = own[emoji.sequence], english[emoji.sequence]
                origin = f"emoji:{emoji.sequence}"
                pairs.append(Pair(language, here.name, there.name, f"{origin}:name"))
                if keywords and here.keywords and there.keywords:
                    own_list, english_list = ", ".join(here.keywords), ", ".join(there.keywords)
                    pairs.append(Pair(language, own_list, english_list, f"{origin}:keywords"))
        return Bitext(tuple(pairs))

    def queries(self, language: str, split: str) -> list[Query]:
        """Return the names of one split's emoji in one language ("en" for the English names) as queries.

        Emoji that share a picture and a name there make one query.
        """
        self._check([language], split)
        own, english = self.annotations[language], self.annotations[ENGLISH]
        found: dict[tuple[int, str], Query] = {}
        for emoji in self.emoji:
            if emoji.split != split or emoji.sequence not in own:
                continue
            text, name = own[emoji.sequence].name, english[emoji.sequence].name
            found.setdefault(
                (emoji.image, text),
                Query(
                    id=f"{language}:{emoji.sequence}",
                    language=language,
                    text=text,
                    english=name,
                    image=emoji.image,
                    concept=emoji.concept,
                    compositional=is_compositional(name, self.training_words),
                    copied=language != ENGLISH and is_copied(text, name),
                ),
            )
        return list(found.values())

    def english_names(self) -> tuple[list[str], np.ndarray[tuple[int], np.dtype[np.int64]]]:
        """Return every emoji's English name and, for each, its picture's row [emoji]."""
        names = [self.annotations[ENGLISH][emoji.sequence].name for emoji in self.emoji]
        return names, np.array([emoji.image for emoji in self.emoji], dtype=np.int64)

    @cached_property
    def image_sequences(self) -> list[str]:
        """For each picture the first emoji sequence that is drawn so [images]; it serves as the picture's id."""
        first: dict[int, str] = {}
        for emoji in self.emoji:
            first.setdefault(emoji.image, emoji.sequence)
        return [first[row] for row in range(len(self.images))]

    def picture(self, row: int, background: str = "white") -> Image.Image:
        """Return one picture as RGB on a plain background, 136 x 136 pixels."""
        drawn = Image.fromarray(self.images[row])
        side = max(drawn.size)
        canvas = Image.new("RGB", (side, side), background)
        canvas.paste(drawn, ((side - drawn.width) // 2, (side - drawn.height) // 2), drawn)
        return canvas

    def _english_texts(self, sequence: str) -> tuple[str, ...]:
        annotation = self.annotations[ENGLISH][sequence]
        return (annotation.name, *annotation.keywords)

    def _check(self, languages: Sequence[str], split: str) -> None:
        if split not in SPLITS:
            raise UsageError(f"unknown split '{split}': choose one of {', '.join(SPLITS)}.")
        for language in languages:
            if language not in self.annotations:
                raise UsageError(
                    f"language '{language}' is not in this emoji world ({', '.join(self.languages)}): build it with it."
                )
