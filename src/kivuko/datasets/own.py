"""Data sets of the user's own: a class with a few methods, named ``package.module:Class``."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from kivuko.datasets.captions.caption_set import CaptionSet, Image, SetBuilder
from kivuko.datasets.collections.collection import UNDETERMINED, Document, Judgments, identifier
from kivuko.errors import DataError, KivukoError, UsageError, wrap_errors
from kivuko.languages import language as describe


class OwnDataset(Protocol):
    """A data set of the user's own; it also has either ``images`` or ``documents``, and takes no arguments.

    ``images() -> Iterable[tuple[str, str | Path]]``: (id, image file) of every image to search; ``documents() ->
    Iterable[tuple[str, str]]``: (id, text), called once for every reading, with ``document_language`` if known.
    """

    @property
    def name(self) -> str:
        """A short name for tables and records."""
        ...

    @property
    def languages(self) -> Sequence[str]:
        """BCP 47 codes of the queries."""
        ...

    def queries(self, language: str) -> Iterable[tuple[str, str]]:
        """Yield (query, id of the image or document that it should retrieve); the query again for each of several."""
        ...


class OwnCollection:
    """A data set of texts as a ``Collection``: queries are numbered, and each text in one language is one query."""

    def __init__(self, dataset: Any, spec: str) -> None:
        self.spec, self.name, self._dataset = spec, str(dataset.name), dataset
        self._codes = _languages(dataset, spec)
        self.query_languages = tuple(self._codes)
        stated = getattr(dataset, "document_language", None)
        self.document_language = describe(stated).code if stated else UNDETERMINED

    def queries(self, language: str) -> dict[str, str]:
        if language not in self._queries:
            raise UsageError(f"{self.spec}: its queries are in {', '.join(self.query_languages)}, not {language}")
        return {f"{language}:{number}": text for number, text in enumerate(self._queries[language], start=1)}

    def documents(self) -> Iterator[Document]:
        place = f"{self.spec}: documents"
        for name, text in _pairs(self._dataset.documents, place):
            yield Document(identifier(str(name), place), str(text))

    def document_count(self) -> int | None:
        return None

    def judgments(self) -> Judgments:
        return {
            f"{code}:{number}": dict.fromkeys(relevant, 1)
            for code, own in self._queries.items()
            for number, relevant in enumerate(own.values(), start=1)
        }

    def files(self) -> tuple[Path, ...]:
        return ()

    @cached_property
    def _queries(self) -> dict[str, dict[str, list[str]]]:
        """Return language -> text -> ids of relevant documents."""
        by_language: dict[str, dict[str, list[str]]] = {}
        for code, written in self._codes.items():
            own = by_language.setdefault(code, {})
            for text, document in _pairs(self._dataset.queries, f"{self.spec}: queries", written):
                own.setdefault(" ".join(str(text).split()), []).append(str(document))
        return by_language


def adapt(dataset: Any, spec: str) -> CaptionSet | OwnCollection:
    """Return an own data set in the form of all others: a caption set, or a text collection."""
    missing = [name for name in ("name", "languages", "queries") if not hasattr(dataset, name)]
    if not (hasattr(dataset, "images") or hasattr(dataset, "documents")):
        missing.append("images or documents")
    if missing:
        raise UsageError(
            f"{spec}: has no {', no '.join(missing)}; see kivuko.datasets.own.OwnDataset for what it needs."
        )
    if not hasattr(dataset, "images"):
        return OwnCollection(dataset, spec)
    builder = SetBuilder()
    for name, path in _pairs(dataset.images, f"{spec}: images"):
        file = Path(path)
        builder.add_image(Image(str(name), file if file.is_file() else None, f"{path} ({spec})"))
    for code, written in _languages(dataset, spec).items():
        for text, image in _pairs(dataset.queries, place := f"{spec}: queries", written):
            if str(image) not in builder.images:
                raise DataError(f"{place}: {text!r:.80} should retrieve {image!r:.80}, which images does not yield")
            builder.add_captions(str(image), code, [text], place)
    return builder.build(str(dataset.name), "all", Path(spec))


def _languages(dataset: Any, spec: str) -> dict[str, str]:
    """Return BCP 47 codes and what the data set calls them."""
    codes = [dataset.languages] if isinstance(dataset.languages, str) else dataset.languages
    try:
        return {describe(code.replace("_", "-")).code: code for code in codes}
    except KivukoError as problem:
        raise UsageError(f"{spec}: languages: {problem}") from problem


_END = object()


def _pairs(method: Callable[..., Iterable[Any]], place: str, *arguments: str) -> Iterator[tuple[Any, Any]]:
    """Yield pairs from a method of the user's; its errors become one line."""
    shown = f"{place}({', '.join(map(repr, arguments))})"
    with wrap_errors(lambda reason: DataError(f"{shown}: {reason}")):
        iterator = iter(method(*arguments))
    while True:
        with wrap_errors(lambda reason: DataError(f"{shown}: {reason}")):
            pair = next(iterator, _END)
        if pair is _END:
            return
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise DataError(f"{shown}: yields {pair!r:.80}; yield pairs, see kivuko.datasets.own.OwnDataset")
        yield pair
