"""An image-caption set: images, and per language the captions that people wrote for them."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from kivuko.errors import UsageError

EVERY_CAPTION, FIRST_CAPTION = "every-caption", "first-caption"
PROTOCOLS = (EVERY_CAPTION, FIRST_CAPTION)


@dataclass(frozen=True, slots=True)
class Image:
    """One image and the place of its bytes."""

    id: str  # unique in its set
    path: Path | None  # the file, or the tar shard with its bytes; None if there is no such image
    named: str  # its name and where the set gives it, for messages
    offset: int = 0
    length: int | None = None


@dataclass(frozen=True, eq=False)
class LanguageCaptions:
    """One language's captions under one protocol; ``owners`` are rows of ``CaptionSet.images``, one per text."""

    language: str
    texts: tuple[str, ...]
    owners: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class CaptionSet:
    """One split of a set of images with captions."""

    name: str  # for records, such as "xm3600"
    split: str  # the set's own name of it
    images: tuple[Image, ...]
    captions: Mapping[str, Mapping[str, tuple[str, ...]]]  # language -> image id -> its captions, at least one
    files: tuple[Path, ...]  # of captions; their checksums identify the set's edition
    notes: tuple[str, ...] = ()  # caveats for figures on this set
    left_out: Mapping[str, int] = field(default_factory=dict)  # counts by reason
    gallery: Literal["set", "language"] = "set"  # images that a language searches: all, or its own

    @property
    def languages(self) -> tuple[str, ...]:
        return tuple(self.captions)

    def of(self, language: str, protocol: str = EVERY_CAPTION) -> LanguageCaptions:
        """Return one language's captions: all of them, or the first of each image."""
        if protocol not in PROTOCOLS:
            raise UsageError(f"protocol {protocol!r} is unknown; known are {', '.join(PROTOCOLS)}")
        if language not in self.captions:
            raise UsageError(f"{self.name} has no captions in {language!r}; it has {' '.join(self.languages)}")
        texts: list[str] = []
        owners: list[int] = []
        own = self.captions[language]
        for row, image in enumerate(self.images):
            of_image = own.get(image.id, ())
            kept = of_image[:1] if protocol == FIRST_CAPTION else of_image
            texts += kept
            owners += [row] * len(kept)
        return LanguageCaptions(language, tuple(texts), tuple(owners))

    def per_image(self, language: str) -> float:
        """Return the mean number of captions of the images that have one in this language."""
        counts = [len(texts) for texts in self.captions[language].values()]
        return sum(counts) / max(1, len(counts))

    def without(self, gone: Container[str], reason: str) -> CaptionSet:
        """Return the set without the images of these ids, counted in ``left_out`` under ``reason``."""
        kept = tuple(image for image in self.images if image.id not in gone)
        if len(kept) == len(self.images):
            return self
        ids = {image.id for image in kept}
        captions = {
            language: left
            for language, own in self.captions.items()
            if (left := {name: texts for name, texts in own.items() if name in ids})
        }
        count = self.left_out.get(reason, 0) + len(self.images) - len(kept)
        return replace(self, images=kept, captions=captions, left_out={**self.left_out, reason: count})


def choose_languages(caption_set: CaptionSet, requested: Sequence[str]) -> tuple[str, ...]:
    """Return the set's codes for the requested languages; all of the set's languages if none is requested.

    ``zh`` matches ``zh-Hans`` if the set has no other Chinese. ``quy`` never matches ``quz``.
    """
    if not requested:
        return caption_set.languages
    chosen: list[str] = []
    for code in requested:
        primary = code.partition("-")[0]
        if code in caption_set.captions:
            matches = [code]
        else:
            matches = [one for one in caption_set.languages if one.partition("-")[0] == primary]
        if len(matches) != 1:
            has = f"{' and '.join(matches)}; name one" if matches else f"{' '.join(caption_set.languages)}"
            raise UsageError(f"{caption_set.name} has no captions in {code!r}: it has {has}")
        chosen += matches
    return tuple(dict.fromkeys(chosen))
