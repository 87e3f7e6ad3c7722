"""Which field of a JSON line is the id, which the title, which the text: the names that collections use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kivuko.errors import DataError

ID = ("id", "_id", "docid", "doc_id", "docno", "pid", "document_id", "query_id", "qid", "topic_id", "number")
TITLE = ("title", "headline")
DOCUMENT_TEXT = ("text", "contents", "body", "passage", "abstract", "content")
QUERY_TEXT = ("text", "query", "question", "title", "topic_title", "contents")


def field(row: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """Return the first of these fields that is there, as text; None where none is, or it is neither text nor number."""
    for name in names:
        value = row.get(name)
        if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
            return encodable(str(value))
    return None


def encodable(text: str) -> str:
    """Return a text that UTF-8 can hold: JSON may name half a surrogate pair, which stands for no character."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def is_heading(line: str) -> bool:
    """Tell whether the first line of a tab-separated file names its columns: its first cell is a name of the id."""
    return line.partition("\t")[0].strip().lower().replace("-", "_") in ID


def identifier(text: str | None, place: str) -> str:
    """Return an id as it stands in a file.

    Raises:
        DataError: there is none, or it holds white space, which TREC's columns could not carry.
    """
    cleaned = (text or "").strip()
    if not cleaned:
        raise DataError(f"{place}: no id; give each text one, in a field such as {', '.join(ID[:3])}")
    if len(cleaned.split()) > 1:
        raise DataError(f"{place}: id {cleaned[:40]!r} holds white space, which TREC's files cannot carry; take it out")
    return cleaned
