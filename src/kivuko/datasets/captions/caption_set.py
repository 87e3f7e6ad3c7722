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
    """One image and the place of its bytes.

    ``id`` is unique in its set. ``path``: the file, or the tar shard that holds its ``length`` bytes from ``offset``
    on; None if the set's folder has no such image. ``named``: its name and where the set gives it, for messages.
    """

    id: str
    path: Path | None
    named: str
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
    """One split of a set of images with captions.

    Attributes:
        name: short name for records, such as "xm3600".
        split: the set's own name of the split.
        images: in the set's order, each once.
        captions: language (BCP 47) to image id to its captions, at least one, in the set's order, none blank.
        files: the files of captions that were read; their checksums identify the edition of the set.
        notes: caveats for figures on this set, one line each.
        left_out: numbers of what was left out, by reason.
        gallery: "set": every language searches all images; "language": each searches those that it has captions for.
    """

    name: str
    split: str
    images: tuple[Image, ...]
    captions: Mapping[str, Mapping[str, tuple[str, ...]]]
    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    gallery: Literal["set", "language"] = "set"

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages that have captions, in the set's order."""
        return tuple(self.captions)

    def of(self, language: str, protocol: str = EVERY_CAPTION) -> LanguageCaptions:
        """Return one language's captions: all of them, or the first of each image.

        Raises:
            UsageError: a language without captions, or no such protocol.
        """
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
        """Return the set without the images of these ids, counted in ``left_out`` under ``reason``.

        Languages that have no caption left are removed.
        """
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

    Raises:
        UsageError: the set does not have a language, or has several variants of it.
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
