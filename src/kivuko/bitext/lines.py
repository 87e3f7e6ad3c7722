"""The lines of a UTF-8 text file, compressed or not, one at a time."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from kivuko.errors import DataError, at

MAX_LINE_BYTES = 1 << 20  # a longer line is never held in memory whole


class Line(NamedTuple):
    """One line of a text file.

    Attributes:
        number: counted from 1.
        text: the line without its end (``\\n`` or ``\\r\\n``); None where it is over ``MAX_LINE_BYTES``.
    """

    number: int
    text: str | None


def read_lines(path: Path) -> Iterator[Line]:
    """Yield the lines of a UTF-8 file that may be compressed with gzip, bzip2 or xz.

    Only ``\\n`` ends a line, so U+2028, U+0085 or a vertical tab inside a sentence do not split it. A byte
    order mark is skipped.

    Raises:
        DataError: the file cannot be opened or decompressed, is binary, or is not UTF-8; the message gives
            the place and what to do.
    """
    try:
        with path.open("rb") as raw, _decompressed(raw) as stream:
            for number, line in enumerate(_byte_lines(stream), start=1):
                yield Line(number, _decoded(line, path, number))
    except IsADirectoryError:
        raise DataError(f"{path}: is a folder; give the file in it that holds the sentences") from None
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; check the path") from None
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: compressed data damaged or cut short ({error}); fetch the file again") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); check the file") from None


def _decompressed(raw: io.BufferedReader) -> io.BufferedIOBase:
    # By content, not by suffix: browsers and web servers unpack ".gz" on the way and keep the name.
    start = raw.peek(10)[:10]
    if start.startswith(b"\x1f\x8b\x08"):
        return gzip.GzipFile(fileobj=raw, mode="rb")
    if start.startswith(b"BZh") and start[4:] in (b"1AY&SY", b"\x17rE8P\x90"):
        return bz2.BZ2File(raw)
    if start.startswith(b"\xfd7zXZ\x00"):
        return lzma.LZMAFile(raw)
    return raw


def _byte_lines(stream: io.BufferedIOBase) -> Iterator[bytes]:
    """Lines as bytes; one over the limit comes out cut at one byte more than the limit."""
    while line := stream.readline(MAX_LINE_BYTES + 1):
        rest = line
        while len(rest) > MAX_LINE_BYTES and not rest.endswith(b"\n") and b"\0" not in rest:
            rest = stream.readline(MAX_LINE_BYTES + 1)
        yield rest if b"\0" in rest else line


def _decoded(line: bytes, path: Path, number: int) -> str | None:
    too_long = len(line) > MAX_LINE_BYTES
    if number == 1:
        if line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise DataError(f"{at(path, 1)}: UTF-16, not UTF-8; convert with iconv -f utf-16 -t utf-8")
        line = line.removeprefix(codecs.BOM_UTF8)
    if b"\0" in line:
        raise DataError(
            f"{at(path, number)}: a NUL byte, so this is a binary file, not UTF-8 text; give a text file "
            f"(UTF-16 without a byte order mark: convert with iconv -f utf-16le -t utf-8)"
        )
    if too_long:
        return None
    try:
        return line.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{at(path, number)}: byte 0x{line[error.start]:02X} is not UTF-8; convert with "
            f"iconv -f windows-1252 -t utf-8 (or whatever encoding the file is in)"
        ) from None
