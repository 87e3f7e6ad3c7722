"""From a score matrix to measures per query, through ``ir_measures``.

trec_eval keeps scores as 32-bit floats and orders equal ones by document id, so a document's name could
win or lose a query. Here the order is settled before trec_eval sees it: documents are sorted by their
exact scores, ties are broken against the relevant document, and trec_eval is given the ranks as scores. Queries whose
relevant documents have the same ranks have the same values, so trec_eval sees each such case once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kivuko.datasets.collections import Judgments, open_collection
from kivuko.errors import DataError, UsageError, at
from kivuko.evaluation.measures import (
    MEASURES,
    Qrels,
    RankPattern,
    evaluate_rankings,
    parse_measures,
    relevance_matrix,
    relevant_of,
    values_of_ranks,
)
from kivuko.files import atomic_path
from kivuko.streams import text_lines

Run = dict[str, dict[str, float]]
"""Query id to document id to score: the dictionary form that ``ir_measures`` accepts as a run."""

PROTOCOL = {
    "ties": "pessimistic: among equal scores every relevant document ranks below every other document; "
    "scores are equal when they are the same number in the precision they were computed in",
    "ranking": "the whole gallery, no cut",
    "R@k": "recall: relevant documents among the first k, divided by the relevant documents of the query",
    "measured by": "ir_measures, pytrec_eval provider",
}
"""What a record's header says about how the measures were taken."""

_CHUNK_CELLS = 500_000  # of the relevance matrix made at once


def rank(scores: ArrayLike, query_ids: Sequence[str], document_ids: Sequence[str], depth: int | None = None) -> Run:
    """Turn a score matrix into a run, best document first.

    Ties are not decided here, since that needs the qrels: equal scores stay equal in the run, in the
    gallery's order, and a tie that straddles the cut is kept whole. ``evaluate_run`` decides them.

    Args:
        scores: [queries, documents], higher is better; infinities are allowed.
        query_ids: one id per row, unique.
        document_ids: one id per column, unique.
        depth: documents kept per query (more where a tie straddles the cut); None keeps all.

    Raises:
        DataError: shapes that do not fit, no query, no document, an id twice, or a NaN score.
        UsageError: ``depth`` below 1.
    """
    matrix = _checked(scores, query_ids, document_ids)
    if depth is not None and depth < 1:
        raise UsageError(f"depth is {depth}; it must be at least 1")
    names = np.array(document_ids, dtype=object)
    run: Run = {}
    for query, row in zip(query_ids, matrix, strict=True):
        order = np.argsort(-row, kind="stable")
        if depth is not None and depth < len(order):
            order = order[row[order] >= row[order[depth - 1]]]
        run[query] = dict(zip(names[order].tolist(), row[order].tolist(), strict=True))
    return run


def per_query(
    scores: ArrayLike,
    query_ids: Sequence[str],
    document_ids: Sequence[str],
    qrels: Qrels,
    measures: Sequence[str] = MEASURES,
) -> dict[str, NDArray[np.float64]]:
    """Measure each query over the full ranking of the gallery.

    Ties are broken against the relevant documents (see ``PROTOCOL``), so each value is the lower bound
    over all ways to order them. A model that gives all n documents the same score has R@1 = 0 and, with
    one relevant document, RR = 1 / n, whatever the documents are called and in whatever order they come.
    (McSherry & Najork, ECIR 2008, average over the orders instead; then a model that tells nothing apart
    still collects expected hits.)

    Args:
        scores: [queries, documents], higher is better; infinities are allowed.
        query_ids: one id per row, unique.
        document_ids: one id per column, unique.
        qrels: query id to the ids of its relevant documents; each query needs one in the gallery.
        measures: names, see ``parse_measures``.

    Returns:
        Measure name to float64 [queries], in the order of ``query_ids``; values in [0, 1].

    Raises:
        DataError: shapes that do not fit, no query, no document, an id twice, a NaN score, or a query
            with no relevant document in the gallery.
        UsageError: a measure that is not known.
    """
    parsed = parse_measures(measures)
    matrix = _checked(scores, query_ids, document_ids)
    columns = {document: column for column, document in enumerate(document_ids)}
    chunk = max(1, _CHUNK_CELLS // len(columns))
    patterns = []
    for start in range(0, len(query_ids), chunk):
        queries = query_ids[start : start + chunk]
        relevant = relevance_matrix(queries, columns, qrels)  # [chunk, documents]
        patterns += [
            RankPattern(_relevant_ranks(scores, own).tobytes(), len(set(qrels[query])), len(columns))
            for query, scores, own in zip(queries, matrix[start : start + chunk], relevant, strict=True)
        ]
    values = values_of_ranks(tuple(parsed.values()), patterns)  # [queries, measures]
    return {name: values[:, column].copy() for column, name in enumerate(parsed)}


def _relevant_ranks(scores: NDArray[np.floating], relevant: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the ranks of a query's relevant documents, from 1, rising: int64 [relevant].

    The i-th best of them stands after i - 1 relevant documents and after every other one that scores as high or higher.
    """
    own = np.sort(scores[relevant])  # rising
    places = np.arange(len(own), 0, -1)
    as_high = np.array([np.count_nonzero(scores >= score) for score in own], dtype=np.int64)
    own_as_high = len(own) - np.searchsorted(own, own, side="left")
    ranks: NDArray[np.int64] = (places + as_high - own_as_high)[::-1].copy()
    return ranks


def evaluate_run(
    run: Mapping[str, Mapping[str, float]],
    qrels: Qrels,
    query_ids: Sequence[str] | None = None,
    measures: Sequence[str] = MEASURES,
) -> dict[str, NDArray[np.float64]]:
    """Measure a run, possibly cut at some depth, with the same tie handling as ``per_query``.

    A query missing from the run, and a relevant document missing from a ranking, count as not found:
    they score the measure's default, zero, and stay in the mean.

    Args:
        run: query id to document id to score, higher is better.
        qrels: query id to the ids of its relevant documents.
        query_ids: the queries to measure and their order; None takes every query of ``qrels``.
        measures: names, see ``parse_measures``.

    Returns:
        Measure name to float64 [queries], in the order of ``query_ids``.

    Raises:
        DataError: no query, a query twice, a NaN score, or a query without relevant documents.
        UsageError: a measure that is not known.
    """
    parsed = parse_measures(measures)
    queries = list(qrels) if query_ids is None else list(query_ids)
    _check_ids(queries, "query")
    ranked = {query: _ranked(query, run.get(query, {}), relevant_of(query, qrels)) for query in queries}
    return evaluate_rankings(ranked, queries, qrels, parsed)


def _ranked(query: str, scored: Mapping[str, float], relevant: Any) -> list[str]:
    for document, score in scored.items():
        if score != score:
            raise DataError(f"the score of query {query!r} against document {document!r} is NaN; check the run")
    relevant = set(relevant)
    return sorted(scored, key=lambda document: (-scored[document], document in relevant))


def _checked(scores: ArrayLike, query_ids: Sequence[str], document_ids: Sequence[str]) -> NDArray[np.floating]:
    """Return the scores as a float matrix that fits its ids and holds no NaN."""
    matrix = np.asarray(scores)
    if matrix.dtype.kind != "f":
        matrix = matrix.astype(np.float64)
    _check_ids(query_ids, "query")
    _check_ids(document_ids, "document")
    if matrix.shape != (len(query_ids), len(document_ids)):
        raise DataError(
            f"scores have shape {list(matrix.shape)}, but there are {len(query_ids)} queries and "
            f"{len(document_ids)} documents; give one row per query and one column per document"
        )
    wrong = np.isnan(matrix)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise DataError(
            f"the score of query {query_ids[row]!r} against document {document_ids[column]!r} is NaN "
            f"({int(wrong.sum())} such scores); the encoder gave NaN: check its weights and its input"
        )
    return matrix


def _check_ids(ids: Sequence[str], noun: str) -> None:
    if not ids:
        raise DataError(f"there is no {noun} to measure; give at least one")
    if len(set(ids)) < len(ids):
        seen: set[str] = set()
        twice = next(name for name in ids if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise DataError(f"{noun} id {twice!r} occurs twice; ids must be unique")


def trec_order(scored: Mapping[str, float]) -> list[str]:
    """Return the documents of one query in the order in which trec_eval reads them.

    By score, as a 32-bit float, falling; equal scores by document id, falling. The ranks that stand in a run's file
    count for nothing.
    """
    with np.errstate(over="ignore"):
        single = np.fromiter(scored.values(), np.float64, len(scored)).astype(np.float32)
    scores = dict(zip(scored, single.tolist(), strict=True))
    # Code points sort as their UTF-8 bytes do, which is what trec_eval compares.
    return sorted(sorted(scored, reverse=True), key=lambda document: -scores[document])


def read_run(path: Path) -> Run:
    """Read a run: ``query Q0 document rank score tag`` in columns of white space.

    Returns:
        Query id to document id to score, in the order of the file.

    Raises:
        DataError: the file cannot be read or is empty, a line has other columns, a score is no number, or a document
            stands twice under one query; the message names ``path:line``.
    """
    run: Run = {}
    for number, line in text_lines(path):
        cells = line.split()
        if not cells:
            continue
        if len(cells) != 6:
            raise DataError(
                f"{at(path, number)}: {len(cells)} columns, but a run has 6: query Q0 document rank score tag"
            )
        query, document = cells[0], cells[2]
        try:
            score = float(cells[4])
        except ValueError:
            score = math.nan
        if math.isnan(score) or "_" in cells[4]:  # Python's own way of writing 10 as 1_0
            raise DataError(f"{at(path, number)}: score {cells[4][:40]!r} is no number")
        if document in run.setdefault(query, {}):
            raise DataError(f"{at(path, number)}: document {document[:60]} stands twice under query {query[:60]}")
        run[query][document] = score
    if not run:
        raise DataError(f"{path}: no line in it; a run has lines of: query Q0 document rank score tag")
    return run


def write_run(
    path: Path, run: Mapping[str, Mapping[str, float]], tag: str, queries: Sequence[str] | None = None
) -> None:
    """Write a run, best document first, in trec_eval's own order, whole or not at all. Scores read back exactly.

    Args:
        tag: the run's name, the last column; white space in it becomes ``-``.
        queries: which, and their order; None takes all of the run.

    Raises:
        UsageError: an id is empty or holds white space, which the columns cannot carry.
        KivukoError: the disk is full or the place cannot be written.
    """
    named = "-".join(tag.split()) or "run"
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as stream:
        for query in run if queries is None else queries:
            scored = run.get(query, {})
            for name in (query, *scored):
                if len(name.split()) != 1:
                    raise UsageError(f"id {name[:40]!r} is empty or holds white space; a run's columns cannot carry it")
            for rank, document in enumerate(trec_order(scored), start=1):
                stream.write(f"{query} Q0 {document} {rank} {float(scored[document])!r} {named}\n")


# Measures of a run with graded judgments, under either rule for equal scores.
#
# Kivuko settles the order itself and hands trec_eval ranks, so both rules go the same way; under ``trec_eval`` the
# values are those that trec_eval gives for the run as it is (held against it in the tests).

Ties = Literal["trec_eval", "pessimistic"]

TIES: dict[Ties, str] = {
    "trec_eval": "equal scores, as 32-bit floats, are ordered by document id, falling, as trec_eval and ir_measures do",
    "pessimistic": "among equal scores, documents of lower grade stand first: the lower bound over all orders",
}
"""What each rule does, for headers and tables."""


def measure_run(
    run: Mapping[str, Mapping[str, float]],
    judgments: Judgments,
    query_ids: Sequence[str] | None = None,
    measures: Sequence[str] = MEASURES,
    ties: Ties = "trec_eval",
) -> dict[str, NDArray[np.float64]]:
    """Measure each query of a run.

    Grades above 0 are relevant; nDCG takes the grade as the gain, as trec_eval does. A query that is missing from the
    run scores zero and stays in the mean, as under ``trec_eval -c`` and in ``ir_measures``; so does one whose judged
    documents are all irrelevant, unless ``query_ids`` leaves it out (see ``answerable``).

    Args:
        run: query id to document id to score, higher is better; perhaps cut at some depth.
        judgments: query id to document id to grade.
        query_ids: the queries to measure and their order; None takes every judged one.
        measures: names, see ``parse_measures``.
        ties: the rule for equal scores, see ``TIES``.

    Returns:
        Measure name to float64 [queries], in the order of ``query_ids``.

    Raises:
        DataError: no query, one that nobody judged, or a NaN score.
        UsageError: a measure that is not known.
    """
    import ir_measures

    parsed = parse_measures(measures)
    queries = list(judgments) if query_ids is None else list(query_ids)
    if not queries:
        raise DataError("there is no query to measure; give at least one")
    for query in queries:
        if query not in judgments:
            raise DataError(f"query {query!r} has no judgment; leave it out or judge it")
        for document, score in run.get(query, {}).items():
            if score != score:
                raise DataError(f"the score of query {query!r} against document {document!r} is NaN; check the run")
    ranked = {query: _ordered(run.get(query, {}), judgments[query], ties) for query in queries}
    # Ranks are whole numbers, exact in trec_eval's 32-bit scores up to 16 million documents.
    as_ranks = {
        query: {document: float(-place) for place, document in enumerate(documents)}
        for query, documents in ranked.items()
        if documents
    }
    values = {name: np.zeros(len(queries)) for name in parsed}
    if as_ranks:
        rows = {query: row for row, query in enumerate(queries)}
        names = {measure: name for name, measure in parsed.items()}
        judged = {query: dict(judgments[query]) for query in queries}
        evaluator = ir_measures.pytrec_eval.evaluator(list(parsed.values()), judged)
        for metric in evaluator.iter_calc(as_ranks):
            values[names[metric.measure]][rows[metric.query_id]] = metric.value
    return values


@dataclass(frozen=True)
class RunMeasures:
    """The mean measures of a run file on a collection.

    Attributes:
        queries: how many are measured: those with a relevant document.
        values: rule for equal scores, see ``TIES``, to measure to mean.
        missing, not_judged, unanswerable: how many queries are measured but not in the run; in the run but not judged;
            judged but without a relevant document.
    """

    queries: int
    values: dict[Ties, dict[str, float]]
    missing: int
    not_judged: int
    unanswerable: int


def measure_run_file(run: Path, collection: str, measures: Sequence[str] = ()) -> RunMeasures:
    """Measure a TREC run file on the judgments of a collection, ``ir:ID`` or ``trec:FOLDER``.

    Args:
        measures: names such as ``nDCG@10``; none: those of evaluations of collections.

    Raises:
        DataError: a file cannot be read, or no query has a relevant document.
        UsageError: no such measure or collection.
    """
    from kivuko.evaluation.collection import COLLECTION_MEASURES

    judgments, scores = open_collection(collection).judgments(), read_run(run)
    queries = answerable(judgments)
    if not queries:
        raise DataError(
            f"{collection}: no query has a relevant document in the qrels, a grade above 0; nothing to measure."
        )
    names = measures or COLLECTION_MEASURES
    values = {
        ties: {name: float(own.mean()) for name, own in measure_run(scores, judgments, queries, names, ties).items()}
        for ties in TIES
    }
    missing = sum(query not in scores for query in queries)
    return RunMeasures(len(queries), values, missing, len(set(scores) - set(judgments)), len(judgments) - len(queries))


def answerable(judgments: Judgments) -> list[str]:
    """Return the queries that have a relevant document: of the others, no measure says anything."""
    return [query for query, grades in judgments.items() if any(grade > 0 for grade in grades.values())]


def _ordered(scored: Mapping[str, float], grades: Mapping[str, int], ties: Ties) -> list[str]:
    if ties == "trec_eval":
        return trec_order(scored)
    return sorted(scored, key=lambda document: (-scored[document], grades.get(document, 0)))
