"""Measures of a run with graded judgements, under either rule for equal scores.

Kivuko settles the order itself and hands trec_eval ranks, so both rules go the same way; under ``trec_eval`` the values
are those that trec_eval gives for the run as it is (held against it in the tests).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kivuko.datasets.collections import Judgements
from kivuko.errors import DataError
from kivuko.evaluation.measures import MEASURES, parse_measures
from kivuko.evaluation.trec_run import trec_order

Ties = Literal["trec_eval", "pessimistic"]

TIES: dict[Ties, str] = {
    "trec_eval": "equal scores, as 32-bit floats, are ordered by document id, falling, as trec_eval and ir_measures do",
    "pessimistic": "among equal scores, documents of lower grade stand first: the lower bound over all orders",
}
"""What each rule does, for headers and tables."""


def measure_run(
    run: Mapping[str, Mapping[str, float]],
    judgements: Judgements,
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
        judgements: query id to document id to grade.
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
    queries = list(judgements) if query_ids is None else list(query_ids)
    if not queries:
        raise DataError("there is no query to measure; give at least one")
    for query in queries:
        if query not in judgements:
            raise DataError(f"query {query!r} has no judgement; leave it out or judge it")
        for document, score in run.get(query, {}).items():
            if score != score:
                raise DataError(f"the score of query {query!r} against document {document!r} is NaN; check the run")
    ranked = {query: _ordered(run.get(query, {}), judgements[query], ties) for query in queries}
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
        judged = {query: dict(judgements[query]) for query in queries}
        evaluator = ir_measures.pytrec_eval.evaluator(list(parsed.values()), judged)
        for metric in evaluator.iter_calc(as_ranks):
            values[names[metric.measure]][rows[metric.query_id]] = metric.value
    return values


def answerable(judgements: Judgements) -> list[str]:
    """Return the queries that have a relevant document: of the others, no measure says anything."""
    return [query for query, grades in judgements.items() if any(grade > 0 for grade in grades.values())]


def _ordered(scored: Mapping[str, float], grades: Mapping[str, int], ties: Ties) -> list[str]:
    if ties == "trec_eval":
        return trec_order(scored)
    return sorted(scored, key=lambda document: (-scored[document], grades.get(document, 0)))
