"""Documents, queries and judgments in files: JSON lines, tab-separated, or TREC's formats."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import IO, Any

from kivuko.datasets.collections.collection import (
    DOCUMENT_TEXT,
    ID,
    QUERY_TEXT,
    TITLE,
    Document,
    field,
    identifier,
    is_heading,
)
from kivuko.datasets.collections.sgml import read_topics, sgml_documents
from kivuko.errors import DataError, UsageError, at
from kivuko.files import atomic_path, write_text
from kivuko.languages import language
from kivuko.streams import json_lines, text_lines


def read_documents(path: Path) -> Iterator[Document]:
    """Yield the documents of a file, or of all files in a folder and its folders in the order of their names.

    The first character decides the format: ``{`` JSON lines with an id, ``text`` (or ``contents``, ``body``,
    ``passage`` …) and perhaps ``title``; ``<`` TREC's SGML; anything else ``id<TAB>text`` or ``id<TAB>title<TAB>text``,
    perhaps under a heading.
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
    row = {"id": document.id, "title": document.title, "text": document.text}
    if not document.title:
        del row["title"]
    stream.write(json.dumps(row, ensure_ascii=False).encode("utf-8", "replace") + b"\n")


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


Queries = dict[str, dict[str, str]]
"""Language (``""`` where the file says none) to query id to text."""


def read_queries(path: Path) -> Queries:
    """Read queries as lines ``id<TAB>text``, JSON lines, or TREC topics; the first character decides.

    JSON lines have an id (``id``, ``_id``, ``qid`` …) and ``text``, ``query``, ``title`` …, or a list ``topics`` with a
    language each, as HC4 and NeuCLIR: there, titles that people wrote take precedence over machine translations.
    """
    first = next((line for _, line in text_lines(path) if line.strip()), "").lstrip()
    if first.startswith("<"):
        return read_topics(path)
    queries: Queries = {}
    for place, code, name, text in _json_queries(path) if first.startswith("{") else _tab_queries(path):
        query = identifier(name, place)
        cleaned = " ".join((text or "").split())
        if not cleaned:
            raise DataError(f"{place}: query {query} has no text; write one or drop the line")
        if query in queries.setdefault(code, {}):
            raise DataError(f"{place}: query id {query} occurs twice; ids must be unique")
        queries[code][query] = cleaned
    if not queries:
        raise DataError(f"{path}: no query in it; give lines of id<TAB>text")
    return queries


def write_queries(path: Path, queries: Mapping[str, str]) -> None:
    """Write queries as ``id<TAB>text``, whole or not at all; white space within a text becomes one space."""
    write_text(path, "".join(f"{query}\t{' '.join(text.split())}\n" for query, text in queries.items()))


def _tab_queries(path: Path) -> Iterator[tuple[str, str, str, str]]:
    for number, line in text_lines(path):
        if not line.strip() or (number == 1 and is_heading(line)):
            continue
        query, tab, text = line.partition("\t")
        if not tab:
            raise DataError(f"{at(path, number)}: no tab; write id<TAB>text")
        yield at(path, number), "", query, text


def _json_queries(path: Path) -> Iterator[tuple[str, str, str | None, str | None]]:
    for number, row in json_lines(path):
        place = at(path, number)
        topics = row.get("topics")
        if isinstance(topics, list):
            yield from ((place, *rest) for rest in _topic_titles(field(row, ID), topics, place))
        else:
            yield place, "", field(row, ID), field(row, QUERY_TEXT)


def _topic_titles(name: str | None, topics: list[Any], place: str) -> Iterator[tuple[str, str | None, str | None]]:
    entries = [topic for topic in topics if isinstance(topic, dict)]
    if not entries:
        raise DataError(f"{place}: 'topics' holds no topic; give a list of objects with lang and topic_title")
    # What a person wrote takes precedence over a machine translation in the same language.
    by_machine = [topic for topic in entries if _by_machine(topic)]
    titles: dict[str, str | None] = {}
    for topic in chain((topic for topic in entries if not _by_machine(topic)), by_machine):
        try:
            code = language(field(topic, ("lang", "language")) or "en").code
        except UsageError as problem:
            raise DataError(f"{place}: {problem}") from None
        titles.setdefault(code, field(topic, ("topic_title", *QUERY_TEXT)))
    yield from ((code, name, title) for code, title in titles.items())


def _by_machine(topic: Mapping[str, Any]) -> bool:
    source = str(topic.get("source", "")).lower()
    return any(word in source for word in ("machine", "google", "mt", "automatic"))


_GRADE = re.compile(r"[+-]?[0-9]{1,9}")
_HIGHEST = 10_000  # trec_eval's memory and time grow with the highest grade: seconds at ten millions
_HEADING = re.compile(r"query[-_ ]?id", re.IGNORECASE)


def read_qrels(path: Path) -> dict[str, dict[str, int]]:
    """Read judgments ``query iteration document grade``: query id -> document id -> grade, in the file's order.

    A first line ``query-id corpus-id score`` announces three columns instead. Grades are whole numbers up to 10,000;
    those above 0 mean relevant. A repeated line counts once.
    """
    judgments: dict[str, dict[str, int]] = {}
    columns = 4
    for number, line in text_lines(path):
        cells = line.split()
        if not cells:
            continue
        if number == 1 and _HEADING.fullmatch(cells[0]):
            columns = len(cells)
            if columns in (3, 4):
                continue
        if len(cells) != columns or columns not in (3, 4):
            raise DataError(
                f"{at(path, number)}: {len(cells)} columns, but qrels have {columns if columns in (3, 4) else 4}: "
                "query iteration document grade"
            )
        query, document, grade = cells[0], cells[-2], cells[-1]
        if not _GRADE.fullmatch(grade):
            raise DataError(f"{at(path, number)}: grade {grade[:40]!r} is no whole number; write 0, 1, 2 …")
        if int(grade) > _HIGHEST:
            raise DataError(f"{at(path, number)}: grade {grade} is over {_HIGHEST:,}; write 0, 1, 2 …")
        if judgments.setdefault(query, {}).setdefault(document, int(grade)) != int(grade):
            raise DataError(
                f"{at(path, number)}: query {query[:40]!r} and document {document[:40]!r} were given another grade "
                "before; keep one"
            )
    if not judgments:
        raise DataError(f"{path}: no judgment in it; give lines of: query iteration document grade")
    return judgments


def write_qrels(path: Path, judgments: dict[str, dict[str, int]]) -> None:
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as stream:
        for query, grades in judgments.items():
            stream.writelines(f"{query} 0 {document} {grade}\n" for document, grade in grades.items())
