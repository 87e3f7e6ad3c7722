"""Searching a text collection of any size: documents are streamed, and each query keeps the best so far."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kivuko.datasets.collections.collection import UNDETERMINED, Collection, Document, Judgments
from kivuko.datasets.sentences import Sentences
from kivuko.encoders.loading import folder_fingerprint, model_kind
from kivuko.encoders.model import Model, load_model, quiet
from kivuko.encoders.reading import reader_of
from kivuko.encoders.teacher import TextTeacher, teacher_of
from kivuko.encoders.word_reader import WordReader
from kivuko.errors import DataError, ModelError, UsageError, wrap_errors
from kivuko.evaluation import evaluator
from kivuko.evaluation.evaluate import Options
from kivuko.evaluation.evaluator import ENGLISH, Bar, EncodedQueries, Report, System
from kivuko.evaluation.group_means import LanguageScores
from kivuko.evaluation.measures import RUN_MEASURES, TIES, Run, answerable, measure_run, without_own_id
from kivuko.evaluation.vectors import DocumentVectors
from kivuko.files import sha256_of
from kivuko.progress import note
from kivuko.text import pluralize

DEPTH = 1000  # documents kept per query: TREC's custom
_BLOCK = 2048  # documents that are encoded and scored together
_BATCH = 64
_PASSAGE_PROMPTS = ("document", "passage", "corpus")
_LARGE = 1 << 30  # bytes in the cache that a user should know of

# How measures are taken, for the header of records.
PROTOCOL = {
    "task": "text to text: every query against all documents of the collection",
    "ties": TIES["pessimistic"] + "; a tie that the cut goes through is resolved against the relevant documents too",
    "ranking": f"the first {DEPTH:,} documents of each query, compared with all of them",
    "relevance": "grades above 0; nDCG takes the grade as the gain",
    "R@k": "recall: relevant documents among the first k, divided by the relevant documents of the query",
    "measured by": "ir_measures, pytrec_eval provider",
    "intervals": "95 % percentile bootstrap over queries, 2,000 samples",
}


@dataclass(frozen=True)
class Encoders:
    """An encoder of documents, and the systems whose queries are compared with them."""

    encode_documents: Callable[[list[str]], Any]
    systems: tuple[System, ...]
    documents_by: str  # the encoder of documents, in words, for the protocol
    scoring: str = "cosine"  # or "maxsim"
    longest: int | None = None  # tokens of a text that are read; None: the model does not say
    space: str | None = None  # name of the vector space, by which vectors are cached; None: too large to be cached
    notes: tuple[str, ...] = ()

    def score(self, queries: Any, documents: Any) -> ArrayLike:
        if self.scoring == "maxsim":
            from kivuko.encoders.multi_vector import maxsim

            return maxsim(queries, documents).cpu().numpy()
        return np.asarray(queries @ documents.T)


@dataclass(eq=False)
class CollectionTask:
    """Queries of some languages against all documents of a collection; each document is encoded once for all.

    Memory holds a block of documents and, for each query, the best ``DEPTH`` so far.
    """

    collection: Collection
    encoders: Encoders
    languages: tuple[str, ...]
    report: Report | None = None
    ignore_identical_ids: bool = False  # leave out, of each query, the document that has its id
    split: str = "all"
    runs: dict[tuple[str, str], Run] = field(default_factory=dict)  # by objective and language
    # Objective to language to measure to the mean under trec_eval's own rule for equal scores.
    trec_eval: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    documents: int = 0
    missing: int = 0  # relevant documents that the collection lacks
    identical: int = 0  # queries that have a document of their own id
    cached: DocumentVectors | None = None

    def __post_init__(self) -> None:
        self.judgments = self.collection.judgments()
        if self.ignore_identical_ids:
            self.judgments = without_own_id(self.judgments)
        self.has_english = ENGLISH in self.collection.query_languages
        codes = dict.fromkeys((*([ENGLISH] if self.has_english else []), *self.languages))
        self._queries = {code: self._answerable(code) for code in codes}

    @property
    def scoring(self) -> str:
        return self.encoders.scoring

    @property
    def dataset(self) -> str:
        """The name in records, such as ``trec:my-collection`` or ``tico19``."""
        kind, name = self.collection.spec.partition(":")[0], self.collection.name
        return name if isinstance(self.collection, Sentences) else f"{kind}:{name}"

    def texts(self, language: str) -> list[str]:
        return list(self._queries[language][0].values())

    def measure(self, queries: Iterable[EncodedQueries]) -> Iterator[tuple[EncodedQueries, dict[str, LanguageScores]]]:
        ignore = self.ignore_identical_ids
        searches = [(one, TopDocuments(list(self._queries[one.language][0]), DEPTH, ignore)) for one in queries]
        encode = self.encoders.encode_documents
        if self.encoders.space:
            encode = self.cached = DocumentVectors(self.encoders.encode_documents, self.encoders.space)
        used = {query for one, _ in searches for query in self._queries[one.language][0]}
        judged = {query: grades for query, grades in self.judgments.items() if query in used}
        total = self.collection.document_count() or 0
        report = self.report
        self.documents, self.missing, self.identical = search_collection(
            self.collection.documents(), encode, self.encoders.score,
            [(one.vectors, best) for one, best in searches], judged,
            (lambda done: report(done, max(total, done))) if report else None, self.collection.spec,
        )  # fmt: skip
        for one, best in searches:
            yield one, {self.dataset: self._measured(one, best)}

    def protocol(self, languages: Sequence[str]) -> dict[str, Any]:
        longest = self.encoders.longest
        read = "as the model says" if longest is None else f"the first {longest} tokens"
        return {
            **PROTOCOL,
            "dataset": self.collection.spec, "split": self.split, "languages": list(self._queries),
            "document language": self.collection.document_language,
            "documents": f"{self.documents}, read by {self.encoders.documents_by}; of a text {read} are read",
            "queries": {code: len(texts) for code, (texts, _) in self._queries.items()},
            "queries left out": {"no relevant document in the qrels": self.unanswerable},
            "relevant documents not in the collection": self.missing,
            "documents with the id of the query": "left out" if self.ignore_identical_ids else "ranked like any other",
            "queries with such a document": self.identical,
            "depth": DEPTH,
            "run files": "beside the records, named after system and language",
            "ties in the run files": TIES["trec_eval"],
            "means under trec_eval's rule for ties": self.trec_eval,
            "files (SHA-256)": {str(path): sha256_of(path) for path in self.collection.files()},
            **(self.collection.protocol() if isinstance(self.collection, Sentences) else {}),
        }  # fmt: skip

    @property
    def unanswerable(self) -> dict[str, int]:
        """Queries left out, per language: no document was judged relevant to them."""
        return {code: left for code, (_, left) in self._queries.items()}

    def notes(self) -> list[str]:
        """Return lines on what was left out, missing or cached, when everything is measured."""
        lines = self.collection.notes(self.languages) if isinstance(self.collection, Sentences) else []
        lines += [
            f"left out, without a relevant document in the qrels: {pluralize(count, 'query', 'queries')} in {code}."
            for code, count in self.unanswerable.items()
            if count
        ]
        if self.missing:
            lines.append(
                f"not in the collection, and counted as not retrieved: {pluralize(self.missing, 'relevant document')}."
            )
        if self.identical:
            queries = pluralize(self.identical, "query", "queries")
            left = "left out"
            if not self.ignore_identical_ids:
                left = "searched too; --ignore-identical-ids (ignore_identical_ids) leaves it out"
            lines.append(f"a document with the query's own id is {left}: {queries}.")
        if self.cached is not None:
            where = self.cached.folder.parent
            if self.cached.taken:
                lines.append(f"vectors of {pluralize(self.cached.taken, 'document')} were taken from {where}.")
            if (size := self.cached.bytes()) > _LARGE:
                lines.append(f"{where} holds {size / 2**30:.1f} GiB of document vectors; delete it to free them.")
        return lines

    def _answerable(self, code: str) -> tuple[dict[str, str], int]:
        """Return the queries of one language that have a relevant document, and how many have none."""
        there = self.collection.query_languages
        own = self.collection.queries(code if code in there else UNDETERMINED)
        relevant = set(answerable(self.judgments))
        kept = {query: text for query, text in own.items() if query in relevant}
        if not kept:
            raise DataError(
                f"{self.collection.spec}: none of its {len(own):,} queries in {code} has a relevant document in the "
                "qrels; do the ids of queries and qrels match?"
            )
        return kept, len(own) - len(kept)

    def _measured(self, queries: EncodedQueries, best: "TopDocuments") -> LanguageScores:
        """Measure one language's results, ties resolved against the relevant documents; keep the run."""
        objective, code = queries.system.objective, queries.language
        ids = list(self._queries[code][0])
        run = self.runs[objective, code] = best.run()
        means = measure_run(run, self.judgments, ids, RUN_MEASURES)
        self.trec_eval.setdefault(objective, {})[code] = {name: float(one.mean()) for name, one in means.items()}
        pessimistic = best.pessimistic_run(self.judgments)
        values = measure_run(pessimistic, self.judgments, ids, RUN_MEASURES, ties="pessimistic")
        clusters = ids if isinstance(self.collection, Sentences) else None  # the same in every language
        return LanguageScores(
            language=code, query_ids=ids, values=values, subsets=self._copied(code), clusters=clusters
        )

    def _copied(self, code: str) -> dict[str, NDArray[np.bool_]]:
        """Mark queries equal to their English version: they prove nothing about the language."""
        if ENGLISH not in self._queries:
            return {}
        english = self._queries[ENGLISH][0]
        own = self._queries[code][0]
        same = [code != ENGLISH and text.casefold() == english.get(query, "").casefold() for query, text in own.items()]
        return {"copied": np.array(same, dtype=np.bool_)}


def open_collection(
    model: Any, collection: Collection, options: Options, bar: Bar
) -> tuple[Model | None, tuple[str, ...], CollectionTask]:
    """Return the model (None: late interaction), the languages to measure, and the task."""
    if options.languages is not None:
        choose_queries(collection, options.languages, None)
    if next(iter(collection.documents()), None) is None:  # before the models are loaded
        raise DataError(f"{collection.spec} has no document; give at least one.")
    loaded = None
    folder = Path(model) if isinstance(model, str | Path) else None
    if folder is not None and (folder / "modules.json").is_file() and model_kind(str(model)) == "multi-vector":
        encoders = multi_vector_encoders(folder, options.device, options.batch_size, alone=options.alone)
    else:
        loaded = load_model(model, device=options.device)
        encoders = collection_encoders(
            loaded, collection.document_language, alone=options.alone, batch_size=options.batch_size
        )
    for line in encoders.notes:
        note(f"note: {line}")
    trained = next((one.about.languages for one in encoders.systems if one.about is not None), None)
    codes = choose_queries(collection, options.languages, trained or None)
    report = bar("searching documents")
    split = collection.split if isinstance(collection, Sentences) else "all"
    return loaded, codes, CollectionTask(collection, encoders, codes, report, options.ignore_identical_ids, split)


def choose_queries(
    collection: Collection, requested: Sequence[str] | None, trained: Sequence[str] | None
) -> tuple[str, ...]:
    """Return the languages whose queries are measured.

    ``requested``: normalized codes; None: those that the model was ``trained`` on (None: unknown, all are taken).
    """
    there = collection.query_languages
    has = ", ".join(there) if there != (UNDETERMINED,) else "one language that no file names: name just that"
    if requested is None:
        chosen = tuple(there if trained is None else (c for c in there if c in trained or c == UNDETERMINED))
        if not chosen:
            raise UsageError(
                f"{collection.spec}: has no queries in a language that the model was trained on "
                f"({', '.join(trained or ())}); it has {has}."
            )
        return chosen
    if there == (UNDETERMINED,) and len(requested) == 1:
        return tuple(requested)  # the user names what the files do not
    if absent := [code for code in requested if code not in there]:
        raise UsageError(f"{collection.spec}: has no queries in {', '.join(absent)}; it has {has}.")
    return tuple(requested)


def collection_encoders(
    model: Model, document_language: str, *, alone: bool = False, batch_size: int | None = None
) -> Encoders:
    """Return the encoders for a collection with documents in this language.

    A model of Kivuko's was trained to put its languages where its English teacher puts English: English documents are
    encoded by the teacher, all others by the model itself. The teacher also searches with the queries of every language
    as they are (in English that is the ceiling), and so does a model with random weights (the floor). Any other model
    of ``sentence-transformers`` encodes queries and documents itself, with its own prompts for either.
    """
    encoder, about = model.encoder, model.about
    if not model.has_text:
        raise ModelError(
            f"{model.path or model.name}: encodes no text, so it cannot search a text collection. Name another model."
        )
    space = folder_fingerprint(model.path) if model.path is not None else None
    if space and isinstance(reader := reader_of(encoder), WordReader) and reader.load_encoder() is not None:
        space += " with its encoder"
    if about is None:
        return Encoders(
            _with_prompt(encoder, "document", batch_size),
            (System(model.name, model.name, _with_prompt(encoder, "query", batch_size)),),
            f"{model.name} (the model itself)", longest=_longest(encoder), space=space,
        )  # fmt: skip
    student = evaluator.model_system(model, batch_size)
    if document_language not in (ENGLISH, UNDETERMINED):
        line = f"{model.name} was not trained on {document_language}, the documents' language."
        return Encoders(
            student.encode, (student,), f"{model.name} (the model itself)", longest=_longest(encoder), space=space,
            notes=() if document_language in about.languages else (line,),
        )  # fmt: skip
    with quiet():
        teacher = teacher_of(about).to(model.device)
    systems = [student]
    if not alone:
        systems = [
            evaluator.teacher_system(teacher, batch_size),
            evaluator.untrained_system(model, batch_size),
            student,
        ]
    line = "no file says the documents' language; taken for English."
    return Encoders(
        _teacher_documents(teacher, batch_size), tuple(systems), f"{teacher.name} (the teacher)",
        longest=_longest(teacher.model), space=f"{teacher.fingerprint} {getattr(teacher.model, 'prompts', None)}",
        notes=() if document_language == ENGLISH else (line,),
    )  # fmt: skip


def multi_vector_encoders(
    path: Path, device: str | None, batch_size: int | None = None, *, alone: bool = False
) -> Encoders:
    """Return the encoders of a ``MultiVectorEncoder``: its own queries and documents, by MaxSim.

    In one of Kivuko's, documents are the English teacher's tokens; then the teacher searches too, as in
    ``collection_encoders``.
    """
    from sentence_transformers import MultiVectorEncoder

    from kivuko.encoders.multi_vector import read_multi_vector_about, token_lists

    unusable = f"{path}: does not load as a multi-vector encoder"
    with wrap_errors(lambda reason: ModelError(f"{unusable} ({reason}). Make it again.")), quiet():
        model = MultiVectorEncoder(str(path.absolute()), device=device, trust_remote_code=False).eval()
    options = {"batch_size": batch_size or _BATCH, "show_progress_bar": False}
    name, about = path.resolve().name, read_multi_vector_about(path)

    def documents(texts: Sequence[str]) -> Any:
        return token_lists(model.encode_document(list(texts), **options))

    own = System(
        name, about.recipe if about else name,
        lambda texts: token_lists(model.encode_query(list(texts), **options)), about,
    )  # fmt: skip
    teacher = () if about is None or alone else (System(about.teacher, evaluator.TEACHER, documents),)
    return Encoders(
        documents, (*teacher, own), f"{name} (its document side)", scoring="maxsim", longest=_longest(model)
    )


def _teacher_documents(teacher: TextTeacher, batch_size: int | None) -> Callable[[Sequence[str]], Any]:
    """Encode documents as the teacher encodes sentences, or with its own prompt for passages, as E5 expects."""
    prompts = getattr(teacher.model, "prompts", None) or {}
    if any(prompts.get(name) for name in _PASSAGE_PROMPTS):
        return _with_prompt(teacher.model, "document", batch_size)
    return evaluator.teacher_encoder(teacher, batch_size)


def _with_prompt(model: Any, side: str, batch_size: int | None) -> Callable[[Sequence[str]], Any]:
    """Encode with the model's own prompt for ``side``, "query" or "document"."""
    run = getattr(model, f"encode_{side}")

    def encode(texts: Sequence[str]) -> NDArray[np.float32]:
        vectors = run(list(texts), batch_size=batch_size or _BATCH, normalize_embeddings=True, show_progress_bar=False)
        return np.asarray(vectors, dtype=np.float32).reshape(len(texts), -1)

    return encode


def _longest(model: Any) -> int | None:
    longest = getattr(model, "max_seq_length", None)
    return longest if isinstance(longest, int) else None


class TopDocuments:
    """The best documents of each query so far, in trec_eval's order: by score, then by document id, both falling."""

    def __init__(self, queries: Sequence[str], depth: int, ignore_identical_ids: bool = False) -> None:
        self.depth, self.ignore_identical_ids = depth, ignore_identical_ids
        self.rows = {query: row for row, query in enumerate(queries)}
        self.collection = ""  # its name, for messages
        self.scores = np.empty((len(queries), 0), dtype=np.float32)
        self.ids = np.empty((len(queries), 0), dtype=object)
        # How many documents beyond the cut score exactly as the last one that was kept.
        self.tied_beyond = np.zeros(len(queries), dtype=np.int64)

    def add(self, ids: Sequence[str], scores: ArrayLike) -> None:
        """Add the scores of more documents, [queries, documents], higher is better; ModelError if one is NaN."""
        new = np.asarray(scores, dtype=np.float32)
        if np.isnan(new).any():
            raise ModelError("the model gives scores that are no numbers (NaN): are its weights damaged?")
        if self.ignore_identical_ids and self.rows.keys() & set(ids):
            new = new.copy()
            for column, name in enumerate(ids):
                if name in self.rows:
                    new[self.rows[name], column] = -np.inf  # not kept, or dropped by ``run``
        names = np.empty(len(ids), dtype=object)
        names[:] = ids
        all_scores = np.concatenate([self.scores, new], axis=1)
        all_ids = np.concatenate([self.ids, np.broadcast_to(names, new.shape)], axis=1)
        if all_scores.shape[1] <= self.depth:
            self.scores, self.ids = all_scores, all_ids
            return
        full = self.scores.shape[1] == self.depth
        limit_before = self.scores.min(axis=1) if full else None
        kept = np.argpartition(-all_scores, self.depth - 1, axis=1)[:, : self.depth]
        limit = np.take_along_axis(all_scores, kept, axis=1).min(axis=1)  # the lowest score that stays
        tied = np.count_nonzero(all_scores == limit[:, None], axis=1)
        above = np.count_nonzero(all_scores > limit[:, None], axis=1)
        dropped = tied - (self.depth - above)
        for row in np.flatnonzero(dropped > 0):
            higher = np.flatnonzero(all_scores[row] > limit[row])
            equal = sorted(np.flatnonzero(all_scores[row] == limit[row]), key=lambda n: all_ids[row, n], reverse=True)
            kept[row] = np.concatenate([higher, np.array(equal[: self.depth - len(higher)], dtype=higher.dtype)])
        if limit_before is not None:
            dropped = dropped + np.where(limit == limit_before, self.tied_beyond, 0)
        self.scores = np.take_along_axis(all_scores, kept, axis=1)
        self.ids = np.take_along_axis(all_ids, kept, axis=1)
        self.tied_beyond = dropped

    def run(self) -> Run:
        """Return the documents kept for each query; DataError if two documents have one id."""
        run: Run = {}
        for query, ids, scores in zip(self.rows, self.ids.tolist(), self.scores.tolist(), strict=True):
            run[query] = dict(zip(ids, scores, strict=True))
            if len(run[query]) < len(ids):
                twice = next(name for name in ids if ids.count(name) > 1)
                problem = f"two documents have the id {twice}; ids must be unique in a collection"
                raise DataError(f"{self.collection}: {problem}" if self.collection else problem)
            if self.ignore_identical_ids:
                run[query].pop(query, None)
        return run

    def pessimistic_run(self, judgments: Judgments) -> Run:
        """Return the run that keeps irrelevant documents instead where a tie goes through the cut."""
        run = self.run()
        for query, beyond, scores in zip(self.rows, self.tied_beyond.tolist(), self.scores, strict=True):
            if not beyond:
                continue
            limit, scored, grades = float(scores.min()), run[query], judgments.get(query, {})
            tied = [name for name, score in scored.items() if score == limit and grades.get(name, 0) > 0]
            for place, name in enumerate(sorted(tied, key=lambda name: -grades[name])[:beyond]):
                del scored[name]
                scored[f"beyond the cut {place}"] = limit  # white space: no document has such an id
        return run


def search_collection(
    documents: Iterable[Document],
    encode: Callable[[list[str]], Any],
    score: Callable[[Any, Any], ArrayLike],
    searches: Sequence[tuple[Any, TopDocuments]],
    judgments: Judgments,
    report: Callable[[int], None] | None = None,
    name: str = "the collection",
) -> tuple[int, int, int]:
    """Compare all queries with all documents, encoding each document once for all systems and languages.

    ``searches``: encoded queries, and where their best documents go; ``report``: called with the number of documents
    done. Returns the number of documents, of relevant ones that are not among them, and of those with a query's id.
    """
    missing = {name for grades in judgments.values() for name, grade in grades.items() if grade > 0}
    queries = {query for _, best in searches for query in best.rows}
    for _, best in searches:
        best.collection = name
    count = identical = 0
    for block in _blocks(iter(documents)):
        ids = [document.id for document in block]
        encoded = encode([document.whole for document in block])
        for vectors, best in searches:
            best.add(ids, score(vectors, encoded))
        count += len(block)
        missing.difference_update(ids)
        identical += len(queries.intersection(ids))
        if report is not None:
            report(count)
    if not count:
        raise DataError(f"{name} has no document; give at least one")
    return count, len(missing), identical


def _blocks(documents: Iterator[Document]) -> Iterator[list[Document]]:
    while block := list(islice(documents, _BLOCK)):
        # Texts of like length go together where the encoder cuts its batches; the order of documents means nothing.
        yield sorted(block, key=lambda document: len(document.text))
