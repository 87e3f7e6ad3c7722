"""Putting a caption set together while its files are read: every reader's last step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from kivuko.datasets.captions.caption_set import CaptionSet, Picture
from kivuko.errors import DataError, UsageError
from kivuko.languages import language
from kivuko.wording import counted

# What sets write, where that is no BCP 47 code.
_OWN_CODES = {"jp": "ja", "cn": "zh", "en-us": "en", "eng": "en"}
BLANK = "blank caption"


@dataclass
class Gathering:
    """Pictures and captions gathered so far."""

    pictures: dict[str, Picture] = field(default_factory=dict)
    captions: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    files: dict[Path, None] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)

    def add_picture(self, picture: Picture) -> None:
        """Take in a picture; one known already stays as it is.

        Raises:
            DataError: its name is no text that can be written again.
        """
        if not _writable(picture.id):
            shown = picture.named.encode("utf-8", "backslashreplace").decode()
            raise DataError(f"{shown}: the picture's name is no text (half of a surrogate pair); name it in UTF-8")
        self.pictures.setdefault(picture.id, picture)

    def add_captions(self, picture: str, code: str, texts: Iterable[Any], place: str) -> None:
        """Take in one picture's captions in one language; blank ones are counted.

        Args:
            picture: id of a picture taken in before.
            code: as ``code_of`` returns it.
            place: where they stand, for what goes wrong.

        Raises:
            DataError: a caption that is no text.
        """
        for text in texts:
            if not isinstance(text, str):
                raise DataError(f"{place}: a caption of {picture!r} in {code} is no text but {_shown(text)}")
            clean = " ".join(text.encode("utf-8", "replace").decode("utf-8").split())
            if clean:
                self.captions.setdefault(code, {}).setdefault(picture, []).append(clean)
            else:
                self.left_out[BLANK] += 1

    def finish(
        self, name: str, split: str, place: Path, notes: Iterable[str] = (), gallery: Literal["set", "language"] = "set"
    ) -> CaptionSet:
        """Return the set.

        Raises:
            DataError: no picture, or no caption.
        """
        if not self.pictures:
            raise DataError(f"{place}: names no picture of the split {split!r}; check the path and --split")
        if not self.captions:
            raise DataError(
                f"{place}: holds no caption for its {counted(len(self.pictures), 'picture')}; check the path"
            )
        return CaptionSet(
            name=name,
            split=split,
            pictures=tuple(self.pictures.values()),
            captions={
                code: {picture: tuple(texts) for picture, texts in own.items()} for code, own in self.captions.items()
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
