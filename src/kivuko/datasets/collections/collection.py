"""A text collection: queries, documents and judgments, as TREC has them."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from kivuko.errors import DataError
from kivuko.text import without_controls

UNDETERMINED = "und"
"""BCP 47's code for an unknown language."""

Judgments = Mapping[str, Mapping[str, int]]
"""Query id to document id to grade: qrels as trec_eval reads them; grades above 0 are relevant."""


class Document(NamedTuple):
    """One document; ``id`` is unique in its collection and holds no white space."""

    id: str
    text: str
    title: str = ""

    @property
    def whole(self) -> str:
        """Return title and text in one, as they are encoded: control characters separate words."""
        return without_controls(f"{self.title} {self.text}".strip() if self.title else self.text)


class Collection(Protocol):
    """The methods of every collection. Documents are streamed: there may be millions."""

    @property
    def spec(self) -> str:
        """Its name for ``open_collection``, such as ``trec:my-collection``."""
        ...

    @property
    def name(self) -> str:
        """A short name for tables and records."""
        ...

    @property
    def query_languages(self) -> tuple[str, ...]:
        """BCP 47 codes of its sets of queries; ``und`` for one whose language is unknown."""
        ...

    @property
    def document_language(self) -> str:
        """BCP 47 code, or ``und``."""
        ...

    def queries(self, language: str) -> dict[str, str]: ...

    def documents(self) -> Iterator[Document]: ...

    def document_count(self) -> int | None:
        """Return the number of documents if it is known without reading them; for a progress bar."""
        ...

    def judgments(self) -> Judgments: ...

    def files(self) -> tuple[Path, ...]:
        """Return its files, for their checksums; none if a library keeps them."""
        ...


ID = ("id", "_id", "docid", "doc_id", "docno", "pid", "document_id", "query_id", "qid", "topic_id", "number")
TITLE = ("title", "headline")
DOCUMENT_TEXT = ("text", "contents", "body", "passage", "abstract", "content")
QUERY_TEXT = ("text", "query", "question", "title", "topic_title", "contents")


def text_of(row: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """Return the first of these fields that is text or a whole number, as text, or None."""
    for name in names:
        value = row.get(name)
        if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
            return encodable(str(value))
    return None


def encodable(text: str) -> str:
    """Return a text that UTF-8 can encode: JSON may hold half a surrogate pair."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def is_heading(line: str) -> bool:
    """Return True if the first line of a tab-separated file has column names: its first cell is a name of the id."""
    return line.partition("\t")[0].strip().lower().replace("-", "_") in ID


def identifier(text: str | None, place: str) -> str:
    """Return an id without surrounding white space, or raise DataError if it is empty or holds white space."""
    cleaned = (text or "").strip()
    if not cleaned:
        raise DataError(f"{place}: no id; give each text one, in a field such as {', '.join(ID[:3])}")
    if len(cleaned.split()) > 1:
        raise DataError(f"{place}: id {cleaned[:40]!r} holds white space, which TREC's files cannot hold; remove it")
    return cleaned
