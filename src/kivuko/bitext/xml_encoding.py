"""The bytes of an XML document as UTF-8, whatever encoding it is in."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator

from kivuko.bitext.byte_input import ByteStream
from kivuko.errors import DataError, at

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
