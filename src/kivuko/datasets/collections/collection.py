"""A text collection: queries, documents and judgements, as TREC has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

UNDETERMINED = "und"
"""BCP 47's code for a language that nobody has told."""

Judgements = Mapping[str, Mapping[str, int]]
"""Query id to document id to grade: qrels as trec_eval reads them; grades above 0 are relevant."""


class Document(NamedTuple):
    """One document; ``id`` is unique in its collection and holds no white space."""

    id: str
    text: str
    title: str = ""

    @property
    def whole(self) -> str:
        """Title and text in one, as they are encoded."""
        return f"{self.title} {self.text}".strip() if self.title else self.text


class Collection(Protocol):
    """What a collection can do, wherever it lies. Documents are streamed: there may be millions."""

    @property
    def spec(self) -> str:
        """What opens it again, such as ``trec:my-collection``."""
        ...

    @property
    def name(self) -> str:
        """A short name for tables and records."""
        ...

    @property
    def query_languages(self) -> tuple[str, ...]:
        """BCP 47 codes of its sets of queries; ``und`` for one whose language nobody has told."""
        ...

    @property
    def document_language(self) -> str:
        """BCP 47 code, or ``und``."""
        ...

    def queries(self, language: str) -> dict[str, str]:
        """Return the queries of one language, id to text."""
        ...

    def documents(self) -> Iterator[Document]:
        """Yield every document."""
        ...

    def document_count(self) -> int | None:
        """Return how many documents there are, where that is known without reading them; for a progress bar."""
        ...

    def judgements(self) -> Judgements:
        """Return the grades of judged documents."""
        ...

    def files(self) -> tuple[Path, ...]:
        """Return the files that it is read from, for their checksums; none where a library keeps them."""
        ...
