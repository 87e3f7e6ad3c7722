"""The bytes of a file, compressed or not, with every failure as one clear line."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import json
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, cast

from kivuko.errors import DataError, MissingDependencyError, at

_ZSTANDARD = b"\x28\xb5\x2f\xfd"


@contextmanager
def byte_stream(path: Path, progress: Callable[[int], None] | None = None) -> Iterator[BinaryIO]:
    """Open a file that may be compressed with gzip, bzip2, xz or zstandard: told by its content, not by its name.

    Failures to open, to read and to decompress, also those that come while the block reads, are DataErrors.

    Args:
        progress: told how many bytes of the file, as it lies on disk, have been read.

    Raises:
        DataError: the file is missing, a folder, unreadable, damaged or cut short.
        MissingDependencyError: it is compressed with zstandard, and the package for that is not installed.
    """
    try:
        with io.BufferedReader(_Told(path, progress), 1 << 16) as raw, _unpacked(raw, path) as stream:
            yield cast(BinaryIO, stream)
    except IsADirectoryError:
        raise DataError(f"{path}: is a folder; name the file in it") from None
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; check the path") from None
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as problem:
        raise DataError(f"{path}: compressed data damaged or cut short ({problem}); fetch the file again") from None
    except OSError as problem:
        raise DataError(f"{path}: cannot be read ({problem.strerror or problem}); check the file") from None


class _Told(io.FileIO):
    """A file that tells how far it has been read."""

    def __init__(self, path: Path, progress: Callable[[int], None] | None) -> None:
        super().__init__(path, "rb")
        self._progress = progress

    def readinto(self, buffer: Any, /) -> int | None:
        """See io."""
        count = super().readinto(buffer)
        if self._progress is not None:
            self._progress(self.tell())
        return count


def _unpacked(raw: io.BufferedReader[Any], path: Path) -> io.IOBase:
    # Browsers and web servers unpack ".gz" on the way and keep the name, so the name proves nothing.
    start = raw.peek(10)[:10]
    if start.startswith(b"\x1f\x8b\x08"):
        return gzip.GzipFile(fileobj=raw, mode="rb")
    if start.startswith(b"BZh") and start[4:] in (b"1AY&SY", b"\x17rE8P\x90"):
        return bz2.BZ2File(raw)
    if start.startswith(b"\xfd7zXZ\x00"):
        return lzma.LZMAFile(raw)
    if start.startswith(_ZSTANDARD):
        return _zstandard(raw, path)
    return raw


def _zstandard(raw: io.BufferedReader[Any], path: Path) -> io.IOBase:
    try:
        import zstandard
    except ImportError as problem:
        raise MissingDependencyError(
            f"{path}: is compressed with zstandard. Run: pip install 'kivuko[data]' (or unpack it with zstd -d)"
        ) from problem

    class Whole(io.RawIOBase):
        """Reads the frames, and says so where the last one is cut short, which the library passes over."""

        def __init__(self) -> None:
            self._reader = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: object) -> int:
            try:
                return int(self._reader.readinto(buffer))
            except zstandard.ZstdError as problem:
                raise EOFError(str(problem)) from problem

    return io.BufferedReader(Whole(), 1 << 16)


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
