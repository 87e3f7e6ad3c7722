"""A file of captions for images: TSV, CSV or JSON lines; read for evaluation and for an index alike.

Columns: ``image`` (or path, file, filename, file_name, filepath, image_path), ``caption`` (or captions, text, sentence,
title, description) or ``caption_1``, ``caption_2`` and so on, ``language`` (or lang, locale), ``split``. An image may
have several lines. A caption may also be a list, or in JSON lines an object of languages:
``{"caption": {"sw": ["paka"], "en": "a cat"}}``.
"""

import ast
import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from kivuko.bitext.formats import is_quoted
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
_NUMBERED = re.compile(r"captions?[ _.-]?[0-9]+")
_LONGEST_CELL = 1 << 20  # letters
# A list of strings in a cell, as JSON, Python or NumPy (without commas) write it.
_STRING = r"""'(?:[^'\\]|\\.)*+'|"(?:[^"\\]|\\.)*+\""""
_LIST = re.compile(rf"\[\s*+(?:(?:{_STRING})(?:\s*+,\s*+|\s++|(?=\])))++\]", re.DOTALL)
_TOO_LONG = f"a line over {MAX_TEXT_BYTES >> 20} MiB; give one text per line"
_NOT_CLOSED = "a quotation mark that is never closed, or one within a cell that is not doubled"
_CUT = "a caption with commas must be in quotation marks, and one in a .tsv cannot hold a tab"
_SEPARATORS = {";": "semicolons", "\t": "tabs", ",": "commas", "|": "bars"}


class Layout(NamedTuple):
    """The names of the columns of a line by what they hold, the most likely first."""

    image: tuple[str, ...] = ()
    caption: tuple[str, ...] = ()
    numbered: tuple[str, ...] = ()  # further captions
    language: tuple[str, ...] = ()
    split: tuple[str, ...] = ()
    metadata: tuple[str, ...] = ()


class CaptionLine(NamedTuple):
    """One line of a captions file: ``columns`` by name, or ``fault``: why they cannot be read."""

    number: int
    columns: Mapping[str, Any]
    layout: Layout = Layout()
    fault: str = ""

    @property
    def image(self) -> Any:
        return _first(self.columns, self.layout.image)

    @property
    def caption(self) -> Any:
        """Return a text, a list, or an object of languages; None if there is none."""
        stated = _first(self.columns, self.layout.caption)
        if isinstance(stated, str) and stated.startswith("["):
            stated = _listed(stated)
        if not self.layout.numbered or isinstance(stated, dict):
            return stated
        return [*as_texts(stated), *(self.columns.get(name) for name in self.layout.numbered)]

    @property
    def has_caption(self) -> bool:
        """Return True if there is a column for a caption, though it may be blank."""
        return any(name in self.columns for name in (*self.layout.caption, *self.layout.numbered))

    @property
    def language(self) -> Any:
        return _first(self.columns, self.layout.language)

    @property
    def split(self) -> Any:
        return _first(self.columns, self.layout.split)

    @property
    def metadata(self) -> dict[str, Any]:
        columns = self.columns
        return {name: columns[name] for name in self.layout.metadata if name in columns}


def _layout(names: Iterable[str]) -> Layout:
    written: dict[str, str] = {}
    for name in names:  # one in small letters goes before others
        low = name.lower()
        written[low] = name if low == name else written.get(low, name)

    def those(wanted: Iterable[str]) -> tuple[str, ...]:
        return tuple(written[one] for one in wanted if one in written)

    image, caption = those(IMAGE_COLUMNS), those(CAPTION_COLUMNS)
    numbered = tuple(name for low, name in written.items() if _NUMBERED.fullmatch(low))
    used = {name.lower() for name in (*image, *caption, *numbered)}
    rest = tuple(name for name in names if name.lower() not in used)
    return Layout(image, caption, numbered, those(_LANGUAGE_COLUMNS), those(["split"]), rest)


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
    first = None
    for name in names:
        value = columns.get(name)
        if value:
            return value
        first = value if first is None else first
    return first


def _listed(text: str) -> str | list[str]:
    """Return the texts of a cell that is a list of strings; any other cell as it is."""
    if not _LIST.fullmatch(text):
        return text
    try:
        return [parse_json(one) if one[0] == '"' else ast.literal_eval(one) for one in re.findall(_STRING, text)]
    except (ValueError, SyntaxError):
        return text


def _objects(path: Path) -> Iterator[CaptionLine]:
    names, layout = (), Layout()
    for number, line in enumerate(read_lines(path, MAX_TEXT_BYTES), start=1):
        if line is None:
            yield CaptionLine(number, {}, fault=_TOO_LONG)
        elif line.strip():
            try:
                row = parse_json(line)
            except ValueError:
                row = None
            if isinstance(row, dict):
                if names != tuple(row):
                    names = tuple(row)
                    layout = _layout(names)
                yield CaptionLine(number, row, layout)
            else:
                yield CaptionLine(
                    number, {}, fault='not a JSON object; write one per line, such as {"image": "a.jpg", …}'
                )


class _TabSeparated(csv.excel_tab):
    """Cells as they are: a quotation mark is a character like any other."""

    quoting = csv.QUOTE_NONE


class _Quoted(csv.excel):
    """Cells that may be in quotation marks; those within such a cell are doubled."""

    strict = True
    skipinitialspace = True


class _QuotedTabs(_Quoted):
    delimiter = "\t"


def _table(path: Path, ending: str, lenient: bool) -> Iterator[CaptionLine]:
    csv.field_size_limit(_LONGEST_CELL)
    read = read_lines(path, MAX_TEXT_BYTES)
    first = next(read, "")
    dialect: type[csv.Dialect] = _Quoted
    if ending == ".tsv":
        dialect = _QuotedTabs if first and is_quoted(first.split("\t")) else _TabSeparated
    # No line holds a NUL: one stands for a line that is too long.
    reader = csv.reader(("\0" if line is None else f"{line}\n" for line in chain([first], read)), dialect)
    headings: list[str] = []
    layout = Layout()
    open_ended = False  # further cells of a row are columns of their own
    while True:
        start = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as problem:
            fault = "not a row of a table" if dialect is _TabSeparated else _NOT_CLOSED
            if not headings:
                _refuse_other_separator(first or "", ending, at(path, start))
                raise DataError(f"{at(path, start)}: {fault} ({problem})") from problem
            yield CaptionLine(start, {}, fault=f"{fault} ({problem})")
            continue
        if cells and "\0" in cells[-1]:
            yield CaptionLine(start, {}, fault=_TOO_LONG)
            continue
        if not cells:
            continue
        if not headings:
            headings, is_first_row = _headings(cells, ending, at(path, start), lenient)
            layout, open_ended = _layout(headings), lenient and not is_first_row
            if is_first_row:
                continue
        if len(cells) > len(headings):
            if open_ended:
                headings += [f"column_{number + 1}" for number in range(len(headings), len(cells))]
                layout = _layout(headings)
            elif any(cells[len(headings) :]):
                fault = f"{len(cells)} cells for {len(headings)} columns; {_CUT}"
                yield CaptionLine(start, {}, fault=fault)
                continue
        yield CaptionLine(start, dict(zip(headings, cells, strict=False)), layout)


def _headings(cells: list[str], ending: str, place: str, lenient: bool) -> tuple[list[str], bool]:
    """Return the names of the columns, and True if the first row gives them."""
    names = [cell.strip().lower() for cell in cells]
    if any(name in names for name in IMAGE_COLUMNS):
        if not lenient and not any(name in CAPTION_COLUMNS or _NUMBERED.fullmatch(name) for name in names):
            raise DataError(f"{place}: no column named caption; name the columns: image, caption, language")
        if twice := [name for name, count in Counter(filter(None, names)).items() if count > 1]:
            raise DataError(
                f"{place}: two columns are named {twice[0]}; give each its own name, captions caption_1, caption_2 …"
            )
        return names, True
    _refuse_other_separator(names[0], ending, place)
    looks_named = any(name in names for name in (*CAPTION_COLUMNS, *_LANGUAGE_COLUMNS))
    if ending != ".tsv" or looks_named or (not lenient and len(cells) not in (2, 3)):
        raise DataError(f"{place}: no column named image; name the columns: image, caption, language")
    return ["image", "caption"] if lenient else ["image", "caption", "language"], False


def _refuse_other_separator(first: str, ending: str, place: str) -> None:
    own = "\t" if ending == ".tsv" else ","
    for separator, called in _SEPARATORS.items():
        parts = [part.strip(" \"'").lower() for part in first.split(separator)]
        if separator != own and len(parts) > 1 and (any(name in parts for name in IMAGE_COLUMNS) or ending != ".tsv"):
            raise DataError(
                f"{place}: the columns are separated by {called}, not by {_SEPARATORS[own]}; "
                f"convert the file to {own.join(('image', 'caption', 'language'))!r} and so on"
            )


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
            split = line.split
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
    if not line.has_caption:
        raise DataError(f"{place}: has no caption; give it in the column 'caption'")
    if isinstance(caption, dict):
        return Row(place, name, (name,), [(_code(code), as_texts(texts)) for code, texts in caption.items()])
    texts = as_texts(caption) or [""]
    return Row(place, name, (name,), [(_code(line.language), texts)])


def _code(written: Any) -> str | None:
    return written if isinstance(written, str) and written.strip() else None


CAPTIONS = CaptionFormat("captions", _read_captions_file, ("test", "validation"), own=True)
