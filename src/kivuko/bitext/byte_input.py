"""The bytes of a file or of standard input, decompressed on the way, never held whole."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sys
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from kivuko.errors import DataError, UsageError

STANDARD_INPUT = "standard input"
COMPRESSED = (".gz", ".bz2", ".xz", ".zst")  # suffixes; what is in a file is told by its content
START_BYTES = 4096  # that are looked at to tell a format

_BUFFER = 1 << 18
_GZIP, _XZ, _ZSTD = b"\x1f\x8b\x08", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd"
_BZIP2, _BZIP2_BLOCKS = b"BZh", (b"1AY&SY", b"\x17rE8P\x90")
_ZSTD_SKIPPABLE = b"\x2a\x4d\x18"  # after a first byte of 0x50 to 0x5f


class ByteStream(Protocol):
    """What can be read from, some bytes at a time."""

    def read(self, size: int, /) -> bytes:
        """Return up to ``size`` bytes; none at the end."""
        ...


class ByteInput:
    """A file that may be compressed with gzip, bzip2, xz or Zstandard, told by its content; or standard input.

    Args:
        path: the file; None: standard input, which can be read once.

    Attributes:
        name: the path as it was given, or ``standard input``.
        size: bytes as they are stored; None for standard input and what is no file.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.name = STANDARD_INPUT if path is None else str(path)
        self.size = _size(path)
        self._once = path is None or _is_pipe(path)
        self._counted: _Counted | None = None
        self._plain = True
        self._waiting: ByteStream | None = None  # a pipe whose start was looked at

    @property
    def as_stored(self) -> bool:
        """Whether the latest reading gives the bytes of a file as they lie on the disk, not decompressed."""
        return self.size is not None and self._plain

    def bytes_read(self) -> int:
        """Return how many bytes of the file, as it is stored, were read in the latest reading."""
        return self._counted.count if self._counted else 0

    def start(self) -> bytes:
        """Return the first ``START_BYTES`` bytes, decompressed; what is read later begins with them all the same.

        Raises:
            DataError: as ``opened``.
        """
        with self.opened() as stream:
            start = stream.read(START_BYTES)
            if self._once:
                self._waiting = _Continued(start, stream)
        return start

    @contextmanager
    def opened(self) -> Iterator[ByteStream]:
        """Open it for one reading.

        Raises:
            DataError: it cannot be opened, read or decompressed, here or while it is read in the block.
            UsageError: it is standard input or a pipe, and was read before.
        """
        try:
            with ExitStack() as stack:
                yield self._opened_once() if self._once else self._stream(stack.enter_context(self._raw()))
        except FileNotFoundError:
            raise DataError(f"{self.name}: no such file; check the path") from None
        except IsADirectoryError:
            raise DataError(f"{self.name}: is a folder; give the file in it that holds the sentences") from None
        # A damaged head may ask for gigabytes to look back on.
        except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, MemoryError) as error:
            raise DataError(
                f"{self.name}: compressed data damaged or cut short ({_line(error)}); fetch the file again"
            ) from None
        except OSError as error:
            raise DataError(f"{self.name}: cannot be read ({error.strerror or _line(error)}); check the file") from None

    def _opened_once(self) -> ByteStream:
        if self._waiting is not None:
            stream, self._waiting = self._waiting, None
            return stream
        if self._counted is not None:
            raise UsageError(f"{self.name} can be read only once; write it to a file and give that")
        return self._stream(self._raw())

    def _raw(self) -> BinaryIO:
        try:
            return sys.stdin.buffer if self.path is None else self.path.open("rb", buffering=0)
        except ValueError:
            raise DataError(f"{self.name!r}: no file has a NUL in its name; check the path") from None

    def _stream(self, raw: BinaryIO) -> ByteStream:
        self._counted = _Counted(raw)
        buffered = cast(io.BufferedReader, io.BufferedReader(self._counted, _BUFFER))
        stream = _decompressed(buffered)
        self._plain = stream is buffered
        return stream


def plain_name(name: str) -> str:
    """Return a file's name without the suffix of its compression."""
    suffix = next((one for one in COMPRESSED if name.lower().endswith(one)), "")
    return name.removesuffix(name[len(name) - len(suffix) :])


class _Counted(io.RawIOBase):
    """Reads from a file and counts the bytes."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self._read_some = getattr(raw, "readinto1", raw.readinto)  # a pipe is read as it fills
        self.count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        read: int = self._read_some(buffer) or 0
        self.count += read
        return read


class _Continued:
    """A stream that begins with what was read of it before."""

    def __init__(self, start: bytes, rest: ByteStream) -> None:
        self._start, self._rest = start, rest

    def read(self, size: int, /) -> bytes:
        if not self._start:
            return self._rest.read(size)
        part, self._start = self._start[:size], self._start[size:]
        return part


class _Zstandard:
    """Decompresses with Arrow, which is always installed and notices a stream that was cut short."""

    def __init__(self, raw: BinaryIO) -> None:
        import pyarrow

        self._damaged = (OSError, pyarrow.ArrowException)
        self._stream = pyarrow.CompressedInputStream(pyarrow.PythonFile(raw, mode="r"), "zstd")

    def read(self, size: int, /) -> bytes:
        try:
            part: bytes = self._stream.read(size)
        except self._damaged as error:
            raise EOFError(_line(error)) from None
        return part


def _decompressed(raw: io.BufferedReader) -> ByteStream:
    # By content, not by suffix: browsers and web servers unpack ".gz" on the way and keep the name.
    start = raw.peek(10)[:10]
    if start.startswith(_GZIP):
        return gzip.GzipFile(fileobj=raw, mode="rb")
    if start.startswith(_BZIP2) and start[4:] in _BZIP2_BLOCKS:
        return bz2.BZ2File(raw)
    if start.startswith(_XZ):
        return lzma.LZMAFile(raw)
    if start.startswith(_ZSTD) or (start[1:4] == _ZSTD_SKIPPABLE and 0x50 <= start[0] <= 0x5F):
        return _Zstandard(raw)
    return raw


def _size(path: Path | None) -> int | None:
    try:
        return path.stat().st_size if path is not None and path.is_file() else None
    except (OSError, ValueError):  # said when it is opened
        return None


def _is_pipe(path: Path) -> bool:
    try:
        return path.exists() and not path.is_file() and not path.is_dir()
    except (OSError, ValueError):
        return False


def _line(error: BaseException) -> str:
    """An error's own words as one line."""
    return " ".join(str(error).split()) or type(error).__name__
