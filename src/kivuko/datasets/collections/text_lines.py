"""The lines of a UTF-8 text file whose lines may be whole articles."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from kivuko.datasets.collections.byte_stream import byte_stream
from kivuko.errors import DataError, at

MAX_LINE_BYTES = 16 << 20  # an article with all its text; a longer line is another kind of file


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (number, line) of a UTF-8 file, compressed or not; numbers count from 1, the line's end is left off.

    Only a line feed ends a line: U+2028, U+0085 and their kin may stand inside a text.

    Raises:
        DataError: see ``byte_stream``; also a NUL byte, bytes that are not UTF-8, or a line over 16 MiB: of that no
            more than this is held in memory.
    """
    with byte_stream(path) as stream:
        number = 0
        while line := stream.readline(MAX_LINE_BYTES + 1):
            number += 1
            yield number, _decoded(line, path, number)


def json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (number, object) of a file of JSON lines, blank lines left out.

    Raises:
        DataError: see ``text_lines``; also a line that is no JSON object.
    """
    for number, line in text_lines(path):
        if line.strip():
            try:
                found = json.loads(line, parse_constant=_refuse)
            except (ValueError, RecursionError):
                found = None
            if not isinstance(found, dict):
                raise DataError(f'{at(path, number)}: not a JSON object; write one per line, such as {{"id": "1", …}}')
            yield number, found


def _decoded(line: bytes, path: Path, number: int) -> str:
    if len(line) > MAX_LINE_BYTES:
        raise DataError(f"{at(path, number)}: a line over {MAX_LINE_BYTES >> 20} MiB; give one text per line")
    if number == 1:
        if line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise DataError(f"{at(path, 1)}: UTF-16, not UTF-8; convert with iconv -f utf-16 -t utf-8")
        line = line.removeprefix(codecs.BOM_UTF8)
    if b"\0" in line:
        raise DataError(f"{at(path, number)}: a NUL byte, so this is a binary file; give UTF-8 text")
    try:
        return line.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as problem:
        raise DataError(
            f"{at(path, number)}: byte 0x{line[problem.start]:02X} is not UTF-8; convert with "
            "iconv -f windows-1252 -t utf-8 (or whatever encoding the file is in)"
        ) from None


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
