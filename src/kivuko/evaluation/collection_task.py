"""Evaluating a model on a text collection: records, per-query scores, and a TREC run file for each language."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kivuko.datasets.collections import UNDETERMINED, Collection, Judgments
from kivuko.encoders.loading import folder_fingerprint, model_kind
from kivuko.encoders.model import About, encode_texts, load_encoder, quiet, read_about, untrained_copy
from kivuko.encoders.teacher import TextTeacher, teacher_of
from kivuko.errors import DataError, ModelError, UsageError, wrap_errors
from kivuko.evaluation.collection import COLLECTION_MEASURES, DEPTH, PROTOCOL, Asked, measure_asked, search_collection
from kivuko.evaluation.emoji_task import TEACHER, UNTRAINED, teacher_encoder
from kivuko.evaluation.records import Condition, Header, PerQueryScores, Record
from kivuko.evaluation.run import TIES, answerable, measure_run, write_run
from kivuko.evaluation.summary import LanguageScores, per_query_scores, summarize
from kivuko.evaluation.vectors import DocumentVectors
from kivuko.files import sha256_of
from kivuko.languages import resource_groups

ENGLISH = "en"
Encode = Callable[[list[str]], Any]
_PASSAGE_PROMPTS = ("document", "passage", "corpus")


@dataclass(frozen=True)
class System:
    """One way to read queries. ``languages``: whose queries it is given, None for all that are asked about."""

    model: str
    objective: str
    encode: Encode
    languages: tuple[str, ...] | None = None
    about: About | None = None


@dataclass(frozen=True)
class Encoders:
    """What a collection is searched with: one reader of documents, and the systems whose queries are compared to it.

    ``documents_by``: who reads the documents, for the protocol. ``longest``: tokens of a text that are read, None
    where that is not told. ``scoring``: "cosine" or "maxsim". ``space``: what tells its vectors of documents from those
    of others; None for what is too large to be remembered, a list of vectors for each document.
    """

    encode_documents: Encode
    systems: tuple[System, ...]
    documents_by: str
    scoring: str = "cosine"
    longest: int | None = None
    space: str | None = None
    notes: tuple[str, ...] = ()

    def score(self, queries: Any, documents: Any) -> ArrayLike:
        """Return [queries, documents], higher is better."""
        if self.scoring == "maxsim":
            from kivuko.encoders.maxsim import maxsim

            return maxsim(queries, documents).cpu().numpy()
        return np.asarray(queries @ documents.T)


def load_encoders(path: Path, document_language: str) -> Encoders:
    """Load a model for a collection whose documents are in this language.

    A model of Kivuko's was taught to put its languages where its English teacher puts English: English documents are
    read by the teacher, all others by the model itself. Beside the model, the teacher is asked in every language as it
    is (in English that is the ceiling), and so are random weights (the floor). Any other folder of
    ``sentence-transformers`` reads queries and documents itself, with its own prompts for either; a
    ``MultiVectorEncoder`` scores by MaxSim.

    Raises:
        ModelError: the folder is no model that encodes text, or its teacher cannot be loaded.
    """
    if (path / "modules.json").is_file() and model_kind(str(path)) == "multi-vector":
        return _multi_vector(path)
    model, about = load_encoder(path), read_about(path)
    if "text" not in getattr(model, "modalities", ("text",)):
        raise ModelError(f"{path}: encodes no text, so it cannot search a text collection. Name another model.")
    if about is None:
        return _foreign(model, path)
    with quiet():
        teacher = teacher_of(about)
    return _kivuko(model, path, about, teacher, document_language)


def _kivuko(model: Any, path: Path, about: About, teacher: TextTeacher, document_language: str) -> Encoders:
    name = path.name
    student = System(name, about.recipe, lambda texts: encode_texts(model, texts), about.languages, about)
    if document_language not in (ENGLISH, "und"):
        known = document_language in about.languages
        note = f"note: {name} was not trained on {document_language}, the documents' language."
        return Encoders(
            lambda texts: encode_texts(model, texts), (student,), f"{name} (the model itself)",
            longest=_longest(model), space=folder_fingerprint(path), notes=() if known else (note,),
        )  # fmt: skip
    blank = untrained_copy(model)
    systems = (
        System(teacher.name, TEACHER, teacher_encoder(teacher)),
        System(about.student, UNTRAINED, lambda texts: encode_texts(blank, texts), about.languages),
        student,
    )
    notes = () if document_language == ENGLISH else ("note: the documents' language is not told; taken for English.",)
    return Encoders(
        _teacher_documents(teacher),
        systems,
        f"{teacher.name} (the teacher)",
        longest=_longest(teacher.model),
        space=f"{teacher.fingerprint} {getattr(teacher.model, 'prompts', None)}",
        notes=notes,
    )


def _teacher_documents(teacher: TextTeacher) -> Encode:
    """Read documents as the teacher reads sentences, or with its own prompt for passages, as E5 asks for."""
    prompts = getattr(teacher.model, "prompts", None) or {}
    if any(prompts.get(name) for name in _PASSAGE_PROMPTS):
        return _documents_with_prompt(teacher.model)
    return teacher_encoder(teacher)


def _foreign(model: Any, path: Path) -> Encoders:
    def encode(texts: list[str]) -> Any:
        options = {"batch_size": 64, "normalize_embeddings": True, "show_progress_bar": False}
        return np.asarray(model.encode_query(texts, **options), dtype=np.float32).reshape(len(texts), -1)

    system = System(path.name, path.name, encode)
    return Encoders(
        _documents_with_prompt(model), (system,), f"{path.name} (the model itself)", longest=_longest(model),
        space=folder_fingerprint(path),
    )  # fmt: skip


def _documents_with_prompt(model: Any) -> Encode:
    def encode(texts: list[str]) -> Any:
        options = {"batch_size": 64, "normalize_embeddings": True, "show_progress_bar": False}
        return np.asarray(model.encode_document(texts, **options), dtype=np.float32).reshape(len(texts), -1)

    return encode


def _multi_vector(path: Path) -> Encoders:
    from sentence_transformers import MultiVectorEncoder

    from kivuko.encoders.maxsim import token_lists

    unusable = f"{path}: does not load as a multi-vector encoder"
    with wrap_errors(lambda reason: ModelError(f"{unusable} ({reason}). Make it again.")), quiet():
        model = MultiVectorEncoder(str(path), device="cpu").eval()
    options = {"batch_size": 64, "show_progress_bar": False}

    return Encoders(
        lambda texts: token_lists(model.encode_document(texts, **options)),
        (System(path.name, path.name, lambda texts: token_lists(model.encode_query(texts, **options))),),
        f"{path.name} (its document side)", scoring="maxsim", longest=_longest(model),
    )  # fmt: skip


def _longest(model: Any) -> int | None:
    longest = getattr(model, "max_seq_length", None)
    return longest if isinstance(longest, int) else None


Progress = Callable[[int, int], None]  # (documents done, documents in all, 0 if unknown)


@dataclass
class CollectionResults:
    """What a collection's search gave: ``records``, ``per_query``, and what found it.

    ``queries``: how many were measured, per language. ``unanswerable``: queries left out, per language, since no
    document was judged relevant. ``missing``: relevant documents that the collection does not hold. ``trec_eval``:
    system to language to measure to the mean under trec_eval's own rule for equal scores. ``remembered``: the vectors
    of documents on disk, None where none are kept.
    """

    records: list[Record] = field(default_factory=list)
    per_query: list[PerQueryScores] = field(default_factory=list)
    header: Header | None = None
    queries: dict[str, int] = field(default_factory=dict)
    unanswerable: dict[str, int] = field(default_factory=dict)
    missing: int = 0
    documents: int = 0
    runs: dict[tuple[str, str], Asked] = field(default_factory=dict)
    trec_eval: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    remembered: DocumentVectors | None = None

    def write_runs(self, records: Path) -> list[Path]:
        """Write a TREC run for each system and language beside the records file; return their paths."""
        written = []
        for (objective, language), asked in self.runs.items():
            path = records.with_name(f"{records.stem}.{language}.{'-'.join(objective.split())}.run")
            write_run(path, asked.best.run(asked.query_ids), f"kivuko-{objective}-{language}", asked.query_ids)
            written.append(path)
        return written


def evaluate_collection_model(
    encoders: Encoders,
    collection: Collection,
    languages: tuple[str, ...],
    command: str,
    progress: Progress | None = None,
) -> CollectionResults:
    """Search a collection with a model and measure what it finds.

    Args:
        languages: of the queries; none: all that the collection has. English queries, where the collection has them,
            are always put to the teacher: they are the ceiling, and parity's denominator.
        command: for the records' header.

    Raises:
        UsageError: the collection has no queries in a language.
        DataError: no query has a relevant document, or a part of the collection cannot be read.
        ModelError: the model gives NaN.
    """
    judgments = collection.judgments()
    asked_about = _queries(collection, judgments, languages)
    results = CollectionResults(unanswerable={code: left for code, (_, left) in asked_about.items()})
    queries = {code: texts for code, (texts, _) in asked_about.items()}
    results.queries = {code: len(texts) for code, texts in queries.items()}
    asked = _encode_queries(encoders, queries, results)
    total = collection.document_count() or 0
    used = {query for texts in queries.values() for query in texts}
    read = results.remembered = DocumentVectors(encoders.encode_documents, encoders.space) if encoders.space else None
    seen = search_collection(
        collection.documents(), read or encoders.encode_documents, encoders.score, [one for _, one in asked],
        {query: grades for query, grades in judgments.items() if query in used},
        (lambda done: progress(done, max(total, done))) if progress else None, collection.spec,
    )  # fmt: skip
    results.documents, results.missing = seen.documents, seen.missing
    _summarize(results, encoders, collection, judgments, queries, asked)
    results.header = _header(results, encoders, collection, command)
    return results


def _queries(
    collection: Collection, judgments: Judgments, languages: tuple[str, ...]
) -> dict[str, tuple[dict[str, str], int]]:
    """Return, per language, the queries that have a relevant document and how many have none."""
    there = collection.query_languages
    if languages == there or not languages:
        wanted = there
    elif there == (UNDETERMINED,) and len(languages) == 1:
        wanted = languages  # the user tells what the files do not
    elif absent := [code for code in languages if code not in there]:
        told = ", ".join(there) if there != (UNDETERMINED,) else "one language that no file tells: name just that"
        raise UsageError(f"{collection.spec}: has no queries in {', '.join(absent)}; it has {told}.")
    else:
        wanted = tuple(dict.fromkeys((*languages, *(code for code in there if code == ENGLISH))))
    can_answer = set(answerable(judgments))
    found: dict[str, tuple[dict[str, str], int]] = {}
    for code in wanted:
        own = collection.queries(code if code in there else UNDETERMINED)
        kept = {query: text for query, text in own.items() if query in can_answer}
        if not kept:
            raise DataError(
                f"{collection.spec}: none of its {len(own):,} queries in {code} has a relevant document in the qrels; "
                "do the ids of queries and qrels match?"
            )
        found[code] = (kept, len(own) - len(kept))
    return found


def _encode_queries(
    encoders: Encoders, queries: Mapping[str, dict[str, str]], results: CollectionResults
) -> list[tuple[System, Asked]]:
    asked = []
    for system in encoders.systems:
        for code, texts in queries.items():
            if code == ENGLISH and system.languages is not None and ENGLISH not in system.languages:
                continue  # English is the teacher's own: a student that never saw it is not asked in it
            one = Asked(code, list(texts), system.encode(list(texts.values())))
            results.runs[system.objective, code] = one
            asked.append((system, one))
    if not asked:
        raise UsageError("only English queries, and the model was taught none: name another language with -l.")
    return asked


def _summarize(
    results: CollectionResults,
    encoders: Encoders,
    collection: Collection,
    judgments: Judgments,
    queries: Mapping[str, dict[str, str]],
    asked: list[tuple[System, Asked]],
) -> None:
    english: LanguageScores | None = None
    for system in encoders.systems:
        scores = []
        for owner, one in asked:
            if owner is not system:
                continue
            scores.append(measure_asked(one, judgments, _copied(one, queries)))
            means = measure_run(one.best.run(one.query_ids), judgments, one.query_ids, COLLECTION_MEASURES)
            results.trec_eval.setdefault(system.objective, {})[one.language] = {
                name: float(values.mean()) for name, values in means.items()
            }
        if not scores:
            continue
        if system.objective == TEACHER:
            english = next((one for one in scores if one.language == ENGLISH), None)
        condition = _condition(system, collection, encoders.scoring)
        codes = tuple(one.language for one in scores if one.language not in (ENGLISH, UNDETERMINED))
        groups = {str(name): members for name, members in resource_groups(codes).items() if members}
        lent = [english] if english is not None and all(one.language != ENGLISH for one in scores) else []
        summary = summarize([*lent, *scores], condition, groups=groups, reference=ENGLISH)
        own = {one.language for one in scores} | set(groups)
        results.records += [record for record in summary.records if record.language in own]
        results.per_query += per_query_scores(scores, condition)


def _copied(asked: Asked, queries: Mapping[str, dict[str, str]]) -> dict[str, NDArray[np.bool_]]:
    """Mark queries equal to their English version: they prove nothing about the language."""
    english = queries.get(ENGLISH)
    if english is None:
        return {}
    own = queries[asked.language]
    same = [
        asked.language != ENGLISH and own[query].casefold() == english.get(query, "").casefold()
        for query in asked.query_ids
    ]
    return {"copied": np.array(same, dtype=np.bool_)}


def _condition(system: System, collection: Collection, scoring: str) -> Condition:
    about = system.about
    kind = collection.spec.partition(":")[0]
    return Condition(
        dataset=f"{kind}:{collection.name}", split="all", model=system.model, objective=system.objective,
        bitext_size=about.pairs_per_language if about else None, seed=about.seed if about else None, scoring=scoring,
    )  # fmt: skip


def _header(results: CollectionResults, encoders: Encoders, collection: Collection, command: str) -> Header:
    seeds = {system.about.seed for system in encoders.systems if system.about}
    longest = "as the model says" if encoders.longest is None else f"the first {encoders.longest} tokens"
    protocol: dict[str, Any] = {
        **PROTOCOL,
        "dataset": collection.spec, "split": "all", "languages": list(results.queries),
        "document language": collection.document_language,
        "documents": f"{results.documents}, read by {encoders.documents_by}; of a text {longest} are read",
        "queries": results.queries,
        "queries left out": {"no relevant document in the qrels": results.unanswerable},
        "relevant documents not in the collection": results.missing,
        "depth": DEPTH,
        "run files": "beside the records, named after system and language",
        "ties in the run files": TIES["trec_eval"],
        "means under trec_eval's rule for ties": results.trec_eval,
        "files (SHA-256)": {str(path): sha256_of(path) for path in collection.files()},
    }  # fmt: skip
    return Header(command=command, protocol=protocol, seeds=sorted(seeds))
