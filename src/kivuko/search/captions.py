"""What a source says of an image beside its caption, brought to values that a filter can compare."""

from __future__ import annotations

import csv
import json
import math
import os
import re
import stat
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kivuko.errors import DataError
from kivuko.search.items import FilePlace, Skip, Value, Work

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
    """Return a caption on one line; None if there is none."""
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


CAPTION_ENDINGS = (".tsv", ".csv", ".jsonl")
_IMAGE_NAMES = ("image", "path", "file", "filename", "file_name", "filepath", "image_path")
_CAPTION_NAMES = ("caption", "text", "title", "description")
_LONGEST_LINE = 1 << 20


class CaptionsSource:
    """Images named in a file; paths are relative to its folder.

    ``.tsv``: ``path<TAB>caption``, or with a first line of column names. ``.csv``: with a first line of names.
    ``.jsonl``: one object a line. The image stands under ``image`` (or path, file, filename, file_name, filepath,
    image_path), its caption under ``caption`` (or text, title, description); everything else is metadata.

    Args:
        path: the file.

    Raises:
        DataError: no column for the image.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(os.path.realpath(path))
        self._kind = self.path.suffix.lower()
        if self._kind != ".jsonl":
            self._columns, self._first = self._read_columns()

    def describe(self) -> Mapping[str, str]:
        """See Source."""
        return {"kind": "captions", "path": str(self.path)}

    def count(self) -> int | None:
        """See Source."""
        with self.path.open("rb") as stream:
            return sum(block.count(b"\n") for block in iter(lambda: stream.read(1 << 20), b""))

    def __iter__(self) -> Iterator[Work | Skip]:
        for line, row in self._rows():
            if row is None:
                yield Skip(f"{self.path.name}:{line}", "line not understood", "of a captions file")
                continue
            named = next((row[name] for name in _IMAGE_NAMES if row.get(name)), None)
            if not isinstance(named, str) or "\0" in named:
                yield Skip(f"{self.path.name}:{line}", "line not understood", "it names no image")
                continue
            caption = next((row[name] for name in _CAPTION_NAMES if row.get(name)), None)
            known = {*_IMAGE_NAMES, *_CAPTION_NAMES}
            yield self._work(named, clean_caption(caption), {k: v for k, v in row.items() if k not in known})

    def _work(self, named: str, caption: str | None, rest: Mapping[str, Any]) -> Work | Skip:
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
        return Work(key, FilePlace(str(path)), state.st_size, state.st_mtime_ns, caption, clean_metadata(rest))

    def _rows(self) -> Iterator[tuple[int, dict[str, Any] | None]]:
        """Yield (line number, columns by name), or None for a line that is not understood."""
        with self.path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
            if self._kind == ".jsonl":
                yield from _json_rows(stream)
                return
            lines = self._reader(stream)
            while True:
                try:
                    cells = next(lines)
                except StopIteration:
                    return
                except csv.Error:
                    yield lines.line_num, None
                    continue
                if not cells or lines.line_num < self._first:
                    continue
                row: dict[str, Any] = {}
                for number, cell in enumerate(cells):
                    name = self._columns[number] if number < len(self._columns) else f"column_{number + 1}"
                    plain = name in _IMAGE_NAMES or name in _CAPTION_NAMES
                    row[name] = cell if plain else number_or_text(cell)
                yield lines.line_num, row

    def _read_columns(self) -> tuple[list[str], int]:
        """Return the names of the columns and the line on which the images begin."""
        with self.path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
            try:
                first = [cell.strip().lower() for cell in next(self._reader(stream), [])]
            except csv.Error as problem:
                raise DataError(f"{self.path}:1: not a table ({problem}).") from problem
        if any(name in _IMAGE_NAMES for name in first):
            return first, 2
        if self._kind == ".tsv":
            return ["image", "caption"], 1
        raise DataError(f"{self.path}:1: no column named image. Give the first line the names: image,caption")

    def _reader(self, stream: Any) -> Any:
        csv.field_size_limit(_LONGEST_LINE)
        if self._kind == ".tsv":
            return csv.reader(_without_nul(stream), delimiter="\t", quoting=csv.QUOTE_NONE)
        return csv.reader(_without_nul(stream))


def _without_nul(stream: Any) -> Iterator[str]:
    for line in stream:
        yield line.replace("\0", "\ufffd")


def _json_rows(stream: Any) -> Iterator[tuple[int, dict[str, Any] | None]]:
    for number, line in enumerate(stream, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line) if len(line) <= _LONGEST_LINE else None
        except (ValueError, RecursionError):
            row = None
        yield number, {str(name): value for name, value in row.items()} if isinstance(row, dict) else None


# Webdataset shards: a tar file in which members that share a basename are one sample.
#
# Format: https://github.com/webdataset/webdataset, "The WebDataset Format". ``000001.jpg``, ``000001.txt`` and
# ``000001.json``, one after the other, are an image, its caption and its metadata.

_CAPTIONS = ("txt", "caption")
_IMAGES = frozenset(
    ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "ppm", "pgm", "jp2", "avif", "heic", "heif", "img")
)
_MOST_TEXT = 1 << 20


class ShardSource:
    """One ``.tar`` file, read where it lies; nothing is unpacked.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(os.path.realpath(path))

    def describe(self) -> Mapping[str, str]:
        """See Source."""
        return {"kind": "shard", "path": str(self.path)}

    def count(self) -> int | None:
        """See Source."""
        return None  # only reading all of it would tell

    def __iter__(self) -> Iterator[Work | Skip]:
        sample, members = "", list[tarfile.TarInfo]()
        try:
            modified = self.path.stat().st_mtime_ns
            with tarfile.open(self.path, "r:") as shard:
                for member in _members(shard):
                    folder, _, name = member.name.rpartition("/")
                    base = f"{folder}/{name.split('.', 1)[0]}" if folder else name.split(".", 1)[0]
                    if name.startswith(".") or member.isdir():
                        continue
                    if base != sample or len(members) >= 64:
                        yield from self._sample(shard, members, modified)
                        sample, members = base, []
                    members.append(member)
                yield from self._sample(shard, members, modified)
        except (tarfile.TarError, OSError, ValueError, EOFError) as problem:
            yield Skip(self.path.name, "damaged shard", f"{problem}; what came before it is kept")

    def _sample(self, shard: tarfile.TarFile, members: list[tarfile.TarInfo], modified: int) -> Iterator[Work | Skip]:
        images, caption, metadata = list[tarfile.TarInfo](), None, {}
        for member in members:
            ending = member.name.rpartition("/")[2].partition(".")[2].lower()
            last = ending.rpartition(".")[2]
            if not member.isreg() or member.issparse():
                if last in _IMAGES:
                    yield Skip(self._key(member), "not a regular file")
            elif last in _CAPTIONS:
                text = _read(shard, member)
                caption = clean_caption(text.decode("utf-8", "replace")) if text is not None else caption
            elif last == "json":
                metadata = _metadata(_read(shard, member))
            elif last in _IMAGES:
                images.append(member)
        if members and not images:
            yield Skip(self._key(members[0]), "sample without an image")
        if caption is None:
            caption = clean_caption(metadata.get("caption"))
        rest = clean_metadata({name: value for name, value in metadata.items() if name != "caption"})
        for member in images:
            place = FilePlace(str(self.path), member.offset_data, member.size)
            yield Work(self._key(member), place, member.size, modified, caption, rest)

    def _key(self, member: tarfile.TarInfo) -> str:
        name = os.path.normpath("/" + member.name).lstrip("/")
        return f"{self.path.name}/{name}".encode("utf-8", "backslashreplace").decode()


def _members(shard: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Yield members one after the other, and let tarfile forget them."""
    while (member := shard.next()) is not None:
        yield member
        shard.members = []  # type: ignore[attr-defined]  # or memory grows with the shard


def _read(shard: tarfile.TarFile, member: tarfile.TarInfo) -> bytes | None:
    if member.size > _MOST_TEXT:
        return None
    stream = shard.extractfile(member)
    return stream.read() if stream is not None else None


def _metadata(text: bytes | None) -> dict[str, object]:
    try:
        found = json.loads(text or b"{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
