"""The bytes of a file or of standard input, decompressed on the way, never held whole."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol, cast

from kivuko.errors import DataError, UsageError, at

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


MAX_LINE_BYTES = 1 << 20  # a sentence is shorter by orders of magnitude; a longer line is never held in memory whole

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


_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (b"<\0", "utf-16-le"),
    (b"\0<", "utf-16-be"),
)
_DECLARED = re.compile(rb"""\s*<\?xml\s[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9][\w.:-]{0,40})["']""")

# Codecs of Python's that are no encodings of documents; some take time in the square of the text.
_NOT_FOR_DOCUMENTS = frozenset({"idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "utf_7"})


def utf8_blocks(stream: ByteStream, name: str, size: int, line: Callable[[], int]) -> Iterator[bytes]:
    """Yield a document's bytes in UTF-8, without a byte order mark.

    Args:
        stream: the document, whose encoding is told by its byte order mark, else by its declaration, else UTF-8.
        name: for messages.
        size: bytes to read at once.
        line: gives the line that was reached, for messages.

    Raises:
        DataError: the encoding is unknown, or the bytes are not in it. Bytes that are not in UTF-8 are passed on for
            the parser to find.
    """
    start = stream.read(size)
    encoding = _encoding(start, name)
    if encoding == "utf-8":
        yield start.removeprefix(codecs.BOM_UTF8)
        while block := stream.read(size):
            yield block
        return
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        block = start
        while block:
            yield decoder.decode(block).encode()
            block = stream.read(size)
        yield decoder.decode(b"", final=True).encode()
    except UnicodeError as error:
        raise DataError(
            f"{at(name, line())}: after this line, bytes that are not {encoding} ({_reason(error)}); correct the "
            f"encoding that the file's first line declares, or convert it to UTF-8 with iconv"
        ) from None


def _encoding(start: bytes, name: str) -> str:
    for mark, encoding in _MARKS:
        if start.startswith(mark):
            return encoding
    declared = _DECLARED.match(start)
    if declared is None:
        return "utf-8"
    word = declared[1].decode("ascii")
    try:
        codec = codecs.lookup(word)
    except (LookupError, ValueError):
        codec = None
    if codec is None or not codec._is_text_encoding or codec.name.replace("-", "_") in _NOT_FOR_DOCUMENTS:
        raise DataError(
            f"{at(name, 1)}: declares the encoding {word!r}, which is unknown; convert it to UTF-8 with iconv"
        )
    # A declaration that can be read byte by byte is not in UTF-16, whatever it says; most often it is UTF-8 by now.
    if codec.name.startswith(("utf-16", "utf-32")) or codec.name in ("ascii", "utf-8-sig"):
        return "utf-8"
    return codec.name


def _reason(error: UnicodeError) -> str:
    return error.reason if isinstance(error, UnicodeDecodeError) else str(error)
