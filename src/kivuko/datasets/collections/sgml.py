"""TREC's SGML, as streams: documents (``<DOC> <DOCNO> FT911-1 </DOCNO> <TEXT> … </TEXT> </DOC>``) and topics."""

import html
import re
from collections.abc import Iterator
from pathlib import Path

from kivuko.datasets.collections.collection import Document, identifier
from kivuko.errors import DataError, at
from kivuko.languages import known_code
from kivuko.streams import MAX_TEXT_BYTES, text_lines
from kivuko.text import single_spaced, without_inline_tags

_START, _END = re.compile(r"<DOC\b[^<>]*>", re.IGNORECASE), re.compile(r"</DOC\s*>", re.IGNORECASE)
_TAG = re.compile(r"<(/?)([A-Za-z][\w.-]*)[^<>]*>|<!--.*?-->", re.DOTALL)
_NUMBER = frozenset({"docno", "docid", "id"})
_TITLE = frozenset({"title", "ti", "headline", "hl", "head", "ttl"})
_TEXT = frozenset({"text", "body", "leadpara", "lp", "abstract", "article"})


def sgml_documents(path: Path) -> Iterator[Document]:
    """Yield the documents of one file; at most one, of up to 16 MiB, is held in memory.

    The title is the content of TITLE, HEADLINE, HL and the like, the text that of TEXT, BODY, LEADPARA and the like,
    else all text. Tags are dropped, character references resolved.
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
        if size > MAX_TEXT_BYTES:
            raise DataError(f"{at(path, started)}: a document over {MAX_TEXT_BYTES >> 20} MiB; is its </DOC> missing?")
    if started:
        raise DataError(f"{at(path, started)}: this document has no </DOC>; the file is cut short: fetch it again")


def _document(body: str, place: str) -> Document:
    parts: dict[str, list[str]] = {"number": [], "title": [], "text": [], "other": []}
    open_tags: list[str] = []
    last = 0
    body = without_inline_tags(body)
    for tag in _TAG.finditer(body):
        parts[_kind(open_tags)].append(body[last : tag.start()])
        last = tag.end()
        name = (tag[2] or "").lower()
        if name and tag[1]:
            if name in open_tags:
                del open_tags[len(open_tags) - 1 - open_tags[::-1].index(name) :]
        elif name in _NUMBER | _TITLE | _TEXT:  # others may have no end, such as <P>
            open_tags.append(name)
    parts[_kind(open_tags)].append(body[last:])
    number, title, text, other = (" ".join(html.unescape(" ".join(parts[kind])).split()) for kind in parts)
    # A document may have a DOCID and a DOCNO; the first counts.
    return Document(identifier(number.split()[0] if number else None, place), text or ("" if title else other), title)


def _kind(open_tags: list[str]) -> str:
    for name in reversed(open_tags):
        if name in _NUMBER:
            return "number"
        if name in _TITLE:
            return "title"
        return "text"
    return "other"


# Topics as TREC and CLEF publish them: SGML-like text whose tags are often not closed, which no XML parser reads.

_TOPICS_START = re.compile(r"<(top|topic|query)\b([^<>]*)>", re.IGNORECASE)
_TOPICS_END = re.compile(r"</(top|topic|query)\s*>", re.IGNORECASE)
_TOPICS_TAG = re.compile(r"<(/?)([A-Za-z][\w.-]*)[^<>]*>")
_NUMBER_ATTRIBUTE = re.compile(r"""\b(?:number|id|num|lang_id)\s*=\s*["']([^"']+)["']""", re.IGNORECASE)
_LANGUAGE_ATTRIBUTE = re.compile(r"""\b(?:xml:)?lang\s*=\s*["']([^"']+)["']""", re.IGNORECASE)
_LABEL = re.compile(r"\s*(?:Number|Topic|Title|Description|Query)\s*:\s*", re.IGNORECASE)
_NUMBERS = ("num", "number", "id", "identifier", "qid")
_TITLES = ("title", "query", "text")


def read_topics(path: Path) -> dict[str, dict[str, str]]:
    """Read the titles of topics: ``<top> <num> Number: 301 <title> … <desc> …</top>`` and its variants.

    Tags may have no end (TREC) or one (XML); the number may be an attribute; titles may be by language (``<EN-title>``
    as in CLEF, ``<topic lang="sw">``). Returns language (``""`` if not stated) -> query id -> title.
    """
    queries: dict[str, dict[str, str]] = {}
    for line, attributes, body in _topics(path):
        place = at(path, line)
        fields = _fields(body)
        stated = _NUMBER_ATTRIBUTE.search(attributes)
        number = next((fields[name] for name in _NUMBERS if fields.get(name)), stated[1] if stated else None)
        if number is not None and len(parts := number.split()) > 1:
            number = parts[-1]  # such as "Topic 301"
        query = identifier(number, place)
        titles = _titles(fields, attributes)
        if not any(titles.values()):
            raise DataError(f"{place}: topic {query} has no title; give it one in <title>")
        for code, title in titles.items():
            if query in queries.setdefault(code, {}):
                raise DataError(f"{place}: topic {query} occurs twice; ids must be unique")
            queries[code][query] = title
    if not queries:
        raise DataError(f"{path}: no topic in it; give <top> … </top>, or queries as id<TAB>text in a .tsv file")
    return queries


def _topics(path: Path) -> Iterator[tuple[int, str, str]]:
    """Yield (line, attributes, text) of each topic; one that is not closed ends where the next begins."""
    started, attributes = 0, ""
    body: list[str] = []
    for number, line in text_lines(path):
        rest = line
        while True:
            if not started:
                start = _TOPICS_START.search(rest)
                if start is None:
                    break
                started, attributes, body = number, start[2], []
                rest = rest[start.end() :]
                continue
            end = _TOPICS_END.search(rest)
            # <query> may also be a field of a topic: only the tag that opened a topic opens the next.
            again = re.search(r"<top(?:ic)?\b[^<>]*>", rest, re.IGNORECASE)
            cut = min((one.start() for one in (end, again) if one), default=None)
            if cut is None:
                body.append(rest)
                break
            closes_field = end is not None and cut == end.start() and _is_field(end[1], body, rest[:cut])
            if closes_field and end is not None:
                body.append(rest[: end.end()])
                rest = rest[end.end() :]
                continue
            body.append(rest[:cut])
            yield started, attributes, "\n".join(body)
            started = 0
            rest = rest[end.end() :] if end is not None and cut == end.start() else rest[cut:]
    if started:
        yield started, attributes, "\n".join(body)


def _is_field(tag: str, body: list[str], rest: str) -> bool:
    """Return True if ``</query>`` closes a field of the topic rather than the topic."""
    return tag.lower() == "query" and re.search(r"<query\b", "\n".join([*body, rest]), re.IGNORECASE) is not None


def _fields(body: str) -> dict[str, str]:
    """Return the text after each tag up to the next, by the tag's name in lower case; the first of a name counts."""
    fields: dict[str, str] = {}
    body = without_inline_tags(body)
    tags = list(_TOPICS_TAG.finditer(body))
    for place, tag in enumerate(tags):
        end = tags[place + 1].start() if place + 1 < len(tags) else len(body)
        name = tag[2].lower()
        if not tag[1] and name not in fields:
            fields[name] = single_spaced(html.unescape(_LABEL.sub("", body[tag.end() : end], count=1)))
    if not tags and body.strip():
        fields["text"] = single_spaced(html.unescape(body))
    return fields


def _titles(fields: dict[str, str], attributes: str) -> dict[str, str]:
    """Return the titles by language; ``""`` where none is stated."""
    by_language = {}
    for name, text in fields.items():
        code, dash, rest = name.partition("-")
        if dash and rest == "title" and text and (known := known_code(code)):
            by_language[known] = text
    if by_language:
        return by_language
    stated = _LANGUAGE_ATTRIBUTE.search(attributes)
    code = (known_code(stated[1]) if stated else None) or ""
    return {code: next((fields[name] for name in _TITLES if fields.get(name)), "")}
