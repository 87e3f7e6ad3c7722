"""A collection in a folder, recognized by the names of its files; reading and writing documents, queries and qrels.

Documents and queries are JSON lines, tab-separated, or in TREC's formats.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import IO, Any

from kivuko.datasets.collections.collection import (
    DOCUMENT_TEXT,
    ID,
    QUERY_TEXT,
    TITLE,
    UNDETERMINED,
    Document,
    Judgments,
    identifier,
    is_heading,
    text_of,
)
from kivuko.datasets.collections.sgml import read_topics, sgml_documents
from kivuko.errors import DataError, UsageError, at
from kivuko.files import atomic_path, refuse_unreadable, write_text
from kivuko.languages import known_code, language
from kivuko.streams import COMPRESSED, json_lines, parse_json, text_lines
from kivuko.text import single_spaced

ABOUT = "collection.json"
_QUERIES, _DOCUMENTS, _QRELS = ("queries", "topics"), ("documents", "docs", "corpus", "collection"), ("qrels",)
_SUFFIXES = (".tsv", ".txt", ".jsonl", ".ndjson", ".xml", ".trec", ".sgml", ".sgm", ".qrels", ".qrel", ".topics")
_SPLITS = frozenset({"train", "dev", "test", "validation", "valid", "eval", "all", "small"})  # "dev" is a language too
_HOW = "See 'kivuko collection show --help' for the names of files"


@dataclass(frozen=True)
class _Part:
    """One file or folder; language and split as its name says after ``queries``, ``documents`` or ``qrels``."""

    path: Path
    language: str = ""
    split: str = ""


@dataclass(frozen=True)
class TrecFolder:
    """A collection in one folder, see ``open_folder``; ``split`` is of the judgments, and of queries that have it."""

    folder: Path
    split: str
    _queries: tuple[_Part, ...]
    _documents: _Part
    _qrels: _Part
    _about: dict[str, Any] = field(default_factory=dict)
    _read: dict[str, dict[str, str]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def spec(self) -> str:
        return f"trec:{self.folder}" + (f"#{self.split}" if self.split else "")

    @property
    def name(self) -> str:
        stated = str(self._about.get("name") or self.folder.resolve().name)
        return f"{stated}/{self.split}" if self.split else stated

    @property
    def query_languages(self) -> tuple[str, ...]:
        return tuple(self._all_queries())

    @property
    def document_language(self) -> str:
        return self._documents.language or _stated(self._about, "document_language", self.folder) or UNDETERMINED

    def queries(self, language: str) -> dict[str, str]:
        return self._all_queries()[language]

    def documents(self) -> Iterator[Document]:
        return read_documents(self._documents.path)

    def document_count(self) -> int | None:
        count = self._about.get("documents")
        return count if isinstance(count, int) and not isinstance(count, bool) and count > 0 else None

    def judgments(self) -> Judgments:
        return read_qrels(self._qrels.path)

    def files(self) -> tuple[Path, ...]:
        documents = self._documents.path
        inside = sorted(file for file in documents.rglob("*") if file.is_file()) if documents.is_dir() else [documents]
        return (*(part.path for part in self._queries), *inside, self._qrels.path)

    def _all_queries(self) -> dict[str, dict[str, str]]:
        if not self._read:
            unsaid = _stated(self._about, "query_language", self.folder) or UNDETERMINED
            for part in self._queries:
                for code, queries in read_queries(part.path).items():
                    known = code or part.language or unsaid
                    if known in self._read:
                        raise DataError(f"{part.path}: more queries in {known!r}; keep one file for each language")
                    self._read[known] = queries
        return self._read


def open_folder(folder: Path, split: str = "") -> TrecFolder:
    """Open a collection in a folder by the names of its files, each of which may be compressed.

    ``queries.sw.tsv`` (or ``topics…``; .tsv, .jsonl, .xml, .txt, .trec): one file per language, which
    ``collection.json`` may say instead: ``{"query_language": "sw", "document_language": "en"}``.
    ``documents.en.jsonl.gz`` (or ``docs…``, ``corpus…``, ``collection…``; .jsonl, .tsv, .trec, .sgml), or a folder.
    ``qrels.txt`` (or ``qrels.test.tsv``, or ``qrels/test.tsv``). ``split``: ``test`` chooses ``qrels.test.…`` and, if
    there, ``queries.test.…``.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder. Name the folder that holds queries, documents and qrels.")
    refuse_unreadable(folder)
    about = _read_about(folder / ABOUT)
    qrels = _chosen(_parts(folder, _QRELS), split, folder, "qrels")
    queries = _parts(folder, _QUERIES)
    if any(part.split for part in queries):
        fitting = [part for part in queries if part.split in ("", split or qrels.split)]
        if not fitting:
            raise DataError(f"{folder}: no queries for {split or qrels.split or 'these qrels'}, only {_names(queries)}")
        queries = fitting
    if not queries:
        raise DataError(f"{folder}: no queries in it, such as queries.sw.tsv. {_HOW}.")
    documents = _chosen(_parts(folder, _DOCUMENTS), "", folder, "documents")
    return TrecFolder(folder, split, tuple(queries), documents, qrels, about)


def _parts(folder: Path, stems: Sequence[str]) -> list[_Part]:
    parts = []
    for path in sorted(folder.iterdir()):
        words = _bare(path).split(".")
        if words[0].lower() not in stems:
            continue
        if path.is_dir() and stems == _QRELS:
            parts += [
                _Part(file, split=_bare(file)) for file in sorted(path.iterdir()) if file.name.lower().endswith(_KNOWN)
            ]
        elif path.is_dir() or path.name.lower().endswith(_KNOWN) or len(words) == 1 == len(path.name.split(".")):
            split = ".".join(word for word in words[1:] if word.lower() in _SPLITS or not known_code(word))
            codes = [code for word in words[1:] if word.lower() not in _SPLITS and (code := known_code(word))]
            parts.append(_Part(path, codes[0] if codes else "", split))
    return parts


_KNOWN = tuple(suffix + packed for suffix in _SUFFIXES for packed in ("", *COMPRESSED))


def _bare(path: Path) -> str:
    name = path.name
    for suffixes in (COMPRESSED, _SUFFIXES):
        for suffix in suffixes:
            if name.lower().endswith(suffix) and not path.is_dir():
                name = name[: -len(suffix)]
                break
    return name


def _chosen(parts: list[_Part], split: str, folder: Path, what: str) -> _Part:
    fitting = [part for part in parts if part.split == split] if split else parts
    if split and not fitting:
        raise UsageError(f"{folder}: no {what} for {split!r}, only {_names(parts) or 'none'}.")
    if not fitting:
        example = "qrels.txt" if what == "qrels" else "documents.en.jsonl.gz"
        raise DataError(f"{folder}: no {what} in it, such as {example}. {_HOW}.")
    if len(fitting) > 1:
        how = f"choose with trec:{folder}#{fitting[0].split or 'SPLIT'}" if what == "qrels" else "keep one"
        raise DataError(f"{folder}: several {what}: {_names(fitting)}; {how}.")
    return fitting[0]


def _names(parts: Sequence[_Part]) -> str:
    return ", ".join(part.path.name for part in parts[:5])


def _read_about(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        about = parse_json(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as problem:
        raise DataError(f"{path}: not JSON that can be read ({problem}); mend it or delete it") from None
    if not isinstance(about, dict):
        raise DataError(f"{path}: not a JSON object; mend it or delete it")
    return about


def _stated(about: dict[str, Any], key: str, folder: Path) -> str:
    stated = about.get(key)
    if not stated:
        return ""
    try:
        return language(str(stated)).code
    except UsageError as problem:
        raise DataError(f"{folder / ABOUT}: {key}: {problem}") from None


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
        text = text_of(row, DOCUMENT_TEXT)
        if text is None:
            raise DataError(f"{at(path, number)}: no text; give it in a field such as {', '.join(DOCUMENT_TEXT[:3])}")
        yield Document(identifier(text_of(row, ID), at(path, number)), text, text_of(row, TITLE) or "")


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
        cleaned = single_spaced(text or "")
        if not cleaned:
            raise DataError(f"{place}: query {query} has no text; write one or drop the line")
        of_language = queries.setdefault(code, {})
        if query in of_language:
            raise DataError(f"{place}: query id {query} occurs twice; ids must be unique")
        of_language[query] = cleaned
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
            yield from ((place, *rest) for rest in _topic_titles(text_of(row, ID), topics, place))
        else:
            yield place, "", text_of(row, ID), text_of(row, QUERY_TEXT)


def _topic_titles(name: str | None, topics: list[Any], place: str) -> Iterator[tuple[str, str | None, str | None]]:
    entries = [topic for topic in topics if isinstance(topic, dict)]
    if not entries:
        raise DataError(f"{place}: 'topics' holds no topic; give a list of objects with lang and topic_title")
    # What a person wrote takes precedence over a machine translation in the same language.
    by_machine = [topic for topic in entries if _by_machine(topic)]
    titles: dict[str, str | None] = {}
    for topic in chain((topic for topic in entries if not _by_machine(topic)), by_machine):
        try:
            code = language(text_of(topic, ("lang", "language")) or "en").code
        except UsageError as problem:
            raise DataError(f"{place}: {problem}") from None
        titles.setdefault(code, text_of(topic, ("topic_title", *QUERY_TEXT)))
    yield from ((code, name, title) for code, title in titles.items())


def _by_machine(topic: Mapping[str, Any]) -> bool:
    source = str(topic.get("source", "")).lower()
    return any(word in source for word in ("machine", "google", "mt", "automatic"))


_GRADE = re.compile(r"[+-]?[0-9]{1,9}")
_HIGHEST = 10_000  # trec_eval's memory and time grow with the highest grade: seconds at ten millions
_HEADING = re.compile(r"query[-_ ]?id", re.IGNORECASE)
WHITE_SPACE = re.compile(r"[ \t\n\r\f\v]+")


def trec_columns(line: str) -> list[str]:
    """Split a line of qrels or of a run as trec_eval does: at ASCII white space; none in a line that begins with #."""
    if line.startswith("#"):
        return []
    if line.isascii():
        return line.split()
    stripped = line.strip(" \t\n\r\f\v")
    return WHITE_SPACE.split(stripped) if stripped else []


def read_qrels(path: Path) -> dict[str, dict[str, int]]:
    """Read judgments ``query iteration document grade``: query id -> document id -> grade, in the file's order.

    A first line ``query-id corpus-id score`` announces three columns instead. Grades are whole numbers up to 10,000;
    those above 0 mean relevant. A repeated line counts once.
    """
    judgments: dict[str, dict[str, int]] = {}
    grades: dict[str, int] = {}  # those read before: there are few
    columns = 4
    for number, line in text_lines(path):
        cells = trec_columns(line)
        if not cells:
            continue
        if not judgments and _HEADING.fullmatch(cells[0]):
            columns = len(cells)
            if columns in (3, 4):
                continue
        if len(cells) != columns or columns not in (3, 4):
            raise DataError(
                f"{at(path, number)}: {len(cells)} columns, but qrels have {columns if columns in (3, 4) else 4}: "
                "query iteration document grade"
            )
        query, document, grade = cells[0], cells[-2], cells[-1]
        if (relevance := grades.get(grade)) is None:
            if not _GRADE.fullmatch(grade):
                raise DataError(f"{at(path, number)}: grade {grade[:40]!r} is no whole number; write 0, 1, 2 …")
            relevance = grades[grade] = int(grade)
            if relevance > _HIGHEST:
                raise DataError(f"{at(path, number)}: grade {grade} is over {_HIGHEST:,}; write 0, 1, 2 …")
        if judgments.setdefault(query, {}).setdefault(document, relevance) != relevance:
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
