"""Sources of images: folders, captions files, webdataset shards, the emoji world."""

from __future__ import annotations

import json
import math
import os
import re
import sqlite3
import stat
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from kivuko.datasets.captions.caption_set import CaptionSet, find_file
from kivuko.datasets.captions.formats import is_caption_spec, path_of
from kivuko.datasets.captions.own_files import CAPTION_COLUMNS, CaptionLine, caption_lines, is_captions_file
from kivuko.datasets.captions.webdataset import (
    APART,
    NO_IMAGE,
    NO_SAMPLE,
    Description,
    Member,
    dots_note,
    find_shards,
    is_pattern,
    refuse_packed,
    samples,
)
from kivuko.datasets.spec import EMOJI, open_dataset
from kivuko.errors import DataError, UsageError
from kivuko.progress import note
from kivuko.search.decoding import as_png
from kivuko.search.items import FilePlace, Skip, Source, Value, Work
from kivuko.search.store import DATABASE, OLD_DATABASE
from kivuko.streams import COMPRESSED, plain_name
from kivuko.text import single_spaced

if TYPE_CHECKING:
    from kivuko.datasets.emoji.world import EmojiWorld

_IN_MEMORY = 20_000  # names of one folder; more of them are sorted on disk
_LONGEST = 20_000  # characters of one value
_MOST = 200  # values of one image
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,14}")
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]{0,14})\.[0-9]{1,17}([eE][-+]?[0-9]{1,3})?")


def open_sources(path: Path) -> list[Source]:
    """Return the source at a path, see ``open_source``, or the shards that a pattern such as ``{00..09}.tar`` names."""
    named = [path] if path.exists() or not is_pattern(str(path)) else find_shards(str(path))
    return [open_source(one) for one in named]


def open_source(path: Path) -> Source:
    """Return the source at a path: a folder, a ``.tar`` shard, or a captions file (TSV, CSV, JSONL)."""
    if not path.exists():
        raise DataError(f"{path}: no such folder or file.")
    if not os.access(path, os.R_OK):
        raise DataError(f"{path}: cannot be read (no permission).")
    if path.is_dir():
        return FolderSource(path)
    if not path.is_file():
        raise UsageError(f"{path}: neither a folder nor a regular file.")
    ending = path.suffix.lower()
    if ending == ".tar":
        return ShardSource(path)
    if is_captions_file(path):
        return CaptionsSource(path)
    if path.name.lower().endswith((".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")):
        raise UsageError(f"{path}: a compressed shard cannot be read in any order; unpack it to .tar first.")
    kinds = "a folder of images, a captions file (.tsv, .csv, .jsonl) or a shard (.tar)"
    raise UsageError(f"{path}: not a source of images. Name {kinds}.")


def open_dataset_source(
    spec: str, *, cldr: Path | None = None, font: Path | None = None, progress: bool | None = None
) -> Source:
    """Return the images of a data set, see ``open_dataset``, as a source."""
    # The language has no effect here, but a captions file without a language column needs one.
    languages = () if spec == EMOJI else ("en",)
    dataset = open_dataset(spec, languages=languages, cldr=cldr, font=font, progress=progress)
    if isinstance(dataset, CaptionSet):
        return DatasetSource(dataset, spec)
    if spec == EMOJI:
        return EmojiSource(cast("EmojiWorld", dataset))
    raise UsageError(f"{spec}: a data set of texts, which has no images to index.")


class FolderSource:
    """All regular files below a folder, without hidden files and indexes; images are recognized by content.

    Links to files are followed, links to folders are not, so there are no loops.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(os.path.realpath(path))

    def describe(self) -> Mapping[str, str]:
        return {"kind": "folder", "path": str(self.path)}

    def count(self) -> int | None:
        total, waiting = 0, [os.fsencode(self.path)]
        while waiting:
            try:
                with os.scandir(waiting.pop()) as entries:
                    for entry in entries:
                        if entry.name.startswith(b"."):
                            continue
                        if entry.is_dir(follow_symlinks=False):
                            waiting.append(entry.path)
                        else:
                            total += 1
            except OSError:
                continue  # the walk itself reports it
        return total

    def __iter__(self) -> Iterator[Work | Skip]:
        open_folders = [self._sorted(b"")]  # a stack, not recursion: folders may be nested deeper than Python calls
        while open_folders:
            entry = next(open_folders[-1], None)
            if entry is None:
                open_folders.pop()
            elif isinstance(entry, bytes):
                open_folders.append(self._sorted(entry))
            else:
                yield entry

    def _sorted(self, folder: bytes) -> Iterator[Work | Skip | bytes]:
        """Yield the entries of one folder by name; a subfolder as its path relative to the source."""
        place = os.path.join(os.fsencode(self.path), folder)  # noqa: PTH118  (paths that are no UTF-8 stay bytes)
        try:
            if any(os.path.exists(os.path.join(place, name.encode())) for name in (DATABASE, OLD_DATABASE)):  # noqa: PTH110, PTH118
                return
            for name in _names_in_order(place):
                relative = folder + b"/" + name if folder else name
                yield from self._entry(relative)
        except OSError as problem:
            yield Skip(_shown(folder) or ".", "cannot be read", str(problem.strerror or problem))

    def _entry(self, relative: bytes) -> Iterator[Work | Skip | bytes]:
        path, key = os.path.join(os.fsencode(self.path), relative), _shown(relative)  # noqa: PTH118
        try:
            state = os.lstat(path)
            linked = stat.S_ISLNK(state.st_mode)
            if linked:
                state = os.stat(path)  # noqa: PTH116
        except OSError as problem:
            yield Skip(key, "broken link" if os.path.islink(path) else "cannot be read", str(problem.strerror))  # noqa: PTH114
            return
        if stat.S_ISDIR(state.st_mode):
            if linked:
                yield Skip(key, "link to a folder", "not followed")
            else:
                yield relative
        elif not stat.S_ISREG(state.st_mode):
            yield Skip(key, "not a regular file")
        elif key.lower().endswith(".tar"):
            yield Skip(key, "webdataset shard (name it as a source of its own)", "or all of a folder: 'FOLDER/*.tar'")
        elif is_captions_file(Path(key)):
            yield Skip(key, "captions file", "name it as a source of its own, for images with their captions")
        else:
            yield Work(key, FilePlace(os.fsdecode(path)), state.st_size, state.st_mtime_ns)


class CaptionsSource:
    """Images of a captions file, with paths relative to its folder; further columns are metadata."""

    def __init__(self, path: Path) -> None:
        self.path = Path(os.path.realpath(path))
        next(self._lines(), None)  # a file without a column for the image is refused at once

    def describe(self) -> Mapping[str, str]:
        return {"kind": "captions", "path": str(self.path)}

    def count(self) -> int | None:
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
                if isinstance(line.caption, bool | int):
                    yield Skip(place, "caption is no text", "the image is kept")

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
            if other := find_file(self.path.parent, named):
                return self._work(str(other), caption, metadata)
            return Skip(key, "missing", f"named in {self.path.name}")
        except (OSError, ValueError) as problem:
            return Skip(key, "cannot be read", str(getattr(problem, "strerror", None) or problem))
        if not stat.S_ISREG(state.st_mode):
            return Skip(key, "not a regular file")
        return Work(key, FilePlace(str(path)), state.st_size, state.st_mtime_ns, caption, metadata)


class DatasetSource:
    """Images of a caption set; key: the id, caption: the first in English or in the set's first language."""

    def __init__(self, caption_set: CaptionSet, spec: str) -> None:
        self._set = caption_set
        self.path = f"{spec.partition(':')[0]}:{os.path.realpath(path_of(spec))}" if is_caption_spec(spec) else spec

    def describe(self) -> Mapping[str, str]:
        return {"kind": "dataset", "path": self.path}

    def count(self) -> int | None:
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
    """Images of a webdataset shard, a ``.tar`` file, with the captions of their samples; read in place."""

    def __init__(self, path: Path) -> None:
        self.path = Path(os.path.realpath(path))
        refuse_packed(self.path)

    def describe(self) -> Mapping[str, str]:
        return {"kind": "shard", "path": str(self.path)}

    def count(self) -> int | None:
        return None  # not known before all of it is read

    def __iter__(self) -> Iterator[Work | Skip]:
        dotted, sample = False, None
        try:
            modified = self.path.stat().st_mtime_ns
            for sample in samples(self.path):
                for one in sample.captioned():
                    if one.own and not dotted:
                        dotted = True
                        note(f"{self.path.name}: {dots_note(one.image, sample)}")
                    described = one.read()
                    yield self._work(one.image, described, modified)
                    for reason in described.faults:
                        yield Skip(self._key(f"{one.key}.*"), reason, "the image is kept")
                for name, reason in sample.refused.items():
                    yield Skip(self._key(name), reason)
                if not (sample.images or sample.refused):
                    yield Skip(self._key(sample.first), APART if sample.apart else NO_IMAGE)
            if sample is None:
                yield Skip(self.path.name, NO_SAMPLE)
        except (DataError, OSError) as problem:
            reason = "shard that cannot be read (fetch it again)" if sample is None else "damaged shard"
            yield Skip(self.path.name, reason, f"{problem}; what could be read is kept")

    def _work(self, image: Member, described: Description, modified: int) -> Work:
        captions: dict[str | None, list[Any]] = dict(reversed(described.captions))
        texts = captions.get("en") or next(reversed(captions.values()), [])
        caption = next(filter(None, map(clean_caption, texts)), None)
        rest = {name: value for name, value in described.metadata.items() if name not in CAPTION_COLUMNS[:2]}
        place = FilePlace(str(self.path), image.offset, image.length)
        return Work(self._key(image.name), place, image.length, modified, caption, clean_metadata(rest))

    def _key(self, member: str) -> str:
        return f"{self.path.name}/{os.path.normpath('/' + member).lstrip('/')}"


class EmojiSource:
    """Images of an emoji world; key: the emoji, caption: its English name, metadata: keywords and split."""

    def __init__(self, world: EmojiWorld) -> None:
        self._world = world

    def describe(self) -> Mapping[str, str]:
        return {"kind": "emoji", "path": "emoji"}

    def count(self) -> int | None:
        return len(self._world.images)

    def __iter__(self) -> Iterator[Work | Skip]:
        english = self._world.annotations["en"]
        split = {one.sequence: one.split for one in self._world.emoji}
        drawn = int(self._world.fingerprint[:15] or "0", 16)  # in place of a file's modification time
        for row, sequence in enumerate(self._world.image_sequences):
            annotation = english[sequence]
            metadata = {"keywords": ", ".join(annotation.keywords), "split": split[sequence]}
            yield Work(sequence, as_png(self._world.image(row)), row, drawn, annotation.name, metadata)


def _shown(path: bytes) -> str:
    """Return a path as text for SQLite and JSON, also if it is not UTF-8."""
    return path.decode("utf-8", "backslashreplace")


def _names_in_order(folder: bytes) -> Iterator[bytes]:
    """Yield the names in a folder, without hidden ones, sorted as bytes; a great many are sorted on disk."""
    with os.scandir(folder) as entries:
        names: list[bytes] = []
        spilled: sqlite3.Connection | None = None
        try:
            for entry in entries:
                if entry.name.startswith(b"."):
                    continue
                names.append(entry.name)
                if len(names) >= _IN_MEMORY:
                    if spilled is None:
                        spilled = sqlite3.connect("", isolation_level=None)  # a temporary file of SQLite's own
                        spilled.execute("CREATE TABLE names(name BLOB PRIMARY KEY) WITHOUT ROWID")
                        spilled.execute("BEGIN")
                    _spill(spilled, names)
            if spilled is None:
                yield from sorted(names)
                return
            _spill(spilled, names)
            for (name,) in spilled.execute("SELECT name FROM names ORDER BY name"):
                yield name
        finally:
            if spilled is not None:
                spilled.close()


def _spill(spilled: sqlite3.Connection, names: list[bytes]) -> None:
    spilled.executemany("INSERT OR IGNORE INTO names VALUES (?)", ((name,) for name in names))
    names.clear()


def clean_metadata(fields: Mapping[Any, Any]) -> dict[str, Value]:
    """Return names and plain values; lists and objects become JSON text, long values are cut."""
    named = ((str(name).encode("utf-8", "replace").decode("utf-8")[:200], value) for name, value in fields.items())
    return {name: _value(value) for name, value in islice(named, _MOST)}


def number_or_text(text: str) -> Value:
    """Read a cell of a table: as a number if written as one (``1998``, ``0.5``, not ``007``), else as text."""
    if _WHOLE.fullmatch(text):
        return int(text)
    if _DECIMAL.fullmatch(text) and math.isfinite(number := float(text)):
        return number
    return text[:_LONGEST]


def clean_caption(text: Any) -> str | None:
    """Return a caption on one line, the first of a list that is not blank, or of an object; None if there is none."""
    if isinstance(text, dict):
        text = next(iter(text.values()), None)
    if isinstance(text, list):
        return next(filter(None, map(clean_caption, text)), None)
    if not isinstance(text, str):
        return None
    return single_spaced(text.encode("utf-8", "replace").decode("utf-8"))[:_LONGEST] or None


def _value(value: Any) -> Value:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")[:_LONGEST]
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value if abs(value) < 1 << 53 else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace").decode("utf-8")[:_LONGEST]
