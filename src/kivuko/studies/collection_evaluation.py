"""Evaluating a model on a text collection: records, per-query scores, and a TREC run file for each language."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kivuko.datasets.collections import UNDETERMINED, Collection, Judgements
from kivuko.errors import DataError, UsageError
from kivuko.evaluation.collection import (
    COLLECTION_MEASURES,
    DEPTH,
    PROTOCOL,
    Asked,
    measure_asked,
    search_collection,
)
from kivuko.evaluation.query_scores import PerQueryScores
from kivuko.evaluation.records import Condition, Header, Record
from kivuko.evaluation.summary import LanguageScores, per_query_scores, summarise
from kivuko.evaluation.trec_measures import TIES, answerable, measure_run
from kivuko.evaluation.trec_run import write_run
from kivuko.files import sha256_of
from kivuko.languages import resource_groups
from kivuko.studies.collection_encoders import ENGLISH, Encoders, System
from kivuko.studies.document_vectors import DocumentVectors
from kivuko.studies.evaluation import TEACHER

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
    judgements = collection.judgements()
    asked_about = _queries(collection, judgements, languages)
    results = CollectionResults(unanswerable={code: left for code, (_, left) in asked_about.items()})
    queries = {code: texts for code, (texts, _) in asked_about.items()}
    results.queries = {code: len(texts) for code, texts in queries.items()}
    asked = _encode_queries(encoders, queries, results)
    total = collection.document_count() or 0
    used = {query for texts in queries.values() for query in texts}
    read = results.remembered = DocumentVectors(encoders.encode_documents, encoders.space) if encoders.space else None
    seen = search_collection(
        collection.documents(), read or encoders.encode_documents, encoders.score, [one for _, one in asked],
        {query: grades for query, grades in judgements.items() if query in used},
        (lambda done: progress(done, max(total, done))) if progress else None, collection.spec,
    )  # fmt: skip
    results.documents, results.missing = seen.documents, seen.missing
    _summarise(results, encoders, collection, judgements, queries, asked)
    results.header = _header(results, encoders, collection, command)
    return results


def _queries(
    collection: Collection, judgements: Judgements, languages: tuple[str, ...]
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
    can_answer = set(answerable(judgements))
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


def _summarise(
    results: CollectionResults,
    encoders: Encoders,
    collection: Collection,
    judgements: Judgements,
    queries: Mapping[str, dict[str, str]],
    asked: list[tuple[System, Asked]],
) -> None:
    english: LanguageScores | None = None
    for system in encoders.systems:
        scores = []
        for owner, one in asked:
            if owner is not system:
                continue
            scores.append(measure_asked(one, judgements, _copied(one, queries)))
            means = measure_run(one.best.run(one.query_ids), judgements, one.query_ids, COLLECTION_MEASURES)
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
        summary = summarise([*lent, *scores], condition, groups=groups, reference=ENGLISH)
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
