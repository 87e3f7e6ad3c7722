"""Documents in TREC's SGML: ``<DOC> <DOCNO> FT911-1 </DOCNO> <TEXT> … </TEXT> </DOC>``, as a stream."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

from kivuko.datasets.collections.collection import Document
from kivuko.datasets.collections.fields import identifier
from kivuko.datasets.collections.text_lines import MAX_LINE_BYTES, text_lines
from kivuko.errors import DataError, at

_START, _END = re.compile(r"<DOC\b[^<>]*>", re.IGNORECASE), re.compile(r"</DOC\s*>", re.IGNORECASE)
_TAG = re.compile(r"<(/?)([A-Za-z][\w.-]*)[^<>]*>|<!--.*?-->", re.DOTALL)
_NUMBER = frozenset({"docno", "docid", "id"})
_TITLE = frozenset({"title", "ti", "headline", "hl", "head", "ttl"})
_TEXT = frozenset({"text", "body", "leadpara", "lp", "abstract", "article"})


def sgml_documents(path: Path) -> Iterator[Document]:
    """Yield the documents of one file; at most one is held in memory.

    The title is what stands in TITLE, HEADLINE, HL and their kin, the text what stands in TEXT, BODY, LEADPARA and
    theirs; a document that has none of those gives all its text. Tags are dropped, character references resolved.

    Raises:
        DataError: see ``text_lines``; also a document without a number, without an end, or over 16 MiB.
    """
    started, size = 0, 0
    body: list[str] = []
    for number, line in text_lines(path):
        rest = line
        while True:
            if not started:
                start = _START.search(rest)
                if start is None:
                    break
                started, size, body, rest = number, 0, [], rest[start.end() :]
            end = _END.search(rest)
            if end is None:
                body.append(rest)
                size += len(rest)
                break
            yield _document("\n".join([*body, rest[: end.start()]]), at(path, started))
            started, rest = 0, rest[end.end() :]
        if size > MAX_LINE_BYTES:
            raise DataError(f"{at(path, started)}: a document over {MAX_LINE_BYTES >> 20} MiB; is its </DOC> missing?")
    if started:
        raise DataError(f"{at(path, started)}: this document has no </DOC>; the file is cut short: fetch it again")


def _document(body: str, place: str) -> Document:
    parts: dict[str, list[str]] = {"number": [], "title": [], "text": [], "other": []}
    open_tags: list[str] = []
    last = 0
    for tag in _TAG.finditer(body):
        parts[_kind(open_tags)].append(body[last : tag.start()])
        last = tag.end()
        name = (tag[2] or "").lower()
        if name and tag[1]:
            if name in open_tags:
                del open_tags[len(open_tags) - 1 - open_tags[::-1].index(name) :]
        elif name in _NUMBER | _TITLE | _TEXT:  # others may stand alone, such as <P>
            open_tags.append(name)
    parts[_kind(open_tags)].append(body[last:])
    number, title, text, other = (" ".join(html.unescape(" ".join(parts[kind])).split()) for kind in parts)
    # A document may have a DOCID beside its DOCNO; the first counts.
    return Document(identifier(number.split()[0] if number else None, place), text or ("" if title else other), title)


def _kind(open_tags: list[str]) -> str:
    for name in reversed(open_tags):
        if name in _NUMBER:
            return "number"
        if name in _TITLE:
            return "title"
        return "text"
    return "other"
