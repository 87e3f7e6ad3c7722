"""Images from captions files and webdataset shards, with captions and values that a filter can compare."""

from __future__ import annotations

import json
import math
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kivuko.datasets.captions import CaptionSet, is_caption_spec
from kivuko.datasets.captions.formats import path_of
from kivuko.datasets.captions.own_files import CaptionLine, caption_lines
from kivuko.datasets.captions.webdataset import Sample, samples
from kivuko.errors import DataError
from kivuko.search.items import FilePlace, Skip, Value, Work
from kivuko.streams import COMPRESSED, plain_name

_LONGEST = 20_000  # letters of one value
_MOST = 200  # values of one image
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,14}")
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]{0,14})\.[0-9]{1,17}([eE][-+]?[0-9]{1,3})?")


def clean_metadata(found: Mapping[Any, Any]) -> dict[str, Value]:
    """Return names and plain values; lists and objects become JSON text, what is too long is cut."""
    return {str(name)[:200]: _value(value) for name, value in list(found.items())[:_MOST] if name is not None}


def number_or_text(text: str) -> Value:
    """Read a cell of a table: a number if it is written as one (``1998``, ``0.5``, not ``007``), else the text."""
    if _WHOLE.fullmatch(text):
        return int(text)
    if _DECIMAL.fullmatch(text) and math.isfinite(number := float(text)):
        return number
    return text[:_LONGEST]


def clean_caption(text: Any) -> str | None:
    """Return a caption on one line, the first of a list or of an object of languages; None if there is none."""
    if isinstance(text, dict):
        text = next(iter(text.values()), None)
    if isinstance(text, list):
        text = next(iter(text), None)
    if not isinstance(text, str):
        return None
    return " ".join(text.encode("utf-8", "replace").decode("utf-8").split())[:_LONGEST] or None


def _value(value: Any) -> Value:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")[:_LONGEST]
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value if abs(value) < 1 << 53 else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return json.dumps(value, ensure_ascii=True)[:_LONGEST]


class CaptionsSource:
    """Images named in a captions file, see ``kivuko.datasets.captions.own_files``; paths are relative to its folder.

    All columns but those of the image and its caption are metadata.

    Raises:
        DataError: no column for the image.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(os.path.realpath(path))
        next(self._lines(), None)  # so that a file without a column for the image is refused at once

    def describe(self) -> Mapping[str, str]:
        """See Source."""
        return {"kind": "captions", "path": str(self.path)}

    def count(self) -> int | None:
        """See Source."""
        if self.path.suffix.lower() in COMPRESSED:
            return None
        with self.path.open("rb") as stream:
            return sum(block.count(b"\n") for block in iter(lambda: stream.read(1 << 20), b""))

    def __iter__(self) -> Iterator[Work | Skip]:
        table = plain_name(self.path.name).lower().endswith((".tsv", ".csv"))
        for line in self._lines():
            place, named = f"{self.path.name}:{line.number}", line.image
            if line.fault:
                yield Skip(place, "line not understood", line.fault)
            elif not isinstance(named, str) or not named or "\0" in named:
                yield Skip(place, "line not understood", "it names no image")
            else:
                rest = {name: number_or_text(cell) for name, cell in line.metadata.items()} if table else line.metadata
                yield self._work(named, clean_caption(line.caption), clean_metadata(rest))

    def _lines(self) -> Iterator[CaptionLine]:
        return caption_lines(self.path, lenient=True)

    def _work(self, named: str, caption: str | None, metadata: Mapping[str, Value]) -> Work | Skip:
        path = Path(os.path.normpath(self.path.parent / named))
        inside = path.is_relative_to(self.path.parent)
        key = (path.relative_to(self.path.parent) if inside else path).as_posix()
        key = key.encode("utf-8", "backslashreplace").decode()
        try:
            state = path.stat()
        except FileNotFoundError:
            return Skip(key, "missing", f"named in {self.path.name}")
        except (OSError, ValueError) as problem:
            return Skip(key, "cannot be read", str(getattr(problem, "strerror", None) or problem))
        if not stat.S_ISREG(state.st_mode):
            return Skip(key, "not a regular file")
        return Work(key, FilePlace(str(path)), state.st_size, state.st_mtime_ns, caption, metadata)


class DatasetSource:
    """The images of a caption set; key: their ids, caption: the first in English or in the set's first language.

    Args:
        spec: the data set's name, which identifies the source.
    """

    def __init__(self, caption_set: CaptionSet, spec: str) -> None:
        self._set = caption_set
        self.path = f"{spec.partition(':')[0]}:{os.path.realpath(path_of(spec))}" if is_caption_spec(spec) else spec

    def describe(self) -> Mapping[str, str]:
        """See Source."""
        return {"kind": "dataset", "path": self.path}

    def count(self) -> int | None:
        """See Source."""
        return len(self._set.images)

    def __iter__(self) -> Iterator[Work | Skip]:
        by_language = [self._set.captions.get("en", {}), *self._set.captions.values()]
        for image in self._set.images:
            if image.path is None or not image.path.is_file():
                yield Skip(image.id, "missing", image.named)
                continue
            state = image.path.stat()
            place = FilePlace(str(image.path), image.offset, image.length)
            size = state.st_size if image.length is None else image.length
            caption = next((clean_caption(own[image.id][0]) for own in by_language if image.id in own), None)
            yield Work(image.id, place, size, state.st_mtime_ns, caption)


class ShardSource:
    """One webdataset shard, a ``.tar`` file, read in place: every image of it, with its sample's caption."""

    def __init__(self, path: Path) -> None:
        self.path = Path(os.path.realpath(path))

    def describe(self) -> Mapping[str, str]:
        """See Source."""
        return {"kind": "shard", "path": str(self.path)}

    def count(self) -> int | None:
        """See Source: not known before all of it is read."""
        return None

    def __iter__(self) -> Iterator[Work | Skip]:
        try:
            modified = self.path.stat().st_mtime_ns
            for sample in samples(self.path):
                yield from self._sample(sample, modified)
        except (DataError, OSError) as problem:
            yield Skip(self.path.name, "damaged shard", f"{problem}; what came before it is kept")

    def _sample(self, sample: Sample, modified: int) -> Iterator[Work | Skip]:
        for name in sample.refused:
            yield Skip(self._key(name), "not a regular file")
        if not sample.images:
            yield Skip(self._key(sample.first), "sample without an image")
        try:
            metadata = sample.metadata()
        except (ValueError, RecursionError):
            metadata = {}
        texts = [content for rest, content in sample.texts.items() if not rest.endswith("json")]
        caption = clean_caption(texts[-1].decode("utf-8", "replace") if texts else metadata.get("caption"))
        rest = clean_metadata({name: value for name, value in metadata.items() if name != "caption"})
        for image in sample.images:
            place = FilePlace(str(self.path), image.offset, image.length)
            yield Work(self._key(image.name), place, image.length, modified, caption, rest)

    def _key(self, member: str) -> str:
        return f"{self.path.name}/{os.path.normpath('/' + member).lstrip('/')}"
