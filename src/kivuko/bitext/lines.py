"""The lines of a UTF-8 text file, compressed or not, one at a time."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from kivuko.bitext.byte_input import ByteInput, ByteStream
from kivuko.bitext.raw_pair import MAX_SIDE_BYTES
from kivuko.errors import DataError, at

MAX_LINE_BYTES = MAX_SIDE_BYTES  # a longer line is never held in memory whole

_BLOCK = 1 << 18  # bytes that are decoded at once: one line after the other takes three times as long


class Line(NamedTuple):
    """One line of a text file.

    Attributes:
        number: counted from 1.
        text: the line without its end (``\\n`` or ``\\r\\n``); None where it is over ``MAX_LINE_BYTES``.
    """

    number: int
    text: str | None


def read_lines(path: Path | ByteInput) -> Iterator[Line]:
    """Yield the lines of a UTF-8 file that may be compressed with gzip, bzip2, xz or Zstandard.

    Only ``\\n`` ends a line, so U+2028, U+0085 or a vertical tab inside a sentence do not split it. A byte
    order mark is skipped.

    Raises:
        DataError: the file cannot be opened or decompressed, is binary, or is not UTF-8; the message gives
            the place and what to do.
    """
    return map(Line._make, enumerate(read_texts(path), start=1))


def read_texts(path: Path | ByteInput) -> Iterator[str | None]:
    """Yield the texts of the lines that ``read_lines`` gives, without their numbers."""
    return chain.from_iterable(_blocks(path if isinstance(path, ByteInput) else ByteInput(path)))


def _blocks(source: ByteInput) -> Iterator[list[str | None]]:
    """Yield lists of lines: those that end in one block of bytes."""
    number = 1  # of the first line in the block
    with source.opened() as stream:
        for lines in _whole_lines(stream):
            if lines is None:
                yield [None]
                number += 1
                continue
            texts, fault = _texts(lines, source.name, number)
            yield texts
            if fault:
                raise fault
            number += len(texts)


def _whole_lines(stream: ByteStream) -> Iterator[bytes | None]:
    """Yield runs of whole lines; None for a line over the limit, of which little is held.

    A run with a NUL in it may end with half a line, and nothing is read after it.
    """
    parts: list[bytes] = []  # of the line that has not ended yet
    length = 0
    while block := stream.read(_BLOCK):
        first, nul = block.find(b"\n") + 1, block.find(b"\0")
        if not first and nul < 0:
            length += len(block)
            if length <= MAX_LINE_BYTES:
                parts.append(block)
            else:
                del parts[1:]
            continue
        if length + first - 1 > MAX_LINE_BYTES and first > 0 and not 0 <= nul < first:
            yield None
            parts, block = [], block[first:]
        end = len(block) if nul >= 0 else block.rfind(b"\n") + 1
        yield b"".join([*parts, block[:end]])
        if nul >= 0:
            return
        parts, length = [block[end:]], len(block) - end
    if length > MAX_LINE_BYTES:
        yield None
    elif length:
        yield b"".join(parts)


def _texts(lines: bytes, name: str, number: int) -> tuple[list[str | None], DataError | None]:
    """Return the texts of whole lines, and what is wrong with the line after them."""
    if number == 1:
        if lines.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return [], DataError(f"{at(name, 1)}: UTF-16, not UTF-8; convert with iconv -f utf-16 -t utf-8")
        # One mark by itself is a file of one blank line.
        lines = lines.removeprefix(codecs.BOM_UTF8) or b"\n"
    fault: DataError | None = None
    nul = lines.find(b"\0")
    if nul >= 0:
        lines = lines[: lines.rfind(b"\n", 0, nul) + 1]
        fault = _binary(name, number + lines.count(b"\n"))
    try:
        text = lines.decode("utf-8")
    except UnicodeDecodeError as error:
        lines = lines[: lines.rfind(b"\n", 0, error.start) + 1]
        fault = _not_utf8(name, number + lines.count(b"\n"), error.object[error.start])
        text = lines.decode("utf-8")
    if "\r\n" in text:
        text = text.replace("\r\n", "\n")
    texts: list[str | None] = list(text.removesuffix("\n").split("\n")) if text else []
    if not lines.endswith(b"\n") and texts and texts[-1] is not None:
        texts[-1] = texts[-1].removesuffix("\r")  # the last line of a file
    return texts, fault


def _binary(name: str, number: int) -> DataError:
    return DataError(
        f"{at(name, number)}: a NUL byte, so this is a binary file, not UTF-8 text; give a text file "
        f"(UTF-16 without a byte order mark: convert with iconv -f utf-16le -t utf-8)"
    )


def _not_utf8(name: str, number: int, byte: int) -> DataError:
    return DataError(
        f"{at(name, number)}: byte 0x{byte:02X} is not UTF-8; convert with "
        f"iconv -f windows-1252 -t utf-8 (or whatever encoding the file is in)"
    )
