"""A file of captions for images: TSV, CSV or JSON lines; read for evaluation and for an index alike.

Columns: ``image`` (or path, file, filename, file_name, filepath, image_path), ``caption`` (or captions, text, sentence,
title, description), ``language`` (or lang, locale), ``split``. An image may have several lines. In JSON lines a caption
may also be a list, or an object of languages: ``{"caption": {"sw": ["paka"], "en": "a cat"}}``.
"""

import csv
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from kivuko.datasets.captions.caption_set import (
    CaptionFormat,
    CaptionSet,
    ImageFolder,
    Request,
    Row,
    SetBuilder,
    as_texts,
)
from kivuko.errors import DataError, UsageError, at
from kivuko.streams import MAX_TEXT_BYTES, parse_json, plain_name, read_lines

IMAGE_COLUMNS = ("image", "path", "file", "filename", "file_name", "filepath", "image_path")
CAPTION_COLUMNS = ("caption", "captions", "text", "sentence", "title", "description")
CAPTION_ENDINGS = (".tsv", ".csv", ".jsonl", ".ndjson")
_LANGUAGE_COLUMNS = ("language", "lang", "locale")
_SPLITS = {"test": ("test",), "validation": ("validation", "valid", "val", "dev")}
_LONGEST_CELL = 1 << 20  # letters
_TOO_LONG = f"a line over {MAX_TEXT_BYTES >> 20} MiB; give one text per line"
_SEPARATORS = {";": "semicolons", "\t": "tabs", ",": "commas", "|": "bars"}


class CaptionLine(NamedTuple):
    """One line of a captions file: ``columns`` by name in lower case, or ``fault``: why they cannot be read."""

    number: int
    columns: Mapping[str, Any]
    fault: str = ""

    @property
    def image(self) -> Any:
        return _first(self.columns, IMAGE_COLUMNS)

    @property
    def caption(self) -> Any:
        """Return a text, a list, or an object of languages; None if there is none."""
        return _first(self.columns, CAPTION_COLUMNS)

    @property
    def metadata(self) -> dict[str, Any]:
        named = (*IMAGE_COLUMNS, *CAPTION_COLUMNS)
        return {name: value for name, value in self.columns.items() if name not in named}


def is_captions_file(path: Path) -> bool:
    return _ending(path) in CAPTION_ENDINGS


def caption_lines(path: Path, *, lenient: bool = False) -> Iterator[CaptionLine]:
    """Yield the lines of a UTF-8 captions file, compressed or not; blank lines are skipped.

    A table has a first row of column names; a tab-separated one may do without: image, caption, and language (which a
    lenient reading calls ``column_3``). Unreadable lines have a ``fault`` if lenient, else they raise DataError.
    """
    ending = _ending(path)
    if ending not in CAPTION_ENDINGS:
        raise UsageError(f"{path}: name a .tsv, .csv or .jsonl of captions (compressed or not)")
    for line in _objects(path) if ending in (".jsonl", ".ndjson") else _table(path, ending, lenient):
        if line.fault and not lenient:
            raise DataError(f"{at(path, line.number)}: {line.fault}")
        yield line


def _ending(path: Path) -> str:
    return Path(plain_name(path.name)).suffix.lower()


def _first(columns: Mapping[str, Any], names: Iterable[str]) -> Any:
    values = [columns[name] for name in names if columns.get(name) is not None]
    return next((value for value in values if value), values[0] if values else None)


def _objects(path: Path) -> Iterator[CaptionLine]:
    for number, line in enumerate(read_lines(path, MAX_TEXT_BYTES), start=1):
        if line is None:
            yield CaptionLine(number, {}, _TOO_LONG)
        elif line.strip():
            try:
                row = parse_json(line)
            except ValueError:
                row = None
            if isinstance(row, dict):
                yield CaptionLine(number, row)
            else:
                yield CaptionLine(number, {}, 'not a JSON object; write one per line, such as {"image": "a.jpg", …}')


class _TabSeparated(csv.excel_tab):
    """Cells as they are: a quotation mark is a character like any other."""

    quoting = csv.QUOTE_NONE


def _table(path: Path, ending: str, lenient: bool) -> Iterator[CaptionLine]:
    csv.field_size_limit(_LONGEST_CELL)
    # No line holds a NUL: one stands for a line that is too long, two for the end.
    lines = ("\0" if line is None else f"{line}\n" for line in read_lines(path, MAX_TEXT_BYTES))
    reader = csv.reader(chain(lines, ["\0\0"]), _TabSeparated if ending == ".tsv" else csv.excel)
    headings: list[str] = []
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as problem:
            fault = f"not a row of a table ({problem}); check quotes and line ends"
            if not headings:
                raise DataError(f"{at(path, reader.line_num)}: {fault}") from problem
            yield CaptionLine(reader.line_num, {}, fault)
            continue
        if cells and "\0" in cells[-1]:
            if cells == ["\0\0"]:
                return
            first = reader.line_num - cells[-1].count("\n")
            yield CaptionLine(first, {}, _TOO_LONG if cells == ["\0"] else "a quotation mark that is never closed")
            continue
        if not headings:
            headings, is_first_row = _headings(cells, ending, at(path, reader.line_num), lenient)
            if is_first_row:
                continue
        if cells:
            headings += [f"column_{number + 1}" for number in range(len(headings), len(cells))]
            yield CaptionLine(reader.line_num, dict(zip(headings, cells, strict=False)))


def _headings(cells: list[str], ending: str, place: str, lenient: bool) -> tuple[list[str], bool]:
    """Return the names of the columns, and True if the first row gives them."""
    names = [cell.strip().lower() for cell in cells]
    if any(name in names for name in IMAGE_COLUMNS):
        if not lenient and not any(name in names for name in CAPTION_COLUMNS):
            raise DataError(f"{place}: no column named caption; name the columns: image, caption, language")
        return names, True
    own = "\t" if ending == ".tsv" else ","
    for separator, called in _SEPARATORS.items():
        parts = [part.strip(" \"'") for part in names[0].split(separator)] if names else []
        if separator != own and len(parts) > 1 and (any(name in parts for name in IMAGE_COLUMNS) or ending != ".tsv"):
            raise DataError(
                f"{place}: the columns are separated by {called}, not by {_SEPARATORS[own]}; "
                f"convert the file to {own.join(('image', 'caption', 'language'))!r} and so on"
            )
    looks_named = any(name in names for name in (*CAPTION_COLUMNS, *_LANGUAGE_COLUMNS))
    if ending != ".tsv" or (not lenient and (len(cells) not in (2, 3) or looks_named)):
        raise DataError(f"{place}: no column named image; name the columns: image, caption, language")
    return ["image", "caption"] if lenient else ["image", "caption", "language"], False


def _read_captions_file(request: Request) -> CaptionSet:
    """Read a file of captions; where it has a column ``split``, only lines of the requested split."""
    file = request.path
    if not file.is_file():
        raise DataError(f"{file}: no such file; name a .tsv, .csv or .jsonl of captions")
    builder = SetBuilder(ImageFolder(request.images or file.parent), request.language, [file])
    has_splits = False

    def rows() -> Iterator[Row]:
        nonlocal has_splits
        for line in caption_lines(file):
            split = line.columns.get("split")
            has_splits |= bool(split)
            if split and str(split).lower() not in _SPLITS[request.split]:
                builder.left_out["line of another split"] += 1
            else:
                yield _row(line, at(file, line.number))

    builder.add(rows())
    return builder.build("captions", request.split if has_splits else "all", file)


def _row(line: CaptionLine, place: str) -> Row:
    name, caption = line.image, line.caption
    if not isinstance(name, str) or not name.strip():
        raise DataError(f"{place}: names no image; name it in the column 'image'")
    if caption is None:
        raise DataError(f"{place}: has no caption; give it in the column 'caption'")
    if isinstance(caption, dict):
        return Row(place, name, (name,), [(_code(code), as_texts(texts)) for code, texts in caption.items()])
    return Row(place, name, (name,), [(_code(_first(line.columns, _LANGUAGE_COLUMNS)), as_texts(caption))])


def _code(written: Any) -> str | None:
    return written if isinstance(written, str) and written.strip() else None


CAPTIONS = CaptionFormat("captions", _read_captions_file, ("test", "validation"), own=True)
