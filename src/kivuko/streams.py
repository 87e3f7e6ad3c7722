"""Reading bytes, lines and JSON from a file, standard input or a URL, decompressed and never held whole.

The only reader of compressed or line-based files in the package: all accept the same files, with the same messages.
"""

import bz2
import codecs
import gzip
import io
import json
import lzma
import re
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from itertools import chain
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from kivuko.errors import DataError, KivukoError, MissingDependencyError, UsageError, at, first_line, one_line

STANDARD_INPUT = "standard input"
COMPRESSED = (".gz", ".bz2", ".xz", ".zst")  # suffixes for writing; reading goes by content
START_BYTES = 4096  # read to detect a format
MAX_LINE_BYTES = 1 << 20  # of a sentence; a longer line is never held in memory whole
MAX_TEXT_BYTES = 16 << 20  # of a line that holds a document

_BUFFER = 1 << 18
_BLOCK = 1 << 18  # bytes decoded at once: decoding line by line takes three times as long
_GZIP, _XZ, _ZSTD = b"\x1f\x8b\x08", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd"
_BZIP2, _BZIP2_BLOCKS = b"BZh", (b"1AY&SY", b"\x17rE8P\x90")
_ZIP = b"PK\x03\x04"
_ZSTD_SKIPPABLE = b"\x2a\x4d\x18"  # after a first byte of 0x50 to 0x5f
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://.")


def is_url(name: str) -> bool:
    """Return True for an address with a scheme, such as ``s3://bucket/en-sw.tsv.gz`` or ``hf://datasets/...``."""
    return _URL.match(name) is not None


class ByteInput:
    """A file, URL (for fsspec) or standard input (None), perhaps compressed with gzip, bzip2, xz or Zstandard.

    Compression is detected by content: browsers and web servers unpack ``.gz`` on the way and keep the name. A zip
    archive (of a file, not of a pipe or URL) is read if it holds a single file.
    ``progress`` is called with the stored bytes read so far; ``size`` is in stored bytes, None where not known.
    """

    def __init__(self, source: Path | str | None, progress: Callable[[int], None] | None = None) -> None:
        self._url = source if isinstance(source, str) and is_url(source) else None
        self.path = None if source is None or self._url else Path(source)
        self.name = STANDARD_INPUT if source is None else str(source)
        self.size = _size(self.path)
        self._once = source is None or (self.path is not None and _is_pipe(self.path))
        self._progress = progress
        self._counted: _Counted | None = None
        self._plain = True
        self._waiting: BinaryIO | None = None  # a pipe whose start has been read

    @property
    def as_stored(self) -> bool:
        """True if the latest reading gave the bytes of a file as they are on disk, not decompressed."""
        return self.size is not None and self._plain

    def bytes_read(self) -> int:
        """Return how many stored bytes the latest reading has read so far."""
        return self._counted.count if self._counted else 0

    def start(self) -> bytes:
        """Return the first ``START_BYTES`` bytes, decompressed; a later reading still begins with them."""
        with self.opened() as stream:
            start = stream.read(START_BYTES)
            if self._once:
                self._waiting = cast(BinaryIO, io.BufferedReader(_Continued(start, stream), _BUFFER))
        return start

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """Open for one reading; errors while it is read in the block become a DataError."""
        try:
            with ExitStack() as stack:
                yield self._opened_once() if self._once else self._stream(stack.enter_context(self._raw()), stack)
        except FileNotFoundError:
            raise DataError(f"{self.name}: no such file; check the path") from None
        except IsADirectoryError:
            raise DataError(f"{self.name}: is a folder; give the file in it") from None
        # A damaged header may request gigabytes for its window.
        except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, zipfile.BadZipFile, MemoryError) as error:
            raise DataError(
                f"{self.name}: compressed data damaged or cut short ({one_line(error)}); fetch the file again"
            ) from None
        except OSError as error:
            raise DataError(
                f"{self.name}: cannot be read ({error.strerror or one_line(error)}); check the file"
            ) from None

    def _opened_once(self) -> BinaryIO:
        if self._waiting is not None:
            stream, self._waiting = self._waiting, None
            return stream
        if self._counted is not None:
            raise UsageError(f"{self.name} can be read only once; write it to a file and give that")
        return self._stream(self._raw(), None)

    def _raw(self) -> BinaryIO:
        if self._url is not None:
            return _open_url(self._url)
        try:
            return sys.stdin.buffer if self.path is None else self.path.open("rb", buffering=0)
        except ValueError:
            raise DataError(f"{self.name!r}: no file has a NUL in its name; check the path") from None

    def _stream(self, raw: BinaryIO, stack: ExitStack | None) -> BinaryIO:
        self._counted = _Counted(raw, self._progress)
        buffered = cast(io.BufferedReader, io.BufferedReader(self._counted, _BUFFER))
        if stack is not None and self.path is not None and buffered.peek(4)[:4] == _ZIP:
            stream = _zip_member(self.path, stack)
        else:
            stream = _decompressed(buffered)
        self._plain = stream is buffered
        return stream


def byte_stream(path: Path, progress: Callable[[int], None] | None = None) -> AbstractContextManager[BinaryIO]:
    return ByteInput(path, progress).opened()


def read_lines(source: Path | ByteInput, longest: int | None = None) -> Iterator[str | None]:
    """Yield the lines of a UTF-8 file without their ends; None for a line over ``longest`` bytes.

    ``\\n`` or ``\\r\\n`` ends a line, and a lone ``\\r`` in a file whose lines end so; U+2028, U+0085 or a vertical tab
    inside a sentence do not split it. A byte order mark is skipped. The lines before a fault are yielded first.
    """
    source = source if isinstance(source, ByteInput) else ByteInput(source)
    return chain.from_iterable(_blocks(source, MAX_LINE_BYTES if longest is None else longest))


def text_lines(source: Path | ByteInput, longest: int = MAX_TEXT_BYTES) -> Iterator[tuple[int, str]]:
    """Yield (number from 1, line) of a UTF-8 file, see ``read_lines``; a line over ``longest`` is a DataError."""
    name = source.name if isinstance(source, ByteInput) else source
    for number, line in enumerate(read_lines(source, longest), start=1):
        if line is None:
            raise DataError(f"{at(name, number)}: a line over {longest >> 20} MiB; give one text per line")
        yield number, line


def json_lines(source: Path | ByteInput) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (number, object) of a file of JSON lines, without blank lines."""
    name = source.name if isinstance(source, ByteInput) else source
    for number, line in text_lines(source):
        if line.strip():
            try:
                row = parse_json(line)
            except ValueError:
                row = None
            if not isinstance(row, dict):
                raise DataError(f'{at(name, number)}: not a JSON object; write one per line, such as {{"id": "1", …}}')
            yield number, row


def parse_json(text: str) -> Any:
    """Parse JSON, or raise ValueError; what only some parsers take is read, as it may be in a field that nobody needs.

    NaN and infinity are numbers, an integer of thousands of digits is infinite, control characters may be in a text,
    and what is nested deeper than ``_DEEPEST`` is null.
    """
    try:
        return _decode(text)
    except RecursionError:
        text = _without_depths(text)
    except ValueError:
        pass
    return _decode_leniently(text)


def _whole_number(digits: str) -> int | float:
    return int(digits) if len(digits) < sys.int_info.default_max_str_digits else float(digits)


_DEEPEST = 100
_JSON_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{}]', re.DOTALL)
_decode = json.JSONDecoder().decode
_decode_leniently = json.JSONDecoder(strict=False, parse_int=_whole_number).decode


def _without_depths(text: str) -> str:
    kept, position, depth = [], 0, 0
    for token in _JSON_TOKEN.finditer(text):
        if token[0] in "[{":
            depth += 1
            if depth == _DEEPEST:
                kept.append(text[position : token.start()])
        elif token[0] in "]}":
            if depth == _DEEPEST:
                kept.append("null")
                position = token.end()
            depth -= 1
    return "".join(kept) + (text[position:] if depth < _DEEPEST else "")


@contextmanager
def open_compressed(path: Path, suffix: str) -> Iterator[IO[bytes]]:
    """Open a file for writing, compressed as ``suffix`` (one of ``COMPRESSED``) says; any other suffix: plain.

    The same content gives the same bytes: no date and no name is stored.
    """
    compressor = _zstandard().ZstdCompressor(level=6) if suffix == ".zst" else None
    with ExitStack() as stack:
        raw: Any = stack.enter_context(path.open("wb"))
        if suffix == ".gz":
            raw = stack.enter_context(gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=0))
        elif suffix == ".bz2":
            raw = stack.enter_context(bz2.BZ2File(raw, "wb"))
        elif suffix == ".xz":
            raw = stack.enter_context(lzma.LZMAFile(raw, "wb"))
        elif compressor is not None:
            raw = stack.enter_context(compressor.stream_writer(raw, closefd=False))
        yield raw


def plain_name(name: str) -> str:
    """Return a file's name without the suffix of its compression."""
    suffix = next((one for one in (*COMPRESSED, ".zip") if name.lower().endswith(one)), "")
    return name.removesuffix(name[len(name) - len(suffix) :])


def _zstandard() -> Any:
    try:
        import zstandard
    except ImportError:
        raise MissingDependencyError(
            "writing .zst needs zstandard: pip install 'kivuko[data]', or name the file .gz"
        ) from None
    return zstandard


def _open_url(url: str) -> BinaryIO:
    try:
        import fsspec
    except ImportError:
        raise MissingDependencyError(f"{url} needs fsspec: pip install 'kivuko[data]', or download the file") from None
    try:
        return cast(BinaryIO, fsspec.open(url, "rb").open())
    except ImportError as problem:  # of the package for one scheme
        scheme = url.partition(":")[0].replace("https", "http")
        raise MissingDependencyError(
            f"{url}: {first_line(problem)}. Run: pip install 'fsspec[{scheme}]', or download the file"
        ) from None
    except (KivukoError, FileNotFoundError):
        raise
    except ValueError as problem:
        raise UsageError(f"{url}: {first_line(problem)}; give https://, s3://, hf:// or a path") from None
    except Exception as problem:  # each scheme has its own errors
        raise DataError(f"{url}: cannot be opened ({first_line(problem)}); check the URL and your access") from None


class _Counted(io.RawIOBase):
    def __init__(self, raw: Any, progress: Callable[[int], None] | None) -> None:
        self._raw = raw
        self._read_some = getattr(raw, "readinto1", None) or raw.readinto  # a pipe is read as it fills
        self._progress = progress
        self.count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        read: int = self._read_some(buffer) or 0
        self.count += read
        if self._progress is not None:
            self._progress(self.count)
        return read


class _Continued(io.RawIOBase):
    """A stream whose start was read before."""

    def __init__(self, start: bytes, rest: BinaryIO) -> None:
        self._start, self._rest = start, rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        part, self._start = self._start[: len(buffer)], self._start[len(buffer) :]
        part = part or self._rest.read(len(buffer))
        buffer[: len(part)] = part
        return len(part)


class _Zstandard(io.RawIOBase):
    """Decompresses with Arrow, which is always installed and notices a stream that was cut short."""

    def __init__(self, raw: BinaryIO) -> None:
        import pyarrow

        self._damaged = (OSError, pyarrow.ArrowException)
        self._stream = pyarrow.CompressedInputStream(pyarrow.PythonFile(raw, mode="r"), "zstd")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            part: bytes = self._stream.read(len(buffer))
        except self._damaged as error:
            raise EOFError(one_line(error)) from None
        buffer[: len(part)] = part
        return len(part)


def is_compressed(start: bytes) -> bool:
    """Return True if a file that begins like this is compressed as a whole."""
    bzip2 = start.startswith(_BZIP2) and start[4:10] in _BZIP2_BLOCKS
    return bzip2 or start.startswith((_GZIP, _XZ, _ZSTD))


def _decompressed(raw: io.BufferedReader) -> BinaryIO:
    start = raw.peek(10)[:10]
    if start.startswith(_GZIP):
        return cast(BinaryIO, gzip.GzipFile(fileobj=raw, mode="rb"))
    if start.startswith(_BZIP2) and start[4:] in _BZIP2_BLOCKS:
        return cast(BinaryIO, bz2.BZ2File(raw))
    if start.startswith(_XZ):
        return cast(BinaryIO, lzma.LZMAFile(raw))
    if start.startswith(_ZSTD) or (start[1:4] == _ZSTD_SKIPPABLE and 0x50 <= start[0] <= 0x5F):
        return cast(BinaryIO, io.BufferedReader(_Zstandard(raw), _BUFFER))
    return raw


def _zip_member(path: Path, stack: ExitStack) -> BinaryIO:
    """Open the only file of a zip archive; ``stack`` closes it."""
    archive = stack.enter_context(zipfile.ZipFile(path))
    members = [one for one in archive.infolist() if not one.is_dir() and not one.filename.startswith("__MACOSX/")]
    if len(members) != 1:
        raise DataError(
            f"{path}: a zip archive of {len(members):,} files, where one is read; unpack it and give what is in it, "
            "for Moses as FILE,ENGLISH_FILE"
        )
    if members[0].flag_bits & 1:
        raise DataError(f"{path}: the zip archive is encrypted; unpack it with its password and give the file in it")
    try:
        return cast(BinaryIO, stack.enter_context(archive.open(members[0])))
    except NotImplementedError as problem:  # a compression that Python lacks
        raise DataError(f"{path}: {one_line(problem)}; unpack it and give the file in it") from None


def _size(path: Path | None) -> int | None:
    try:
        return path.stat().st_size if path is not None and path.is_file() else None
    except (OSError, ValueError):  # reported on opening
        return None


def _is_pipe(path: Path) -> bool:
    try:
        return path.exists() and not path.is_file() and not path.is_dir()
    except (OSError, ValueError):
        return False


def _blocks(source: ByteInput, longest: int) -> Iterator[list[str | None]]:
    number = 1  # of the first line in the block
    with source.opened() as stream:
        for lines in _whole_lines(_with_line_feeds(stream), longest):
            if lines is None:
                yield [None]
                number += 1
                continue
            texts, fault = _texts(lines, source.name, number)
            yield texts
            if fault:
                raise fault
            number += len(texts)


def _with_line_feeds(stream: BinaryIO) -> Iterator[bytes]:
    """Yield a file in blocks; if its lines end in a lone CR, as on old Macs, with LF in its place.

    One LF does not count: of a header, or at the end.
    """
    block = stream.read(_BLOCK)
    feeds, returns = block.count(b"\n"), block.count(b"\r") - block.count(b"\r\n")
    if returns <= feeds or feeds > 1:
        while block:
            yield block
            block = stream.read(_BLOCK)
        return
    held = b""  # a CR that may be followed by LF
    while block:
        block = held + block
        held = b"\r" if block.endswith(b"\r") else b""
        yield block.removesuffix(b"\r").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        block = stream.read(_BLOCK)
    if held:
        yield b"\n"


def _whole_lines(blocks: Iterable[bytes], longest: int) -> Iterator[bytes | None]:
    """Yield runs of whole lines; None for a line over the limit, of which little is held.

    A run with a NUL in it may end with half a line, and nothing is read after it.
    """
    parts: list[bytes] = []  # of the line that has not ended yet
    length = 0
    for block in blocks:
        first, nul = block.find(b"\n") + 1, block.find(b"\0")
        if not first and nul < 0:
            length += len(block)
            if length <= longest:
                parts.append(block)
            else:
                del parts[1:]
            continue
        if length + first - 1 > longest and first > 0 and not 0 <= nul < first:
            yield None
            parts, block = [], block[first:]
        end = len(block) if nul >= 0 else block.rfind(b"\n") + 1
        yield b"".join([*parts, block[:end]])
        if nul >= 0:
            return
        parts, length = [block[end:]], len(block) - end
    if length > longest:
        yield None
    elif length:
        yield b"".join(parts)


def _texts(lines: bytes, name: str, number: int) -> tuple[list[str | None], DataError | None]:
    """Return the texts of whole lines, and the error of the line after them, if any."""
    if number == 1:
        if (wide := _wide_encoding(lines)) is not None:
            return [], DataError(f"{at(name, 1)}: {wide.upper()}, not UTF-8; convert with iconv -f {wide} -t utf-8")
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
    returns = "\r" in text
    while returns and "\r\n" in text:  # a text written twice in the way of Windows has two CRs
        text = text.replace("\r\n", "\n")
    texts: list[str | None] = list(text.removesuffix("\n").split("\n")) if text else []
    if not lines.endswith(b"\n") and texts and texts[-1] is not None:
        texts[-1] = texts[-1].rstrip("\r")  # the last line of a file
    if returns and "\r" in text:
        texts = [part for line in texts if line is not None for part in _parted_at_returns(line)]
    return texts, fault


def _parted_at_returns(line: str) -> list[str]:
    """Split a line at lone CRs where that is evident: into JSON objects, or rows of as many tabs each."""
    parts = [part for part in line.split("\r") if part.strip()]
    tabs = {part.count("\t") for part in parts}
    objects = all(part.lstrip().startswith("{") and part.rstrip().endswith("}") for part in parts)
    return parts if len(parts) > 1 and (objects or (len(tabs) == 1 and tabs != {0})) else [line]


_WIDE = (
    (re.compile(rb"[^\0]\0\0\0"), "utf-32le"),
    (re.compile(rb"\0\0\0[^\0]"), "utf-32be"),
    (re.compile(rb"[^\0]\0[^\0]\0"), "utf-16le"),
    (re.compile(rb"\0[^\0]\0[^\0]"), "utf-16be"),
)


def _wide_encoding(start: bytes) -> str | None:
    """Return UTF-16 or UTF-32 if a text begins so: with a byte order mark, or with two ASCII letters."""
    for mark, encoding in _MARKS[1:5]:
        if start.startswith(mark):
            return encoding
    return next((encoding for pattern, encoding in _WIDE if pattern.match(start)), None)


def _binary(name: str, number: int) -> DataError:
    return DataError(
        f"{at(name, number)}: a NUL byte, so this is a binary file, not UTF-8 text; give a text file "
        f"(or convert it from UTF-16 with iconv -f utf-16le -t utf-8)"
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


def utf8_blocks(stream: BinaryIO, name: str, size: int, line: Callable[[], int]) -> Iterator[bytes]:
    """Yield a document's bytes in UTF-8, without a byte order mark, ``size`` bytes at once.

    The encoding is that of its byte order mark, else of its declaration, else UTF-8. ``line`` returns the current line,
    for messages. Bytes that are not UTF-8 are left for the parser to report.
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
        reason = error.reason if isinstance(error, UnicodeDecodeError) else str(error)
        raise DataError(
            f"{at(name, line())}: after this line, bytes that are not {encoding} ({reason}); correct the "
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
    # A declaration that can be read byte by byte is not in UTF-16, whatever it declares; most often it is UTF-8 by now.
    if codec.name.startswith(("utf-16", "utf-32")) or codec.name in ("ascii", "utf-8-sig"):
        return "utf-8"
    return codec.name
