"""A captions file: one line per picture, with its path, its caption, and whatever else is known."""

from __future__ import annotations

import csv
import json
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kivuko.errors import DataError
from kivuko.gallery.sources.metadata import clean_caption, clean_metadata, number_or_text
from kivuko.gallery.work import FilePlace, Skip, Work

CAPTION_ENDINGS = (".tsv", ".csv", ".jsonl")
_IMAGE_NAMES = ("image", "path", "file", "filename", "file_name", "filepath", "image_path")
_CAPTION_NAMES = ("caption", "text", "title", "description")
_LONGEST_LINE = 1 << 20


class CaptionsSource:
    """Pictures named in a file; paths are relative to its folder.

    ``.tsv``: ``path<TAB>caption``, or with a first line of column names. ``.csv``: with a first line of names.
    ``.jsonl``: one object a line. The picture stands under ``image`` (or path, file, filename, file_name, filepath,
    image_path), its caption under ``caption`` (or text, title, description); everything else is metadata.

    Args:
        path: the file.

    Raises:
        DataError: no column for the picture.
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
                yield Skip(f"{self.path.name}:{line}", "line not understood", "it names no picture")
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
        """Return the names of the columns and the line on which the pictures begin."""
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
