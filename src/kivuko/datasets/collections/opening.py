"""Opening a text collection by its name, and a summary of its content."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from kivuko.datasets.collections.collection import Collection, Judgments
from kivuko.datasets.collections.ir_dataset import open_ir_dataset
from kivuko.datasets.collections.trec_folder import open_folder
from kivuko.errors import DataError, UsageError
from kivuko.progress import progress_bar

KINDS = ("ir:", "trec:")


def is_collection(spec: str) -> bool:
    return spec.startswith(KINDS)


def open_collection(spec: str) -> Collection:
    """Open ``ir:ID`` (a dataset of ir_datasets) or ``trec:FOLDER`` (or ``trec:FOLDER#SPLIT``)."""
    kind, colon, rest = spec.partition(":")
    if not colon or not rest or f"{kind}:" not in KINDS:
        raise UsageError(f"{spec}: not a text collection; write ir:ID, such as ir:mmarco/v2/fr/dev, or trec:FOLDER.")
    if kind == "ir":
        return open_ir_dataset(rest)
    folder, _, split = rest.partition("#")
    if split and Path(rest).is_dir():  # a folder with such a sign in its name
        folder, split = rest, ""
    return open_folder(Path(folder).expanduser(), split)


class QuerySummary(NamedTuple):
    """The queries of one language: how many there are, have a relevant document, or are not judged; and one of them."""

    language: str
    queries: int
    with_relevant: int
    not_judged: int
    example: str


class DocumentSummary(NamedTuple):
    """All documents: how many, their mean length in characters, empty ones, and relevant ones of how many judged so."""

    documents: int
    characters: int
    empty: int
    relevant_present: int
    relevant: int


@dataclass(frozen=True)
class CollectionSummary:
    """The contents of a collection; ``grades``: number of judgments by grade, the highest first."""

    name: str
    queries: tuple[QuerySummary, ...]
    judged_queries: int
    grades: dict[int, int]
    document_language: str
    document_count: int | None
    documents: DocumentSummary | None = None


def summarize_collection(
    spec: str | Collection, *, read_documents: bool = False, progress: bool | None = None
) -> CollectionSummary:
    """Return a summary of a collection; ``read_documents``: also read and check all documents."""
    collection = open_collection(spec) if isinstance(spec, str) else spec
    judgments = collection.judgments()
    with_relevant = {query for query, grades in judgments.items() if any(grade > 0 for grade in grades.values())}
    summaries = []
    for code in collection.query_languages:
        queries = collection.queries(code)
        own = set(queries)
        example = next(iter(queries.values()), "")
        summaries.append(QuerySummary(code, len(queries), len(with_relevant & own), len(own - set(judgments)), example))
    grades = Counter(grade for own in judgments.values() for grade in own.values())
    return CollectionSummary(
        collection.name, tuple(summaries), len(judgments), dict(sorted(grades.items(), reverse=True)),
        collection.document_language, collection.document_count(),
        _read_documents(collection, judgments, progress) if read_documents else None,
    )  # fmt: skip


def _read_documents(collection: Collection, judgments: Judgments, progress: bool | None) -> DocumentSummary:
    hashes = array("q")  # 8 bytes of each id: there may be millions
    missing = {name for grades in judgments.values() for name, grade in grades.items() if grade > 0}
    relevant, count, empty, characters = len(missing), 0, 0, 0
    total = collection.document_count() or 0
    with progress_bar("reading documents", progress) as report:
        for document in collection.documents():
            count += 1
            hashes.append(hash(document.id))
            characters += len(document.text)
            empty += not document.whole
            missing.discard(document.id)
            if count % 10_000 == 0:
                report(count, max(total, count))
    if not count:
        raise DataError(f"{collection.spec} has no document; give at least one.")
    _refuse_equal_ids(collection, hashes)
    return DocumentSummary(count, characters // count, empty, relevant - len(missing), relevant)


def _refuse_equal_ids(collection: Collection, hashes: array[int]) -> None:
    """Raise DataError if two documents have one id; equal hashes are looked at in a second reading."""
    import numpy as np

    values, times = np.unique(np.frombuffer(hashes, dtype=np.int64), return_counts=True)
    doubtful = set(values[times > 1].tolist())
    seen: set[str] = set()
    for document in collection.documents() if doubtful else ():
        if hash(document.id) in doubtful:
            if document.id in seen:
                raise DataError(
                    f"{collection.spec}: two documents have the id {document.id}; ids must be unique in a collection."
                )
            seen.add(document.id)
