"""From rows of images and captions, which every reader of a set yields, to a ``CaptionSet``."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from kivuko.datasets.captions.caption_set import CaptionSet, Image
from kivuko.errors import DataError, UsageError
from kivuko.languages import language
from kivuko.text import pluralize

BLANK = "blank caption"
# Codes that some sets write and that are not BCP 47.
_OWN_CODES = {"jp": "ja", "cn": "zh", "en-us": "en", "eng": "en"}


@dataclass(frozen=True, kw_only=True)
class Request:
    """The parts of ``NAME:PATH[,IMAGES][@PART]`` and the options that go with it."""

    path: Path
    images: Path | None = None  # folder of the images, if not the set's own
    part: str | None = None  # such as Multi30k's ``test_2017_flickr``
    split: str = "test"  # "test" or "validation"
    language: str | None = None  # code of the captions if the files do not say


@dataclass(frozen=True)
class CaptionFormat:
    """A published set or a file format that ``NAME:PATH`` opens."""

    name: str
    read: Callable[[Request], CaptionSet]
    splits: tuple[str, ...] = ("test",)
    with_parts: bool = False  # ``@PART`` may follow the path
    own: bool = False  # a user's own files, of which there are many under one name


class Row(NamedTuple):
    """One image and its captions, as a file gives them."""

    place: str  # ``file:line``, for messages
    image: str  # the id
    names: Sequence[str]  # possible paths below the folder of images, the most likely first
    captions: Iterable[tuple[str | None, Iterable[Any]]] = ()  # language as written, None if not given
    shown: str = ""  # the image's name in messages, if not its id


@dataclass
class SetBuilder:
    """Collects images and captions."""

    folder: ImageFolder | None = None  # None if the images are not files of their own
    language: str | None = None  # code for captions whose language is not given
    files: list[Path] = field(default_factory=list)
    images: dict[str, Image] = field(default_factory=dict)
    captions: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    _codes: dict[str, str] = field(default_factory=dict)

    def add(self, rows: Iterable[Row]) -> None:
        """Add the images of rows, each once, and their captions."""
        for row in rows:
            if row.image not in self.images:
                path = self.folder.find(*row.names) if self.folder else None
                self.add_image(Image(row.image, path, f"{row.shown or row.image} ({row.place})"))
            for written, texts in row.captions:
                self.add_captions(row.image, written, texts, row.place)

    def add_image(self, image: Image) -> None:
        """Add an image; the first one of an id is kept."""
        try:
            image.id.encode("utf-8")
        except UnicodeEncodeError:
            shown = image.named.encode("utf-8", "backslashreplace").decode()
            raise DataError(
                f"{shown}: the image's name is no text (half of a surrogate pair); name it in UTF-8"
            ) from None
        self.images.setdefault(image.id, image)

    def add_captions(self, image: str, written: str | None, texts: Iterable[Any], place: str) -> int:
        """Add one image's captions in one language, as the file writes it; return how many were not blank."""
        code, count = self._code(written, place), 0
        for text in texts:
            if not isinstance(text, str):
                raise DataError(f"{place}: a caption of {image!r} in {code} is no text but {repr(text)[:60]}")
            clean = " ".join(text.encode("utf-8", "replace").decode("utf-8").split())
            if clean:
                self.captions.setdefault(code, {}).setdefault(image, []).append(clean)
                count += 1
            else:
                self.left_out[BLANK] += 1
        return count

    def drop_images_without_captions(self) -> None:
        """Remove images that no caption belongs to: no language would search them."""
        described = {image for own in self.captions.values() for image in own}
        self.images = {name: image for name, image in self.images.items() if name in described}

    def build(
        self, name: str, split: str, place: Path, notes: Iterable[str] = (), gallery: Literal["set", "language"] = "set"
    ) -> CaptionSet:
        if not self.images:
            raise DataError(f"{place}: names no image of the split {split!r}; check the path and --split")
        if not self.captions:
            raise DataError(f"{place}: holds no caption for its {pluralize(len(self.images), 'image')}; check the path")
        captions = {code: {image: tuple(texts) for image, texts in own.items()} for code, own in self.captions.items()}
        return CaptionSet(
            name, split, tuple(self.images.values()), captions, tuple(dict.fromkeys(self.files)), tuple(notes),
            dict(self.left_out), gallery,
        )  # fmt: skip

    def _code(self, written: str | None, place: str) -> str:
        written = written or self.language
        if written is None:
            raise UsageError(f"{place}: does not say its language; name it: -l sw (or add it to the file)")
        return self._codes.get(written) or self._codes.setdefault(written, code_of(written, place))


def code_of(written: str, place: str) -> str:
    """Return the BCP 47 code of a language as a set writes it: ``jp`` is ``ja``, ``swh_Latn`` is ``sw``."""
    tag = _OWN_CODES.get(written.strip().lower(), written.strip().replace("_", "-"))
    try:
        known = language(tag)
        primary = language(known.code.partition("-")[0])
    except UsageError as problem:
        raise DataError(f"{place}: {problem}") from problem
    return primary.code if known.code == f"{primary.code}-{primary.script}" else known.code


def as_texts(value: Any) -> list[Any]:
    """Return captions given as one text, as a list, or not at all, as a list."""
    return list(value) if isinstance(value, list) else [] if value is None else [value]


class ImageFolder:
    """A folder in which images are looked up by path, or by name at any depth.

    It is walked once, and only if an image is not at its path. Hidden folders and links to folders are skipped.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_dir():
            raise DataError(f"{path}: no such folder of images; check the path")
        self.path = path
        self._by_name: dict[str, list[str]] | None = None

    def find(self, *names: str) -> Path | None:
        """Return the first image that has one of these paths or else names, or None."""
        names = tuple(name for name in names if _is_name(name))
        for name in names:
            place = self.path / name
            if _is_file(place):
                return place
        for name in names:
            if places := self._index().get(Path(name).name):
                if len(places) > 1:
                    raise DataError(
                        f"{self.path}: holds two images named {Path(name).name}: {places[0]} and {places[1]}; "
                        "name the folder of this set's own images after a comma"
                    )
                return self.path / places[0]
        return None

    def _index(self) -> dict[str, list[str]]:
        if self._by_name is None:
            self._by_name = {}
            for folder, inside, files in os.walk(self.path):
                inside[:] = sorted(name for name in inside if not name.startswith("."))
                below = os.path.relpath(folder, self.path)
                for name in files:
                    where = name if below == "." else f"{below}/{name}"
                    self._by_name.setdefault(name, []).append(where)
        return self._by_name


def _is_name(name: str) -> bool:
    try:
        return 0 < len(os.fsencode(name)) < 4096 and "\0" not in name
    except UnicodeEncodeError:  # half of a surrogate pair, as JSON may hold
        return False


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file system takes
        return False
