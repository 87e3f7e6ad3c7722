"""An image-caption set: images, and per language the captions that people wrote for them; and how readers build one."""

import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple, Self

from kivuko.errors import DataError, UsageError
from kivuko.languages import language
from kivuko.text import pluralize, single_spaced

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

    def without(self, gone: Container[str], reason: str) -> Self:
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


# What the readers of a set share: from rows of images and captions to a set.

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


class ImageFolder:
    """A folder in which images are looked up by path, or at any depth by name and the folders that both paths name.

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
        for form in (form for name in names for form in (name, *spellings(name))):
            path = self.path / form
            if _is_file(path):
                return path
            places = [place for place in self._index().get(PurePosixPath(form).name, ()) if _fits(place, form)]
            if places:
                if len(places) > 1:
                    raise DataError(
                        f"{self.path}: holds two images named {Path(form).name}: {places[0]} and {places[1]}; "
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


def spellings(name: str) -> Iterator[str]:
    """Yield the other forms in which a file system may have a path.

    They are: with slashes for the backslashes of Windows and no space around it, in Unicode NFC or NFD (as macOS stores
    names), and with its ending in small or capital letters.
    """
    plain = name.strip().replace("\\", "/")
    forms = dict.fromkeys([plain, *(unicodedata.normalize(form, plain) for form in ("NFC", "NFD"))])
    for form in [*forms]:
        stem, dot, ending = form.rpartition(".")
        forms |= dict.fromkeys([f"{stem}{dot}{ending.lower()}", f"{stem}{dot}{ending.upper()}"])
    yield from (form for form in forms if form not in ("", name))


def find_file(folder: Path, name: str) -> Path | None:
    """Return the file of a path below a folder in another of its ``spellings``, or None."""
    return next((place for form in spellings(name) if _is_file(place := folder / form)), None)


def _fits(place: str, name: str) -> bool:
    """Return True if one of two paths is the end of the other; ``train/1.jpg`` is not ``test/1.jpg``.

    ``images/`` counts for nothing, because captions are written with and without it.
    """
    folders = zip(*(reversed(PurePosixPath(one.removeprefix("images/")).parts) for one in (place, name)), strict=False)
    return all(here == there for here, there in folders)


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
            if text is None or text != text:  # null, or NaN as pandas writes what is missing
                text = ""
            if not isinstance(text, str):
                raise DataError(f"{place}: a caption of {image!r} in {code} is no text but {repr(text)[:60]}")
            clean = single_spaced(text.encode("utf-8", "replace").decode("utf-8"))
            if clean:
                self.captions.setdefault(code, {}).setdefault(image, []).append(clean)
                count += 1
            else:
                self.left_out[BLANK] += 1
        return count

    def build(
        self, name: str, split: str, place: Path, notes: Iterable[str] = (), gallery: Literal["set", "language"] = "set"
    ) -> CaptionSet:
        reasons = ", ".join(f"{reason}: {count:,}" for reason, count in self.left_out.items())
        seen = f" (left out, {reasons})" if reasons else ""
        if not self.images:
            raise DataError(f"{place}: names no image of the split {split!r}{seen}; check the path and --split")
        if not self.captions:
            images = pluralize(len(self.images), "image")
            raise DataError(f"{place}: holds no caption for its {images}{seen}; check the path")
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
