"""The dumps that a collection is built from: located by Wikimedia's names, and SQL tables read as streams."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import chain
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from kivuko.errors import DataError, at
from kivuko.languages import language
from kivuko.streams import byte_stream

# BCP 47 codes whose Wikipedia has another one: its database's name and the code in language links.
_WIKI = {"fil": "tl", "yue": "zh-yue", "nan": "zh-min-nan", "lzh": "zh-classical", "be-tarask": "be-x-old", "nb": "no",
         "rup": "roa-rup", "sgs": "bat-smg", "vro": "fiu-vro", "gsw": "als", "sr-Latn": "sr", "zh-Hant": "zh",
         "zh-Hans": "zh"}  # fmt: skip
_ARTICLES = (
    r"-pages-articles\.xml", r"-pages-articles-multistream\.xml", r"-cirrussearch-content\.json", r"-articles\.jsonl?",
    r"-extracted",
)  # fmt: skip
_PACKED = r"(?:\.gz|\.bz2|\.xz|\.zst)?"


@dataclass(frozen=True)
class WikiDumps:
    """The dumps of two Wikipedias: that of the queries and that of the documents.

    One of the two ``langlinks`` is enough. The other tables are of the documents' Wikipedia. ``page`` and ``redirect``
    are needed only if the articles lack redirects (WikiExtractor's JSON); ``linktarget`` only with a ``pagelinks`` made
    since 2024.
    """

    query_articles: Path
    document_articles: Path
    pagelinks: Path
    query_langlinks: Path | None = None
    document_langlinks: Path | None = None
    linktarget: Path | None = None
    page: Path | None = None
    redirect: Path | None = None

    def __post_init__(self) -> None:
        if self.query_langlinks is None and self.document_langlinks is None:
            raise DataError("no langlinks dump: it says which article is which in the other language; give one")
        for path in self.files().values():
            if not path.exists():
                raise DataError(f"{path}: no such file; check the path")

    def files(self) -> dict[str, Path]:
        given = ((one.name, getattr(self, one.name)) for one in fields(self))
        return {name: path for name, path in given if path is not None}


def wiki_code(code: str) -> str:
    """Return the code of a language's Wikipedia, as language links write it: ``tl`` for ``fil``."""
    return _WIKI.get(code, code.lower())


def find_dumps(folder: Path, query_language: str, document_language: str, **named: Path | None) -> WikiDumps:
    """Return the dumps of two Wikipedias in one folder: ``swwiki-20240101-langlinks.sql.gz`` and so on.

    Of the articles, XML dumps (``…-pages-articles.xml.bz2``, also ``-multistream``), CirrusSearch dumps
    (``…-cirrussearch-content.json.gz``) and WikiExtractor's JSON (``swwiki-articles.jsonl``, or a folder
    ``swwiki-extracted``) are known. ``named`` are files with other names, by the fields of ``WikiDumps``.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder. Put the dumps of both Wikipedias into one and name it.")
    names = sorted(folder.iterdir())
    own, other = (_database(language(code).code) for code in (query_language, document_language))
    looked_for = {
        "query_articles": (own, _ARTICLES), "document_articles": (other, _ARTICLES),
        "query_langlinks": (own, [r"-langlinks\.sql"]), "document_langlinks": (other, [r"-langlinks\.sql"]),
        "pagelinks": (other, [r"-pagelinks\.sql"]), "linktarget": (other, [r"-linktarget\.sql"]),
        "page": (other, [r"-page\.sql"]), "redirect": (other, [r"-redirect\.sql"]),
    }  # fmt: skip
    files: dict[str, Path | None] = {}
    for part, (wiki, endings) in looked_for.items():
        files[part] = named.get(part) or _only(names, wiki, endings)
    for part, example in (
        ("query_articles", f"{own}-…-pages-articles.xml.bz2"),
        ("document_articles", f"{other}-…-pages-articles.xml.bz2"),
        ("pagelinks", f"{other}-…-pagelinks.sql.gz"),
    ):  # fmt: skip
        if files[part] is None:
            raise DataError(
                f"{folder}: no {example} in it. Fetch it from https://dumps.wikimedia.org or name the file."
            )
    if files["query_langlinks"] is not None:
        files["document_langlinks"] = None  # one is enough, and the queries' Wikipedia usually has the smaller one
    elif files["document_langlinks"] is None:
        raise DataError(
            f"{folder}: no {own}-…-langlinks.sql.gz (or {other}-…-langlinks.sql.gz) in it. Fetch one of them."
        )
    return WikiDumps(**files)  # type: ignore[arg-type]


def _database(code: str) -> str:
    return wiki_code(code).replace("-", "_") + "wiki"


def _only(names: Sequence[Path], wiki: str, endings: Sequence[str]) -> Path | None:
    """Return the one file with such a name; of several kinds of articles, the first kind that exists."""
    for ending in endings:
        pattern = re.compile(rf"{re.escape(wiki)}(?:-(?:\d{{8}}|latest))?{ending}{_PACKED}")
        fitting = [path for path in names if pattern.fullmatch(path.name)]
        if len(fitting) > 1:
            listed = ", ".join(path.name for path in fitting[:3])
            raise DataError(f"{fitting[0].parent}: several fit: {listed}; keep one, or name the right one.")
        if fitting:
            return fitting[0]
    return None


# SQL dumps are mysqldump's: a CREATE TABLE that names the columns, then INSERT statements of a megabyte each, in which
# a line feed within a text is escaped. Columns are looked up by name: their order and number change over the years.

_PIECE = 1 << 20
_MOST_ROW = 4 << 20  # bytes; a title has at most 255
_NUMBER = rb"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|NULL|0x[0-9A-Fa-f]*"
_VALUE = rb"(?:_binary )?'([^'\\]*+(?:\\.[^'\\]*+)*+)'|(" + _NUMBER + rb")"
_CREATE = re.compile(rb"CREATE TABLE (?:IF NOT EXISTS )?`?([A-Za-z0-9_]+)`? \(")
_COLUMN = re.compile(rb"\s+`([A-Za-z0-9_]+)`\s")
_INSERT = re.compile(rb"INSERT (?:IGNORE )?INTO `?([A-Za-z0-9_]+)`?\s*(?:\([^()]*\)\s*)?VALUES\s*")
_MORE_ROWS = re.compile(rb"[\s,]*\(")
_WHOLE = re.compile(rb"[0-9]{1,18}")
_ESCAPE = re.compile(rb"\\(.)", re.DOTALL)
_ESCAPED = {b"0": b"\0", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"Z": b"\x1a"}


_Block = TypeVar("_Block")


class SqlDump:
    """One table's dump; ``progress`` is called with the compressed bytes read so far."""

    def __init__(self, path: Path, table: str, progress: Callable[[int], None] | None = None) -> None:
        self.path, self.table, self._progress = path, table, progress
        self.columns = self._read_columns()

    def has(self, *columns: str) -> bool:
        return set(columns) <= set(self.columns)

    def rows(self, *columns: str) -> Iterator[tuple[bytes, ...]]:
        """Yield the chosen columns of every row as bytes: text without quotes and escapes, anything else as written."""
        groups = [1 + 2 * place for place in self._places(columns)]  # a text; a number is in the next
        value = rb"\s*(?:" + _VALUE + rb")\s*"
        row = re.compile(rb"[\s,]*\(" + rb",".join([value] * len(self.columns)) + rb"\)", re.DOTALL)

        def parse(content: bytes, _: int) -> tuple[list[tuple[bytes, ...]], bytes]:
            rows, end = [], 0
            while match := row.match(content, end):
                rows.append(tuple([_unescaped(match[n]) if match[n] is not None else match[n + 1] for n in groups]))
                end = match.end()
            return rows, content[end:]

        return chain.from_iterable(self._blocks(parse))

    def numbers(self, *columns: str) -> Iterator[NDArray[np.int64]]:
        """Yield the chosen columns of all rows in blocks, int64 [rows, columns], for tables of whole numbers alone.

        Ten times as fast as ``rows``: links are the longest table of all.
        """
        places, count = self._places(columns), len(self.columns)

        def parse(content: bytes, line: int) -> tuple[NDArray[np.int64], bytes]:
            end = content.rfind(b")") + 1
            return self._parsed(content[:end], count, line)[:, places], content[end:]

        return (block for block in self._blocks(parse) if len(block))

    def _blocks(self, parse: Callable[[bytes, int], tuple[_Block, bytes]]) -> Iterator[_Block]:
        """Yield the blocks that ``parse`` returns, with the bytes after whole rows, which are parsed with the next."""
        rest, line = b"", 0
        for line, piece, begins, ends_line in self._pieces():
            if begins:
                self._refuse_rest(rest, line)
                rest = b""
            block, rest = parse(rest + piece, line)
            yield block
            if ends_line or len(rest) > _MOST_ROW:
                self._refuse_rest(rest, line)
                rest = b""
        self._refuse_rest(rest, line)

    def whole(self, value: bytes) -> int:
        """Return a value of ``rows`` as a whole number from 0, of at most 18 digits."""
        if not _WHOLE.fullmatch(value):
            shown = value[:40].decode("utf-8", "replace")
            raise DataError(
                f"{self.path}: {shown!r} in place of a whole number in table {self.table!r}; is it damaged?"
            )
        return int(value)

    def _parsed(self, body: bytes, count: int, line: int) -> NDArray[np.int64]:
        """Return rows of whole numbers, int64 [rows, count]; their brackets give their width."""
        if not body:
            return np.empty((0, count), dtype=np.int64)
        flat = body.translate(None, b"() \r\n").strip(b",")
        opened = body.count(b"(")
        if flat.translate(None, b"0123456789,-") or opened != body.count(b")"):
            raise self._malformed(line, body)
        try:
            values = np.fromstring(flat.decode("ascii"), dtype=np.int64, sep=",") if flat else np.empty(0, np.int64)
        except ValueError:
            raise self._malformed(line, body) from None
        if not len(values) or len(values) != count * opened:
            raise self._malformed(line, body)
        return values.reshape(-1, count)

    def _pieces(self) -> Iterator[tuple[int, bytes, bool, bool]]:
        """Yield at most a megabyte of the rows after VALUES: (line, rows, first of its statement, last of its line)."""
        with byte_stream(self.path, self._progress) as stream:
            line, begins_line, inside = 1, True, False
            while piece := stream.readline(_PIECE):
                ends_line = piece.endswith(b"\n")
                begins = False
                if begins_line:
                    if insert := _INSERT.match(piece):
                        self._check_table(insert[1], line)
                        piece, begins, inside = piece[insert.end() :], True, True
                    elif not (inside and _MORE_ROWS.match(piece)):  # rows may be on lines of their own
                        inside = False
                if inside:
                    yield line, piece, begins, ends_line
                line += ends_line
                begins_line = ends_line

    def _read_columns(self) -> tuple[str, ...]:
        columns: list[str] = []
        with byte_stream(self.path) as stream:
            created, line = False, 0
            while piece := stream.readline(_PIECE):
                line += 1
                if create := _CREATE.match(piece):
                    self._check_table(create[1], line)
                    created = True
                elif created and (column := _COLUMN.match(piece)):
                    columns.append(column[1].decode())
                elif columns or _INSERT.match(piece) or line > 1000:
                    break
        if not columns:
            raise DataError(
                f"{self.path}: no CREATE TABLE `{self.table}` at its beginning; give the .sql dump as Wikimedia has it"
            )
        return tuple(columns)

    def _check_table(self, name: bytes, line: int) -> None:
        if name.decode() != self.table:
            raise DataError(f"{at(self.path, line)}: this is table {name.decode()!r}, not {self.table!r}")

    def _places(self, columns: Sequence[str]) -> list[int]:
        for column in columns:
            if column not in self.columns:
                raise DataError(
                    f"{self.path}: table {self.table!r} has no column {column!r} (it has {', '.join(self.columns)}); "
                    "is this the right dump?"
                )
        return [self.columns.index(column) for column in columns]

    def _refuse_rest(self, rest: bytes, line: int) -> None:
        if rest.strip(b",; \t\r\n"):
            raise self._malformed(line, rest.lstrip(b", "))

    def _malformed(self, line: int, start: bytes) -> DataError:
        shown = start[:60].decode("utf-8", "replace")
        return DataError(
            f"{at(self.path, line)}: not a whole row of {self.table!r} with {len(self.columns)} columns: {shown!r}; "
            "the dump is damaged or cut short: fetch it again"
        )


def _unescaped(text: bytes) -> bytes:
    return _ESCAPE.sub(lambda match: _ESCAPED.get(match[1], match[1]), text) if b"\\" in text else text
