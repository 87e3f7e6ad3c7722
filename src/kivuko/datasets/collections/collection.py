"""A text collection: queries, documents and judgments, as TREC has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import regex

from kivuko.errors import DataError

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
        """Return title and text in one, as they are encoded."""
        return f"{self.title} {self.text}".strip() if self.title else self.text


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


def field(row: Mapping[str, Any], names: Sequence[str]) -> str | None:
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


# Latin, Arabic, Devanagari, Burmese, Khmer, Ethiopic, Armenian, Tibetan and the full-width marks of East Asia.
_END = regex.compile(r"[.!?…‽؟۔।॥၊။។៕።፧፨։༎。！？｡]+[\"'”’»)\]）」』】]*")
_FULL_WIDTH = frozenset("。！？｡")  # no space follows these
_INITIAL = regex.compile(r"(?:^|[\s(\[“\"'«])(?:\p{Lu}\p{M}*|(?:\p{L}\p{M}*\.)+\p{L}\p{M}*)\.$")
_ABBREVIATION = regex.compile(r"(?:^|[\s(\[])\p{L}{1,4}\.$")
_BRACKET_SPAN = 400  # characters; an earlier bracket was never closed
_BEGINS_SENTENCE = regex.compile(r"[\s]+[\"'“‘«(\[]*(?:[\p{Lu}\p{Lt}\p{Lo}\p{N}]|[¿¡])")


def sentences(text: str) -> Iterator[str]:
    """Yield the sentences of a text in order; together they hold all its words.

    A full stop ends a sentence if white space follows and then a capital letter, a digit, or a letter of a script
    without capitals; but not after an initial, letters with dots ("U.S. Army"), a short word with a capital or before a
    digit ("St. John", "Na. 5"), or inside brackets.

    >>> list(sentences("Dr. J. K. Nyerere (b. 1922. Butiama) led Tanzania. He was a teacher."))
    ['Dr. J. K. Nyerere (b. 1922. Butiama) led Tanzania.', 'He was a teacher.']
    >>> list(sentences("काली बिल्ली। लाल सेब।"))
    ['काली बिल्ली।', 'लाल सेब।']
    """
    start = 0
    for end in _END.finditer(text):
        if end.end() < len(text) and not _ends(text, start, end):
            continue
        if sentence := text[start : end.end()].strip():
            yield sentence
        start = end.end()
    if rest := text[start:].strip():
        yield rest


def first_sentence(text: str) -> str:
    return next(sentences(text), "")


def _ends(text: str, start: int, end: regex.Match[str]) -> bool:
    before = text[max(start, end.end() - _BRACKET_SPAN) : end.end()]
    if before.count("(") > before.count(")") or before.count("（") > before.count("）"):
        return False
    if end.group()[0] in _FULL_WIDTH:
        return True
    if not _BEGINS_SENTENCE.match(text, end.end()):
        return False
    if end.group() != ".":
        return True
    tail = before[-24:]
    if _INITIAL.search(tail):
        return False
    follows = text[end.end() :].lstrip()[:1]
    # "Na. 5", "St. John": a short word with a full stop that begins with a capital or is followed by a digit.
    short = _ABBREVIATION.search(tail)
    return not (short and (follows.isdigit() or short.group().strip(" ([")[0].isupper()))
