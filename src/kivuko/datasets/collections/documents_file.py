"""Documents from files: JSON lines, tab-separated, or TREC's SGML; each as a stream."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from kivuko.datasets.collections.collection import Document
from kivuko.datasets.collections.fields import DOCUMENT_TEXT, ID, TITLE, field, identifier, is_heading
from kivuko.datasets.collections.sgml_documents import sgml_documents
from kivuko.datasets.collections.text_lines import json_lines, text_lines
from kivuko.errors import DataError, at


def read_documents(path: Path) -> Iterator[Document]:
    """Yield the documents of a file, or of all files in a folder and its folders in the order of their names.

    What a file holds is told by its first character: ``{`` JSON lines with an id, ``text`` (or ``contents``, ``body``,
    ``passage`` …) and perhaps ``title``; ``<`` TREC's SGML; anything else ``id<TAB>text`` or ``id<TAB>title<TAB>text``,
    perhaps under a heading that begins with ``id`` or another of its names. A document may be empty; it is still one
    that a search can find.

    Raises:
        DataError: a file cannot be read, or a document has no id or no text field; the message names ``path:line``.
    """
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
        if not files:
            raise DataError(f"{path}: no file in this folder; put the documents there")
        for file in files:
            yield from _documents(file)
    else:
        yield from _documents(path)


def write_document(stream: IO[bytes], document: Document) -> None:
    """Append one document to an open file of JSON lines."""
    row = {"id": document.id, "title": document.title, "text": document.text}
    if not document.title:
        del row["title"]
    stream.write(json.dumps(row, ensure_ascii=False).encode("utf-8", "replace") + b"\n")


@contextmanager
def compressed(path: Path) -> Iterator[IO[bytes]]:
    """Open a gzip file for writing that is the same whenever the same is written: no name or time in it."""
    with path.open("wb") as raw, gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=6, mtime=0) as stream:
        yield cast(IO[bytes], stream)


def _documents(path: Path) -> Iterator[Document]:
    first = next((line for _, line in text_lines(path) if line.strip()), "").lstrip()
    if first.startswith("{"):
        return _json_documents(path)
    return sgml_documents(path) if first.startswith("<") else _tab_documents(path)


def _json_documents(path: Path) -> Iterator[Document]:
    for number, row in json_lines(path):
        text = field(row, DOCUMENT_TEXT)
        if text is None:
            raise DataError(f"{at(path, number)}: no text; give it in a field such as {', '.join(DOCUMENT_TEXT[:3])}")
        yield Document(identifier(field(row, ID), at(path, number)), text, field(row, TITLE) or "")


def _tab_documents(path: Path) -> Iterator[Document]:
    for number, line in text_lines(path):
        if not line.strip() or (number == 1 and is_heading(line)):
            continue
        cells = line.split("\t")
        if not 2 <= len(cells) <= 3:
            raise DataError(
                f"{at(path, number)}: {len(cells)} tab-separated columns; write id<TAB>text or id<TAB>title<TAB>text"
            )
        yield Document(identifier(cells[0], at(path, number)), cells[-1], cells[1] if len(cells) == 3 else "")
