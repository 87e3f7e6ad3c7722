"""A collection in a folder: queries, documents and judgments, recognized by the names of their files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kivuko.datasets.collections.collection import UNDETERMINED, Document, Judgments
from kivuko.datasets.collections.files import read_documents, read_qrels, read_queries
from kivuko.errors import DataError, UsageError
from kivuko.languages import known_code, language
from kivuko.streams import COMPRESSED

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
        about = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as problem:
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
