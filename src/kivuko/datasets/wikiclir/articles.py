"""Articles of one Wikipedia, as a stream: from its XML dump, from WikiExtractor's JSON, or from a CirrusSearch dump."""

from __future__ import annotations

import json
import re
import xml.parsers.expat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from kivuko.datasets.collections.byte_stream import byte_stream
from kivuko.datasets.collections.fields import encodable
from kivuko.datasets.collections.text_lines import MAX_LINE_BYTES
from kivuko.datasets.wikiclir.wikitext import plain_text
from kivuko.errors import DataError, at

_PIECE = 1 << 16
_ID = re.compile(r"[0-9]{1,18}")
_MOST_TEXT = 8 << 20  # characters of one article: MediaWiki stops at 2 MiB


@dataclass(frozen=True)
class Article:
    """A page of the main namespace. ``redirect``: the title that it leads to, if it is a redirect; then no text.

    ``aliases``: titles of redirects to it, where the source lists them so. ``wikitext`` says whether
    ``text`` still holds markup: ``plain`` takes it out, which costs more than reading.
    """

    id: int
    title: str
    text: str
    redirect: str | None = None
    aliases: tuple[str, ...] = ()
    wikitext: bool = False

    @property
    def plain(self) -> str:
        """The text without markup, a paragraph per line."""
        return plain_text(self.text) if self.wikitext else self.text


def read_articles(path: Path, progress: Callable[[int], None] | None = None) -> Iterator[Article]:
    """Yield the pages of the main namespace, redirects too; at most one is held in memory.

    A folder is read file by file, in the order of their names (WikiExtractor writes ``AA/wiki_00`` and so on).

    Args:
        progress: told how many bytes, as they lie on disk, have been read: of all files together.

    Raises:
        DataError: neither MediaWiki's XML nor JSON lines, damaged, or cut short; the message names ``path:line``.
    """
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    if not files:
        raise DataError(f"{path}: no file in this folder; put the articles there")
    before = 0
    for file in files:
        yield from _of_file(file, None if progress is None else _shifted(progress, before))
        before += file.stat().st_size


def _shifted(progress: Callable[[int], None], before: int) -> Callable[[int], None]:
    return lambda read: progress(before + read)


def _of_file(path: Path, progress: Callable[[int], None] | None) -> Iterator[Article]:
    with byte_stream(path, progress) as stream:
        first = stream.read(_PIECE)
        start = first.removeprefix(b"\xef\xbb\xbf").lstrip()
        if not start:
            raise DataError(f"{path}: is empty; give articles as MediaWiki's XML or as JSON lines")
        if start.startswith(b"<doc "):
            raise DataError(f"{path}: WikiExtractor's own format; run it again with --json")
        if start.startswith(b"<"):
            yield from _xml_articles(stream, first, path)
        elif start.startswith(b"{"):
            yield from _json_articles(stream, first, path)
        else:
            raise DataError(f"{path}: neither MediaWiki's XML nor JSON lines; give the dump or what WikiExtractor made")


@dataclass
class _Page:
    """Gathers the parts of one ``<page>``."""

    title: str = ""
    namespace: str = ""
    id: str = ""
    text: str = ""
    redirect: str | None = None


@dataclass
class _Reader:
    """Takes expat's events; whole pages wait in ``ready``."""

    ready: list[_Page] = field(default_factory=list)
    _path: list[str] = field(default_factory=list)
    _page: _Page = field(default_factory=_Page)
    _words: list[str] | None = None
    _size: int = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._path.append(name)
        depth = len(self._path)
        if name == "page" and depth == 2:
            self._page = _Page()
        elif name == "redirect" and depth == 3:
            self._page.redirect = attributes.get("title", "")
        # A revision and its contributor have ids of their own, one level down.
        self._words = [] if (name in ("title", "ns", "id") and depth == 3) or (name == "text" and depth == 4) else None
        self._size = 0

    def data(self, words: str) -> None:
        if self._words is not None and self._size <= _MOST_TEXT:
            self._size += len(words)
            self._words.append(words)

    def end(self, name: str) -> None:
        depth = len(self._path)
        self._path.pop()
        found, self._words = "".join(self._words or ()), None
        if name == "page" and depth == 2:
            self.ready.append(self._page)
        elif depth == 3 and name == "title":
            self._page.title = found
        elif depth == 3 and name == "ns":
            self._page.namespace = found
        elif depth == 3 and name == "id":
            self._page.id = found
        elif depth == 4 and name == "text":
            self._page.text = found


def _xml_articles(stream: BinaryIO, first: bytes, path: Path) -> Iterator[Article]:
    reader = _Reader()
    parser = xml.parsers.expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = reader.start, reader.end
    parser.CharacterDataHandler = reader.data

    def refuse(*_: Any) -> None:
        raise DataError(f"{at(path, parser.CurrentLineNumber)}: declares entities, which no dump does; not read")

    parser.EntityDeclHandler = refuse
    piece = first
    try:
        while piece:
            parser.Parse(piece, False)
            yield from _main_pages(reader, parser, path)
            piece = stream.read(_PIECE)
        parser.Parse(b"", True)
    except xml.parsers.expat.ExpatError as problem:
        raise DataError(
            f"{at(path, problem.lineno)}: not XML as MediaWiki dumps it ({xml.parsers.expat.ErrorString(problem.code)})"
            "; the file is damaged or cut short: fetch it again"
        ) from None
    yield from _main_pages(reader, parser, path)


def _main_pages(reader: _Reader, parser: Any, path: Path) -> Iterator[Article]:
    pages, reader.ready = reader.ready, []
    for page in pages:
        if page.namespace.strip() not in ("0", ""):  # dumps before 2012 had no <ns>
            continue
        if not _ID.fullmatch(page.id.strip()) or not page.title.strip():
            raise DataError(
                f"{at(path, parser.CurrentLineNumber)}: a <page> without <id> or <title>; not a Wikipedia dump"
            )
        text = "" if page.redirect is not None or len(page.text) > _MOST_TEXT else page.text
        yield Article(int(page.id), page.title.strip(), text, page.redirect, wikitext=True)


def _json_articles(stream: BinaryIO, first: bytes, path: Path) -> Iterator[Article]:
    cirrus_id: int | None = None
    for number, line in enumerate(_lines(stream, first), start=1):
        if not line.strip():
            continue
        place = at(path, number)
        if len(line) > MAX_LINE_BYTES:
            raise DataError(f"{place}: a line over {MAX_LINE_BYTES >> 20} MiB; give one article per line")
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise DataError(f"{place}: not a JSON object; give one article per line")
        if isinstance(index := row.get("index"), dict) and "title" not in row:
            cirrus_id = _whole(index.get("_id"), place)  # a CirrusSearch dump has the id on a line before the article
            continue
        if str(row.get("namespace", 0)) == "0":
            own = row.get("page_id", row.get("id", row.get("pageid")))
            yield _article(row, cirrus_id if own is None else _whole(own, place), place)
        cirrus_id = None


def _lines(stream: BinaryIO, first: bytes) -> Iterator[bytes]:
    *whole, rest = first.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    yield from whole
    yield rest + stream.readline(MAX_LINE_BYTES + 1)
    while line := stream.readline(MAX_LINE_BYTES + 1):
        yield line


def _article(row: dict[str, Any], number: int | None, place: str) -> Article:
    title, text = row.get("title"), row.get("text")
    if number is None or not isinstance(title, str) or not title.strip():
        raise DataError(f"{place}: no id or no title; give WikiExtractor's JSON or a CirrusSearch dump")
    title, aliases = encodable(title).strip(), _aliases(row.get("redirect"))
    if not isinstance(text, str):
        source = row.get("source_text")
        return Article(number, title, encodable(str(source or "")), None, aliases, wikitext=True)
    if isinstance(opening := row.get("opening_text"), str) and opening.strip():
        # Cirrus flattens the whole article into one line; its first paragraph comes apart.
        text = f"{opening.strip()}\n{text.strip().removeprefix(opening.strip()).strip()}"
    return Article(number, title, encodable(text), None, aliases)


def _aliases(redirects: Any) -> tuple[str, ...]:
    """Return the titles in the main namespace that lead to an article, as CirrusSearch lists them with it."""
    listed = [one for one in redirects if isinstance(one, dict)] if isinstance(redirects, list) else []
    titles = (one.get("title") for one in listed if str(one.get("namespace", 0)) == "0")
    return tuple(encodable(title) for title in titles if isinstance(title, str))


def _whole(value: Any, place: str) -> int:
    if isinstance(value, bool) or not _ID.fullmatch(str(value)):
        raise DataError(f"{place}: id {str(value)[:40]!r} is no whole number")
    return int(value)
