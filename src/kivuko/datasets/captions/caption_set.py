"""An image-caption set: images, and per language the captions that people wrote for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from kivuko.errors import DataError, UsageError
from kivuko.languages import language
from kivuko.text import pluralize

EVERY_CAPTION, FIRST_CAPTION = "every-caption", "first-caption"
PROTOCOLS = (EVERY_CAPTION, FIRST_CAPTION)


@dataclass(frozen=True, slots=True)
class Image:
    """One image: where its bytes lie.

    ``id`` tells it from the others of its set. ``path``: the file, or the tar shard that holds its ``length`` bytes
    from ``offset`` on; None where the set's folder holds no such image. ``named``: where the set names it, and how.
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
    """A set as it lies on disk, one split of it.

    Attributes:
        name: short name, as records have it: "xm3600".
        split: which part of the set this is, in the set's own words.
        images: in the set's order, each once.
        captions: language (BCP 47) to image id to its captions, at least one, in the set's order, none blank.
        files: the files of captions that were read; their checksums tell one edition of a set from another.
        notes: what a reader of figures on this set must know; one line each.
        left_out: what is not in it and why, counted.
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
            found = own.get(image.id, ())
            kept = found[:1] if protocol == FIRST_CAPTION else found
            texts += kept
            owners += [row] * len(kept)
        return LanguageCaptions(language, tuple(texts), tuple(owners))

    def per_image(self, language: str) -> float:
        """Return the mean number of captions of the images that have one in this language."""
        counts = [len(found) for found in self.captions[language].values()]
        return sum(counts) / max(1, len(counts))

    def without(self, gone: Container[str], reason: str) -> CaptionSet:
        """Return the set without some images, named by id, and their captions; they are counted under ``reason``.

        A language whose captions are all gone is gone too.
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


def choose_languages(caption_set: CaptionSet, wanted: Sequence[str]) -> tuple[str, ...]:
    """Return the set's codes for the languages wanted; all of the set's where none is named.

    ``zh`` finds ``zh-Hans`` where the set has no other Chinese. Languages of one group are not taken for each other:
    ``quy`` does not find ``quz``.

    Raises:
        UsageError: a language that the set does not have, or of which it has several.
    """
    if not wanted:
        return caption_set.languages
    chosen: list[str] = []
    for code in wanted:
        primary = code.partition("-")[0]
        if code in caption_set.captions:
            found = [code]
        else:
            found = [one for one in caption_set.languages if one.partition("-")[0] == primary]
        if len(found) != 1:
            has = f"{' and '.join(found)}; name one" if found else f"{' '.join(caption_set.languages)}"
            raise UsageError(f"{caption_set.name} has no captions in {code!r}: it has {has}")
        chosen += found
    return tuple(dict.fromkeys(chosen))


# What sets write, where that is no BCP 47 code.
_OWN_CODES = {"jp": "ja", "cn": "zh", "en-us": "en", "eng": "en"}
BLANK = "blank caption"


@dataclass
class Gathering:
    """Images and captions gathered so far."""

    images: dict[str, Image] = field(default_factory=dict)
    captions: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    files: dict[Path, None] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)

    def add_image(self, image: Image) -> None:
        """Take in an image; one known already stays as it is.

        Raises:
            DataError: its name is no text that can be written again.
        """
        if not _writable(image.id):
            shown = image.named.encode("utf-8", "backslashreplace").decode()
            raise DataError(f"{shown}: the image's name is no text (half of a surrogate pair); name it in UTF-8")
        self.images.setdefault(image.id, image)

    def add_captions(self, image: str, code: str, texts: Iterable[Any], place: str) -> None:
        """Take in one image's captions in one language; blank ones are counted.

        Args:
            image: id of an image taken in before.
            code: as ``code_of`` returns it.
            place: where they stand, for what goes wrong.

        Raises:
            DataError: a caption that is no text.
        """
        for text in texts:
            if not isinstance(text, str):
                raise DataError(f"{place}: a caption of {image!r} in {code} is no text but {_shown(text)}")
            clean = " ".join(text.encode("utf-8", "replace").decode("utf-8").split())
            if clean:
                self.captions.setdefault(code, {}).setdefault(image, []).append(clean)
            else:
                self.left_out[BLANK] += 1

    def finish(
        self, name: str, split: str, place: Path, notes: Iterable[str] = (), gallery: Literal["set", "language"] = "set"
    ) -> CaptionSet:
        """Return the set.

        Raises:
            DataError: no image, or no caption.
        """
        if not self.images:
            raise DataError(f"{place}: names no image of the split {split!r}; check the path and --split")
        if not self.captions:
            raise DataError(f"{place}: holds no caption for its {pluralize(len(self.images), 'image')}; check the path")
        return CaptionSet(
            name=name,
            split=split,
            images=tuple(self.images.values()),
            captions={
                code: {image: tuple(texts) for image, texts in own.items()} for code, own in self.captions.items()
            },
            files=tuple(self.files),
            notes=tuple(notes),
            left_out=dict(self.left_out),
            gallery=gallery,
        )


def code_of(written: str, place: str) -> str:
    """Return the BCP 47 code of a language as a set writes it: ``jp`` is ``ja``, ``swh_Latn`` is ``sw``.

    The script is left off where it is the one that the language is usually written in.

    Raises:
        DataError: no such language; names ``place``.
    """
    tag = _OWN_CODES.get(written.strip().lower(), written.strip().replace("_", "-"))
    try:
        found = language(tag)
        primary = language(found.code.partition("-")[0])
    except UsageError as problem:
        raise DataError(f"{place}: {problem}") from problem
    return primary.code if found.code == f"{primary.code}-{primary.script}" else found.code


def as_texts(value: Any) -> list[Any]:
    """Return captions that stand as one text or as a list of them."""
    return list(value) if isinstance(value, list) else [] if value is None else [value]


def _writable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _shown(value: Any) -> str:
    return repr(value)[:60]


@dataclass(frozen=True, kw_only=True)
class Request:
    """One set to read.

    ``path``: the set's folder or file. ``images``: where its images lie, if not there. ``part``: one of several that
    a set has, such as Multi30k's ``test_2017_flickr``. ``split``: "test" or "validation". ``language``: code of the
    captions where the files do not say.
    """

    path: Path
    images: Path | None = None
    part: str | None = None
    split: str = "test"
    language: str | None = None
