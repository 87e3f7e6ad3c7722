"""A folder of images and a file of your own that says what is on them: TSV, CSV or JSON lines.

The image stands under ``image`` (or path, file, filename, file_name, filepath, image_path), its caption under
``caption`` (or text, sentence), its language under ``language`` (or lang, locale), and, where there are several, its
split under ``split``. An image may have several lines. In JSON lines a caption may also be a list, or an object of
languages: ``{"image": "a.jpg", "caption": {"sw": ["paka mweusi"], "en": "a black cat"}}``.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kivuko.datasets.captions.caption_set import CaptionSet, Gathering, Image, Request, as_texts, code_of
from kivuko.datasets.captions.image_folder import ImageFolder
from kivuko.datasets.collections.streams import json_lines, text_lines
from kivuko.errors import DataError, UsageError, at

NAME = "captions"
_IMAGE = ("image", "path", "file", "filename", "file_name", "filepath", "image_path")
_CAPTION = ("caption", "captions", "text", "sentence")
_LANGUAGE = ("language", "lang", "locale")
_SPLITS = {"test": ("test",), "validation": ("validation", "valid", "val", "dev")}
_LONGEST = 1 << 20


def read_captions_file(request: Request) -> CaptionSet:
    """Read a file of captions; images are found from its folder, or from IMAGES.

    Where the file has a column ``split``, only lines of the split asked for count.

    Raises:
        DataError: no such file, no column for image or caption, or a line that lacks them.
        UsageError: the file does not say the language, and the request neither.
    """
    file = request.path
    if not file.is_file():
        raise DataError(f"{file}: no such file; name a .tsv, .csv or .jsonl of captions")
    folder = ImageFolder(request.images or file.parent)
    gathered = Gathering(files={file: None})
    codes: dict[str, str] = {}

    def code(written: Any, place: str) -> str:
        if not isinstance(written, str) or not written.strip():
            if request.language is None:
                raise UsageError(f"{place}: does not say its language; add a column language, or name it: -l sw")
            written = request.language
        return codes.get(written) or codes.setdefault(written, code_of(written, place))

    has_splits = False
    for place, row in _rows(file):
        has_splits |= bool(row.get("split"))
        if (split := row.get("split")) and str(split).lower() not in _SPLITS[request.split]:
            gathered.left_out["line of another split"] += 1
            continue
        name = _first(row, _IMAGE)
        if not isinstance(name, str) or not name.strip():
            raise DataError(f"{place}: names no image; it stands under 'image'")
        if (told := _first(row, _CAPTION)) is None:
            raise DataError(f"{place}: has no caption; it stands under 'caption'")
        if name not in gathered.images:
            gathered.add_image(Image(name, folder.find(name), f"{name} ({place})"))
        by_language = told.items() if isinstance(told, dict) else [(_first(row, _LANGUAGE), told)]
        for written, texts in by_language:
            gathered.add_captions(name, code(written, place), as_texts(texts), place)
    return gathered.finish(NAME, request.split if has_splits else "all", file)


def _first(row: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((row[name] for name in names if row.get(name) is not None), None)


def _rows(file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    ending = next((one for one in (".jsonl", ".ndjson", ".tsv", ".csv") if one in file.name.lower()), None)
    if ending in (".jsonl", ".ndjson"):
        for number, row in json_lines(file):
            yield at(file, number), row
    elif ending is not None:
        yield from _table(file, "\t" if ending == ".tsv" else ",")
    else:
        raise UsageError(f"{file}: name a .tsv, .csv or .jsonl of captions (compressed or not)")


def _table(file: Path, delimiter: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    csv.field_size_limit(_LONGEST)
    lines = (f"{line}\n" for _, line in text_lines(file))
    if delimiter == "\t":
        reader = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    else:
        reader = csv.reader(lines, delimiter=delimiter)
    headings: list[str] = []
    try:
        for cells in reader:
            place = at(file, reader.line_num)
            if not headings:
                headings = [cell.strip().lower() for cell in cells]
                if not any(name in headings for name in _IMAGE):
                    names = any(name in headings for name in (*_CAPTION, *_LANGUAGE))
                    if delimiter != "\t" or len(cells) not in (2, 3) or names:
                        raise DataError(f"{place}: no column named image; name the columns: image, caption, language")
                    headings = ["image", "caption", "language"][: len(cells)]
                    yield place, dict(zip(headings, cells, strict=True))
                elif not any(name in headings for name in _CAPTION):
                    raise DataError(f"{place}: no column named caption; name the columns: image, caption, language")
            elif cells:
                yield place, dict(zip(headings, cells, strict=False))
    except csv.Error as problem:
        raise DataError(
            f"{at(file, reader.line_num)}: not a table ({problem}); check quotes and line ends"
        ) from problem
