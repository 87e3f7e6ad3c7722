"""Translating a collection's queries and passages by machine, as mMARCO was made from MS MARCO; resumable.

Bonifacio et al. 2021, "mMARCO: A Multilingual Version of the MS MARCO Passage Ranking Dataset" (arXiv 2108.13897). Long
passages are translated sentence by sentence. Finished parts are kept in a work folder next to the result.
"""

import hashlib
import heapq
import json
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

from kivuko.datasets.collections.collection import UNDETERMINED, Collection, Document
from kivuko.datasets.collections.trec_folder import ABOUT, read_documents, write_document, write_qrels, write_queries
from kivuko.datasets.spec import open_collection
from kivuko.errors import CorruptFileError, DataError, ModelError, UsageError
from kivuko.files import atomic_path, folder_beside, refuse_foreign, write_text
from kivuko.languages import language as describe
from kivuko.progress import progress_bar
from kivuko.streams import open_compressed
from kivuko.text import sentences
from kivuko.translation.translate_test import Translator

_LEAST = 12  # characters; length and repetition of shorter texts say nothing
_RATIO = 4.0  # a translation this many times longer or shorter than its original has lost or invented something


def suspicion(original: str, translation: str) -> str | None:
    """Return the fault of a translation, or None; nothing is dropped, a person decides.

    >>> suspicion("the cat is black", "")
    'empty'
    >>> suspicion("the cat is black", "paka paka paka paka paka paka paka paka")
    'repeats itself'
    """
    if not original.strip():
        return None
    if not translation.strip():
        return "empty"
    if translation.casefold() == original.casefold() and any(letter.isalpha() for letter in original):
        return "not translated"
    if min(len(original), len(translation)) < _LEAST:
        return None
    words = Counter(translation.casefold().split())
    if words.total() >= 8 and max(words.values()) > words.total() / 2:
        return "repeats itself"
    ratio = len(translation) / len(original)
    return "much longer or shorter" if not 1 / _RATIO <= ratio <= _RATIO else None


class Sample:
    """A random choice of ``size`` translations of each kind from a stream, and the first ``size`` of each suspicion."""

    def __init__(self, size: int, seed: int) -> None:
        self._size, self._seed = size, seed
        self.suspicious: Counter[str] = Counter()
        self._chosen: dict[str, list[tuple[int, str, tuple[str, ...]]]] = {}
        self._wrong: list[tuple[str, ...]] = []

    def add(self, kind: str, name: str, original: str, translated: str) -> None:
        """Check one translation; ``name`` is its id."""
        fault = suspicion(original, translated) or ""
        row = (kind, name, original, translated, fault)
        if fault:
            self.suspicious[fault] += 1
            if self.suspicious[fault] <= self._size:
                self._wrong.append(("suspicious", *row))
        digest = hashlib.blake2b(f"{self._seed}:{kind}:{name}".encode(), digest_size=8).digest()
        lots = self._chosen.setdefault(kind, [])
        push = heapq.heappush if len(lots) < self._size else heapq.heappushpop
        if self._size:
            push(lots, (-int.from_bytes(digest, "big"), name, ("random", *row)))

    def write(self, path: Path) -> None:
        """Write a table, tab-separated, with empty columns for adequacy and fluency (1 to 5) and a remark."""
        headings = ("chosen", "kind", "id", "original", "translation", "suspicion", "adequacy", "fluency", "remark")
        random = [row for lots in self._chosen.values() for _, _, row in sorted(lots, reverse=True)]
        rows = ["\t".join([*(" ".join(cell.split()) for cell in row), "", "", ""]) for row in random + self._wrong]
        write_text(path, "\n".join(["\t".join(headings), *rows]) + "\n")


_MOST_CHARACTERS = 400  # of a piece that is translated in one go: some hundred subwords, which every model takes
_JOURNAL = "translation.json"


@dataclass(frozen=True)
class Plan:
    """Settings of a translation from ``source`` to ``target``."""

    source: str
    target: str
    queries: bool = True  # translate them; else they are copied, and so are ``documents``
    documents: bool = True
    part: int = 500  # documents per finished part
    sample: int = 50  # queries, and documents, that a person is given to check
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("part", 1), ("sample", 0), ("seed", 0)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} = {getattr(self, name)}: give at least {least}")


@dataclass
class Translated:
    """The result of a translation."""

    queries: int = 0
    documents: int = 0
    suspicious: Counter[str] = field(default_factory=Counter)  # translations by their fault; they are kept


def translate_collection(
    collection: Collection | str, translator: Translator | str, plan: Plan, out: Path, progress: bool | None = None
) -> Translated:
    """Write a collection with its texts translated as a folder that ``open_folder`` reads.

    It holds queries in both languages, documents in one, the judgments, ``collection.json``, and ``sample.tsv``: random
    and suspicious translations with their originals, for a person's verdict. ``translator`` is a folder or hub name,
    see ``load_translator``, or an object. Finished parts are kept in ``out.parts`` until all is done.
    """
    source, target = describe(plan.source).code, describe(plan.target).code
    if source == target:
        raise UsageError(f"source and target are both {source}: name two languages.")
    if not (plan.queries or plan.documents):
        raise UsageError("neither queries nor documents are to be translated: name one of them.")
    refuse_foreign(out, ABOUT, "a collection", error=UsageError)
    parts = folder_beside(out, "parts")
    if isinstance(collection, str):
        collection = open_collection(collection)
    if isinstance(translator, str):
        from kivuko.translation.seq2seq import load_translator

        translator = load_translator(translator, target)
    work = _Work(collection, translator, plan, parts, source, target)
    work.open()
    queries = work.translated_queries()
    total = collection.document_count() or 0
    with progress_bar("translating documents", progress) as report:
        for done in work.translate_documents():
            report(done, max(total, done))
    return work.finish(out, queries)


class _Work:
    """The work folder: its journal and its finished parts."""

    def __init__(
        self, collection: Collection, translator: Translator, plan: Plan, folder: Path, source: str, target: str
    ) -> None:
        self.collection, self.translator, self.plan, self.folder = collection, translator, plan, folder
        self.source, self.target = source, target
        self.parts: list[Path] = []
        own = collection.query_languages
        self.query_language = source if source in own else UNDETERMINED if own == (UNDETERMINED,) else ""
        if plan.queries and not self.query_language:
            raise UsageError(f"{collection.spec}: has no queries in {source}; it has {', '.join(own)}.")

    def open(self) -> None:
        stated = {
            "collection": self.collection.spec, "translator": self.translator.name, "source": self.source,
            "target": self.target, **{key: value for key, value in asdict(self.plan).items() if key != "sample"},
            "queries_sha256": self._queries_digest(),
        }  # fmt: skip
        journal = self.folder / _JOURNAL
        if journal.is_file():
            try:
                before = json.loads(journal.read_text(encoding="utf-8"))
            except (OSError, ValueError) as problem:
                raise CorruptFileError(
                    f"{journal}: damaged ({problem}). Delete {self.folder} and start again."
                ) from None
            if before != stated:
                differs = [key for key in stated if not isinstance(before, dict) or before.get(key) != stated[key]]
                raise DataError(
                    f"{self.folder}: holds parts of another translation (other {', '.join(differs) or 'settings'}). "
                    "Delete it, give the same options again, or choose another --out."
                )
        elif self.folder.exists() and any(self.folder.iterdir()):
            raise DataError(f"{self.folder}: exists and holds no translation. Move it away or choose another --out.")
        else:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_text(journal, json.dumps(stated, indent=1, ensure_ascii=False) + "\n")

    def _queries_digest(self) -> str:
        digest = hashlib.sha256()
        if self.query_language:
            for query, text in self.collection.queries(self.query_language).items():
                digest.update(f"{query}\t{text}\n".encode())
        return digest.hexdigest()

    def translated_queries(self) -> dict[str, str]:
        if not self.plan.queries:
            return {}
        originals = self.collection.queries(self.query_language)
        translations: dict[str, str] = {}
        for number, part in enumerate(_portions(iter(originals), self.plan.part)):
            path = self.folder / f"queries-{number:06}.jsonl.gz"
            if not path.is_file():
                _write_part(path, list(map(Document, part, self._translate([originals[query] for query in part]))))
            translations |= {document.id: document.text for document in _read_part(path)}
        return translations

    def translate_documents(self) -> Iterator[int]:
        done = 0
        for number, part in enumerate(_portions(self.collection.documents(), self.plan.part)):
            path = self.folder / f"documents-{number:06}.jsonl.gz"
            if path.is_file():
                if [document.id for document in _read_part(path)] != [document.id for document in part]:
                    raise DataError(
                        f"{path}: holds other documents than {self.collection.spec} has in this place; the collection "
                        f"changed. Delete {self.folder} and start again."
                    )
            else:
                _write_part(path, self._documents(part) if self.plan.documents else part)
            self.parts.append(path)
            done += len(part)
            yield done

    def _documents(self, part: Sequence[Document]) -> list[Document]:
        texts = self._translate([text for document in part for text in (document.title, document.text)])
        return [Document(document.id, texts[2 * place + 1], texts[2 * place]) for place, document in enumerate(part)]

    def _translate(self, texts: Sequence[str]) -> list[str]:
        """Translate texts of any length: sentence by sentence, so that no model cuts them."""
        pieces = [list(_pieces(text)) for text in texts]
        flat = list(chain.from_iterable(pieces))
        translations = self.translator.translate(flat, self.source) if flat else []
        if len(translations) != len(flat):
            raise ModelError(f"{self.translator.name}: gave {len(translations):,} translations of {len(flat):,} texts.")
        rest = iter(translations)
        joined = [" ".join(part for part in islice(rest, len(own)) if part) for own in pieces]
        return [" ".join(text.split()) for text in joined]

    def finish(self, out: Path, queries: dict[str, str]) -> Translated:
        if not self.parts:
            raise DataError(f"{self.collection.spec}: has no document; nothing to translate")
        result = Translated(queries=len(queries))
        sample = Sample(self.plan.sample, self.plan.seed)
        originals = self.collection.queries(self.query_language) if queries else {}
        for query, text in queries.items():
            sample.add("query", query, originals[query], text)
        own = self.collection.document_language
        written = self.target if self.plan.documents else own if own != UNDETERMINED else self.source
        with atomic_path(out) as temporary:
            temporary.mkdir()
            with (temporary / f"documents.{written}.jsonl.gz").open("wb") as stream:
                for path in self.parts:  # concatenated gzip files are one gzip file
                    with path.open("rb") as part:
                        shutil.copyfileobj(part, stream)
            # The originals are read once more with their translations: a sample needs both.
            documents = chain.from_iterable(map(_read_part, self.parts))
            for original, translated in zip(self.collection.documents(), documents, strict=True):
                result.documents += 1
                if self.plan.documents:
                    sample.add("document", original.id, original.whole, translated.whole)
            for code in self.collection.query_languages:
                name = self.source if code == UNDETERMINED else code
                write_queries(temporary / f"queries.{name}.tsv", self.collection.queries(code))
            if queries:
                # A query needs a text: where the translation is empty, the original is kept.
                kept = {query: text or originals[query] for query, text in queries.items()}
                write_queries(temporary / f"queries.{self.target}.tsv", kept)
            judgments = {query: dict(grades) for query, grades in self.collection.judgments().items()}
            write_qrels(temporary / "qrels.txt", judgments)
            result.suspicious = sample.suspicious
            sample.write(temporary / "sample.tsv")
            about = self._about(result, written)
            (temporary / ABOUT).write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        shutil.rmtree(self.folder)
        return result

    def _about(self, result: Translated, written: str) -> dict[str, Any]:
        sides = [side for side in ("queries", "documents") if getattr(self.plan, side)]
        return {
            "name": f"{self.collection.name}-{self.target}", "made_by": "kivuko collection translate",
            "collection": self.collection.spec, "translator": self.translator.name, "translated": sides,
            "source_language": self.source, "query_language": self.target if self.plan.queries else self.source,
            "document_language": written, "queries": result.queries, "documents": result.documents,
            "suspicious": dict(result.suspicious),
            "note": "translated by machine; sample.tsv is for a person to check",
        }  # fmt: skip


def _pieces(text: str) -> Iterator[str]:
    """Cut a text into sentences, and a sentence that is too long for a model at white space."""
    for sentence in sentences(" ".join(text.split())):
        rest = sentence
        while len(rest) > _MOST_CHARACTERS:
            cut = rest.rfind(" ", 0, _MOST_CHARACTERS)
            cut = cut if cut > 0 else _MOST_CHARACTERS
            yield rest[:cut].strip()
            rest = rest[cut:].strip()
        if rest:
            yield rest


def _portions(items: Iterator[Any], size: int) -> Iterator[list[Any]]:
    while part := list(islice(items, size)):
        yield part


def _write_part(path: Path, documents: Sequence[Document]) -> None:
    with atomic_path(path) as temporary, open_compressed(temporary, ".gz") as stream:
        for document in documents:
            write_document(stream, document)


def _read_part(path: Path) -> list[Document]:
    try:
        return list(read_documents(path))
    except DataError as problem:
        raise CorruptFileError(f"{path}: a finished part is damaged ({problem}). Delete it and run again.") from None
