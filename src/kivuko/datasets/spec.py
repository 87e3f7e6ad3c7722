"""Opening data sets by the names that ``--dataset`` takes, a summary of a text collection, and captions to look for."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from kivuko.bitext.formats import csv_cells
from kivuko.bitext.sentence_sets import is_sentence_spec
from kivuko.datasets.captions.caption_set import CaptionSet
from kivuko.datasets.captions.formats import is_caption_spec, is_own_set, open_caption_set, path_of
from kivuko.datasets.captions.own_files import CAPTION_COLUMNS
from kivuko.datasets.collections.collection import Collection, Judgments
from kivuko.datasets.collections.ir_dataset import open_ir_dataset
from kivuko.datasets.collections.trec_folder import open_folder
from kivuko.datasets.emoji.phrases import PHRASES, PhraseSet, read_phrases
from kivuko.datasets.own import adapt
from kivuko.datasets.sentences import open_sentences
from kivuko.errors import DataError, UsageError, at, wrap_errors
from kivuko.plugins import has_module, is_plugin, load_plugin
from kivuko.progress import progress_bar
from kivuko.streams import parse_json, plain_name, text_lines

if TYPE_CHECKING:
    from kivuko.datasets.emoji.world import EmojiWorld

EMOJI = "emoji"
SPECS = (
    "emoji, emoji:phrases; xm3600:PATH, xtd:PATH, multi30k:PATH, xflickrco:PATH, wit:PATH, flickr30k200:PATH, "
    "coco:FILE, captions:FILE or webdataset:'SHARDS', each with ,IMAGES if the images are elsewhere; tico19:PATH, "
    "flores:PATH, tatoeba:PATH, ir:ID or trec:FOLDER for texts; package.module:Class for your own"
)
_COLLECTION = ("spec", "name", "query_languages", "document_language", "queries", "documents", "judgments", "files")


def is_spec(spec: str) -> bool:
    """Return True if a text has the form of a data set's name, without opening anything."""
    return spec in (EMOJI, PHRASES) or is_caption_spec(spec) or _is_collection(spec) or is_plugin(spec)


def check_spec(spec: str) -> None:
    """Raise UsageError, which lists all forms, if a text does not have the form of a data set's name."""
    if not is_spec(spec):
        raise UsageError(f"{spec}: not a data set that is known. Give one of: {SPECS}.")
    if spec == PHRASES:  # which has the form of a plugin, too
        return
    if is_plugin(spec) and not (is_caption_spec(spec) or _is_collection(spec) or has_module(spec)):
        module = spec.partition(":")[0]
        raise UsageError(f"{spec}: no module '{module}' for the data set, nor a known one. Give one of: {SPECS}.")


def open_dataset(
    dataset: Any,
    *,
    split: str = "test",
    languages: Sequence[str] = (),
    cldr: Path | None = None,
    font: Path | None = None,
    progress: bool | None = None,
) -> EmojiWorld | PhraseSet | CaptionSet | Collection:
    """Open a data set by its name (see ``SPECS``), or adapt an object with the methods of ``OwnDataset``.

    ``languages``: of emoji, those to read; of captions whose files do not say their language, the one. ``split``:
    "test" or "validation", of sets that have both. ``cldr`` and ``font`` as in ``emoji_world``.
    """
    if not isinstance(dataset, str):
        return _from_object(dataset, type(dataset).__name__)
    check_spec(dataset)
    if dataset == EMOJI:
        from kivuko.datasets.emoji.world import emoji_world

        with progress_bar("drawing emoji", progress) as report:
            return emoji_world(languages, cldr=cldr, font=font, progress=report)
    if dataset == PHRASES:
        return read_phrases(split)
    if is_caption_spec(dataset):
        return open_caption_set(dataset, split=split, language=languages[0] if len(languages) == 1 else None)
    if _is_collection(dataset):
        return open_collection(dataset, split)
    own = load_plugin(dataset, "data set")
    with wrap_errors(lambda reason: UsageError(f"{dataset}: calling it without arguments failed ({reason}).")):
        own = own() if callable(own) else own
    return _from_object(own, dataset)


def open_collection(spec: str, split: str = "test") -> Collection:
    """Open ``ir:ID`` (a dataset of ir_datasets), ``trec:FOLDER`` (or ``trec:FOLDER#SPLIT``), or a set of sentences.

    ``split``: "test" or "validation", of sets of sentences.
    """
    kind, _, rest = spec.partition(":")
    if not rest or not _is_collection(spec):
        raise UsageError(
            f"{spec}: not a text collection; write ir:ID, such as ir:mmarco/v2/fr/dev, trec:FOLDER, or tico19:PATH."
        )
    if is_sentence_spec(spec):
        return open_sentences(spec, split)
    if kind == "ir":
        return open_ir_dataset(rest)
    folder, _, part = rest.partition("#")
    if part and Path(rest).is_dir():  # a folder with such a sign in its name
        folder, part = rest, ""
    return open_folder(Path(folder).expanduser(), part)


def records_stem(spec: str, name: str) -> str:
    """Return the name of a data set for files: a user's own files by file and folder, others by ``name``."""
    if not is_own_set(spec):
        return spec.replace(":", "-") if is_plugin(spec) and not is_caption_spec(spec) else name
    path = path_of(spec).absolute()
    stem = path.name if path.is_dir() else Path(plain_name(path.name)).stem
    return f"{name}-{path.parent.name}-{stem}"


def _is_collection(spec: str) -> bool:
    return spec.startswith(("ir:", "trec:")) or is_sentence_spec(spec)


def _from_object(dataset: Any, spec: str) -> EmojiWorld | PhraseSet | CaptionSet | Collection:
    is_open = isinstance(dataset, CaptionSet | PhraseSet) or hasattr(dataset, "annotations")
    if is_open or all(hasattr(dataset, name) for name in _COLLECTION):
        return dataset  # type: ignore[no-any-return]
    return adapt(dataset, spec)


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


# Under these keys JSON Lines files of captions hold text: a string, a list of strings, or objects that hold some.
_KEYS = (*CAPTION_COLUMNS, "texts", "sentences", "query", "raw", "english", "translation")


def evaluation_captions(specs: Sequence[str], language: str) -> Iterator[str]:
    """Yield the captions of a language, and the English ones, of all evaluation sets named, to look for in bitext.

    A spec is a data set (see ``SPECS``), of which captions or queries count, or a file: a caption on each line (cells
    between tabs, or of a CSV file, are captions of their own, if they are more than one word), or JSON lines with
    captions under ``caption`` or the like.
    """
    for spec in specs:
        empty, path = True, Path(spec)
        if spec == EMOJI or (is_spec(spec) and not path.exists()):
            captions = _of_dataset(spec, language)
        else:
            captions = _of_json(path) if ".jsonl" in path.suffixes or ".ndjson" in path.suffixes else _of_lines(path)
        for caption in captions:
            empty = False
            yield caption
        if empty:
            raise DataError(f"{spec}: no caption in it in {language} or in English; check its content")


def _of_dataset(spec: str, language: str) -> Iterator[str]:
    def own(codes: Iterable[str]) -> list[str]:
        """Return English and the codes of the language, whatever its script or country."""
        primary = language.partition("-")[0]
        return [code for code in codes if code == "en" or code.partition("-")[0] == primary]

    from kivuko.datasets.emoji.world import EmojiWorld

    dataset = open_dataset(spec, languages=(language,))
    if isinstance(dataset, CaptionSet):
        for code in own(dataset.languages):
            yield from dataset.of(code).texts
    elif isinstance(dataset, PhraseSet):
        for code in own(dataset.phrases):
            yield from (phrase.text for phrase in dataset.of(code))
    elif isinstance(dataset, EmojiWorld):
        for code in (language, "en"):
            yield from (query.text for query in dataset.queries(code, "test"))
    else:
        for code in own(dataset.query_languages):
            yield from dataset.queries(code).values()


def _of_lines(path: Path) -> Iterator[str]:
    separated_by_commas = ".csv" in path.suffixes
    for _, line in text_lines(path):
        cells = csv_cells(line, ",") if separated_by_commas else line.split("\t")
        for cell in cells:
            # Beside a caption, a single word without spaces is the name of an image or a number.
            if cell.strip() and (len(cells) == 1 or " " in cell.strip() or not cell.isascii()):
                yield cell.strip()


def _of_json(path: Path) -> Iterator[str]:
    for number, line in text_lines(path):
        if not line.strip():
            continue
        try:
            content = parse_json(line)
            yield from list(_strings(content, isinstance(content, str)))
        except ValueError:
            raise DataError(f"{at(path, number)}: is no JSON; give a file with an object on each line") from None


def _strings(content: Any, wanted: bool) -> Iterator[str]:
    """Yield the strings under the keys of captions, at any depth."""
    if isinstance(content, str):
        if wanted and content.strip():
            yield content
    elif isinstance(content, list):
        for one in content:
            yield from _strings(one, wanted)
    elif isinstance(content, dict):
        for key, value in content.items():
            yield from _strings(value, wanted or key.casefold() in _KEYS)
