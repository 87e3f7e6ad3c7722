"""Queries from files: tab-separated, JSON lines, or TREC topics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from kivuko.datasets.collections.fields import ID, QUERY_TEXT, field, identifier, is_heading
from kivuko.datasets.collections.text_lines import json_lines, text_lines
from kivuko.datasets.collections.topics import read_topics
from kivuko.errors import DataError, UsageError, at
from kivuko.files import write_text
from kivuko.languages import language

Queries = dict[str, dict[str, str]]
"""Language (``""`` where the file says none) to query id to text."""


def read_queries(path: Path) -> Queries:
    """Read queries; what a file holds is told by its first character.

    - ``id<TAB>text`` on each line, UTF-8, perhaps under a heading that begins with ``id`` or another of its names.
    - JSON lines with an id (``id``, ``_id``, ``qid``, ``topic_id`` …) and ``text``, ``query``, ``title`` …; a list
      ``topics`` with a language each, as HC4 and NeuCLIR have it, gives one set of queries per language: the titles
      that people wrote, where some were made by machine.
    - TREC topics, see ``read_topics``.

    Raises:
        DataError: the file cannot be read, holds no query, has one without id or text, or an id twice; the message
            names ``path:line``.
    """
    first = next((line for _, line in text_lines(path) if line.strip()), "").lstrip()
    if first.startswith("<"):
        return read_topics(path)
    found: Queries = {}
    for place, code, name, text in _json_queries(path) if first.startswith("{") else _tab_queries(path):
        query = identifier(name, place)
        cleaned = " ".join((text or "").split())
        if not cleaned:
            raise DataError(f"{place}: query {query} has no text; write one or drop the line")
        if query in found.setdefault(code, {}):
            raise DataError(f"{place}: query id {query} occurs twice; ids must be unique")
        found[code][query] = cleaned
    if not found:
        raise DataError(f"{path}: no query in it; give lines of id<TAB>text")
    return found


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
    # A machine's translation stands back behind what a person wrote in the same language.
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
