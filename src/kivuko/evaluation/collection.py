"""Searching a text collection of any size: documents stream past, each query keeps the best it has seen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kivuko.datasets.collections import Document, Judgments
from kivuko.errors import DataError, ModelError
from kivuko.evaluation.measures import MEASURES
from kivuko.evaluation.run import TIES, Run, measure_run
from kivuko.evaluation.summary import LanguageScores

DEPTH = 1000
"""Documents kept per query: TREC's custom."""
COLLECTION_MEASURES = (*MEASURES, "R@100")
_BLOCK = 2048  # documents that are encoded and scored together

PROTOCOL = {
    "task": "text to text: every query against all documents of the collection",
    "ties": TIES["pessimistic"] + "; a tie that the cut goes through is resolved against the relevant documents too",
    "ranking": f"the first {DEPTH:,} documents of each query, found by comparing it with all",
    "relevance": "grades above 0; nDCG takes the grade as the gain",
    "R@k": "recall: relevant documents among the first k, divided by the relevant documents of the query",
    "measured by": "ir_measures, pytrec_eval provider",
    "intervals": "95 % percentile bootstrap over queries, 2,000 samples",
}
"""What a record's header says about how the measures were taken."""


@dataclass
class Asked:
    """Queries of one language as one system reads them, and what they have found so far.

    ``encoded``: whatever ``score`` takes beside encoded documents.
    """

    language: str
    query_ids: Sequence[str]
    encoded: Any
    best: TopDocuments = field(init=False)

    def __post_init__(self) -> None:
        self.best = TopDocuments(len(self.query_ids), DEPTH)


class TopDocuments:
    """The best documents of each query so far, in trec_eval's order: by score, then by document id, both falling."""

    def __init__(self, queries: int, depth: int) -> None:
        self.depth = depth
        self.collection = ""  # its name, for messages
        self.scores = np.empty((queries, 0), dtype=np.float32)
        self.ids = np.empty((queries, 0), dtype=object)
        # How many documents beyond the cut score exactly as the last one that was kept.
        self.tied_beyond = np.zeros(queries, dtype=np.int64)

    def add(self, ids: Sequence[str], scores: ArrayLike) -> None:
        """Take the scores of more documents, [queries, documents], higher is better.

        Raises:
            ModelError: a score is NaN.
        """
        new = np.asarray(scores, dtype=np.float32)
        if np.isnan(new).any():
            raise ModelError("the model gives scores that are no numbers (NaN): are its weights damaged?")
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

    def run(self, query_ids: Sequence[str]) -> Run:
        """Return what was found.

        Raises:
            DataError: two documents of the collection have one id.
        """
        found: Run = {}
        for query, ids, scores in zip(query_ids, self.ids.tolist(), self.scores.tolist(), strict=True):
            found[query] = dict(zip(ids, scores, strict=True))
            if len(found[query]) < len(ids):
                twice = next(name for name in ids if ids.count(name) > 1)
                told = f"two documents have the id {twice}; ids must be unique in a collection"
                raise DataError(f"{self.collection}: {told}" if self.collection else told)
        return found

    def pessimistic_run(self, query_ids: Sequence[str], judgments: Judgments) -> Run:
        """Return what was found if, where a tie goes through the cut, irrelevant documents had been kept instead."""
        found = self.run(query_ids)
        for query, beyond, scores in zip(query_ids, self.tied_beyond.tolist(), self.scores, strict=True):
            if not beyond:
                continue
            limit, scored, grades = float(scores.min()), found[query], judgments.get(query, {})
            tied = [name for name, score in scored.items() if score == limit and grades.get(name, 0) > 0]
            for place, name in enumerate(sorted(tied, key=lambda name: -grades[name])[:beyond]):
                del scored[name]
                scored[f"beyond the cut {place}"] = limit  # white space: no document has such an id
        return found


@dataclass
class Seen:
    """What went past in a search: ``missing``: relevant documents that the collection does not hold."""

    documents: int = 0
    missing: int = 0


def search_collection(
    documents: Iterable[Document],
    encode: Callable[[list[str]], Any],
    score: Callable[[Any, Any], ArrayLike],
    asked: Sequence[Asked],
    judgments: Judgments,
    progress: Callable[[int], None] | None = None,
    name: str = "the collection",
) -> Seen:
    """Compare all queries with all documents; each document is encoded once, for all systems and languages.

    Memory holds a block of documents and, of each query, the best ``DEPTH`` so far.

    Args:
        encode: texts -> whatever ``score`` takes.
        score: (encoded queries, encoded documents) -> [queries, documents], higher is better.
        asked: its ``best`` are filled.
        progress: told how many documents are done.
        name: of the collection, for messages, here and where ``asked`` is measured.

    Raises:
        DataError: the collection has no document.
        ModelError: the model gives NaN.
    """
    relevant = {name for grades in judgments.values() for name, grade in grades.items() if grade > 0}
    wanted = len(relevant)
    seen = Seen()
    for one in asked:
        one.best.collection = name
    for block in _blocks(iter(documents)):
        ids = [document.id for document in block]
        encoded = encode([document.whole for document in block])
        for one in asked:
            one.best.add(ids, score(one.encoded, encoded))
        seen.documents += len(block)
        relevant.difference_update(ids)
        if progress is not None:
            progress(seen.documents)
    if not seen.documents:
        raise DataError(f"{name} has no document; give at least one")
    seen.missing = min(wanted, len(relevant))
    return seen


def measure_asked(
    asked: Asked, judgments: Judgments, subsets: Mapping[str, NDArray[np.bool_]] | None = None
) -> LanguageScores:
    """Measure what was found, ties resolved against the relevant documents.

    Args:
        judgments: of every query in ``asked``, each with a relevant document.
        subsets: name to bool [queries], such as "copied".
    """
    run = asked.best.pessimistic_run(asked.query_ids, judgments)
    values = measure_run(run, judgments, asked.query_ids, COLLECTION_MEASURES, ties="pessimistic")
    return LanguageScores(
        language=asked.language, query_ids=list(asked.query_ids), values=values, subsets=dict(subsets or {})
    )


def _blocks(documents: Iterator[Document]) -> Iterator[list[Document]]:
    while block := list(islice(documents, _BLOCK)):
        # Texts of like length go together where the encoder cuts its batches; the order of documents means nothing.
        yield sorted(block, key=lambda document: len(document.text))
