"""Sets of sentences as data sets: pairs of each split, and known-item retrieval of English sentences."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from kivuko.bitext.pairs import MISALIGNED, Bitext
from kivuko.bitext.sentence_sets import open_set
from kivuko.datasets.collections.collection import Document, Judgments
from kivuko.errors import UsageError
from kivuko.text import pluralize

ENGLISH = "en"


class Sentences:
    """A set of sentences in many languages beside their English, as ``open_sentences`` opens it.

    It is also a text collection: the queries are the sentences of one split, the documents all English sentences of
    that split, and each sentence should retrieve its own English. Queries have the same ids in every language.
    """

    document_language = ENGLISH

    def __init__(self, spec: str, split: str = "test") -> None:
        if split not in ("validation", "test"):
            raise UsageError(f"{spec.partition(':')[0]} has no split {split!r} to search; it has validation, test")
        self._set, self.split = open_set(spec), split
        self.spec, self.name, self.languages = spec, self._set.layout.name, self._set.languages

    def pairs(self, language: str, split: str) -> list[tuple[str, str]]:
        """Return (sentence, English) of a split, "train", "validation" or "test", in the order of the files."""
        return [(pair.text, pair.english) for pair in self.bitext(language, split)]

    def bitext(self, language: str, split: str) -> Bitext:
        """Return the pairs of a split, perhaps none."""
        if split not in ("train", "validation", "test"):
            raise UsageError(f"{self.spec} has no split {split!r}; it has train, validation, test")
        return self._set.bitext(self._set.check_language(language), split)

    @cached_property
    def pool(self) -> list[str]:
        """The English sentences to search, those without a translation in some language too."""
        return [document.text for document in self.documents()]

    @property
    def query_languages(self) -> tuple[str, ...]:
        return (ENGLISH, *self.languages)

    def queries(self, language: str) -> dict[str, str]:
        if language == ENGLISH:
            return {_query(one.id): one.text for one in self._set.english.values() if one.split == self.split}
        return {_query(row.id): row.text for row in self._set.split(language, self.split)}

    def documents(self) -> Iterator[Document]:
        for one in self._set.english.values():
            if one.split == self.split:
                yield Document(one.id, one.text)

    def document_count(self) -> int:
        return sum(one.split == self.split for one in self._set.english.values())

    def judgments(self) -> Judgments:
        relevant: dict[str, dict[str, int]] = {}
        for code in self.languages:
            for row in self._set.split(code, self.split):
                relevant.setdefault(_query(row.id), {})[self._set.english[self._set.key(row)].id] = 1
        for one in self._set.english.values():
            if one.split == self.split:
                relevant.setdefault(_query(one.id), {})[one.id] = 1
        return relevant

    def files(self) -> tuple[Path, ...]:
        return tuple(path for files in self._set.files.values() for path in files)

    def protocol(self) -> dict[str, Any]:
        """Return what a reader of records must know about the set."""
        layout = self._set.layout
        return {
            "task": "known-item retrieval: every sentence should retrieve its English among all English sentences of "
            "the split, those without a translation in its language too",
            "intervals": "95 % percentile bootstrap over sentences, drawn together in all languages; Poisson, 2,000 "
            "samples",
            "ceiling": "English queries are the very sentences to retrieve",
            "split rule": layout.split_rule,
            "licence": layout.licence,
            "pairs left out": {code: left for code in self.languages if (left := self._set.left_out(code))},
            "pairs moved by a line": {code: count for code in self.languages if (count := self._set.moved(code))},
        }  # fmt: skip

    def notes(self, languages: Sequence[str]) -> list[str]:
        """Return lines on sentences that are moved or left out, and on the ceiling."""
        lines = []
        for code in [code for code in languages if code != ENGLISH]:
            if count := self._set.moved(code):
                lines.append(
                    f"moved in {code}: {pluralize(count, 'sentence')} one line above or below the English, by lengths."
                )
            if count := self._set.left_out(code).get(MISALIGNED):
                lines.append(
                    f"left out in {code}, in every split: {pluralize(count, 'sentence')} beside the English of others, "
                    "by their lengths."
                )
        return [*lines, "English queries are the sentences to retrieve: their ceiling is 1 but for equal sentences."]


def open_sentences(spec: str, split: str = "test") -> Sentences:
    """Open ``tico19:PATH``, ``flores:PATH`` or ``tatoeba:PATH``; ``split``: whose English sentences are searched.

    Raises UsageError for another form or split, DataError for a path without files of the set.
    """
    return Sentences(spec, split)


def _query(name: str) -> str:
    """Return the id of a query, which is not that of a document."""
    return f"query:{name}"
