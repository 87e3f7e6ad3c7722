"""The measures, by name: a thin table over ``ir_measures``, which computes all of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kivuko.errors import DataError, UsageError

MEASURES = ("R@1", "R@5", "R@10", "MAP", "MRR", "nDCG@10")
"""What is reported unless another list is asked for. All lie in [0, 1]; higher is better."""

MOST = 1_000_000
"""The largest cutoff; trec_eval ends the whole process on some numbers out of range, and grades are far below it."""

# The field writes MAP and MRR for the means; ir_measures names the value of one query, AP and RR.
_FIELD_NAMES = {"MAP": "AP", "MRR": "RR"}


def parse_measures(names: Sequence[str]) -> dict[str, Any]:
    """Turn names into ``ir_measures`` measures, keeping the order and the names given.

    ``MAP`` is the mean of AP over the full ranking, ``MRR`` the mean of RR. Any other name is
    ``ir_measures``' own (``nDCG@10``, ``P@5``, ``Success@1``). ``R@k`` is recall, the share of a query's
    relevant documents among the first k; where queries have several relevant documents, "at least one
    among the first k", which some image-text papers also write R@k, is ``Success@k``.

    Raises:
        UsageError: no name, a name twice, one that ``ir_measures`` or its pytrec_eval provider lacks, or a cutoff or a
            level of relevance (``P(rel=2)@5``) that is not 1 to ``MOST``.
    """
    import ir_measures

    if not names:
        raise UsageError(f"no measure named; name at least one, such as {', '.join(MEASURES)}")
    measures: dict[str, Any] = {}
    for name in names:
        try:
            measure = ir_measures.parse_measure(_FIELD_NAMES.get(name, name))
            supported = ir_measures.pytrec_eval.supports(measure)
        except (NameError, ValueError, AssertionError) as problem:  # the last where a cutoff is missing or 1.5
            raise UsageError(f"measure {name!r} is unknown; known are {', '.join(MEASURES)}") from problem
        for key, what in (("cutoff", "cutoff"), ("rel", "level of relevance")):
            value = measure.params.get(key, 1)
            if type(value) is not int or not 1 <= value <= MOST:
                raise UsageError(f"measure {name!r}: {what} {value}; give a whole number from 1 to {MOST:,}")
        if not supported:
            raise UsageError(f"measure {name!r} is not computed by pytrec_eval; use {', '.join(MEASURES)}")
        if measure in measures.values():
            raise UsageError(f"measure {name!r} is named twice; name it once")
        measures[name] = measure
    return measures


Qrels = Mapping[str, Collection[str]]
"""Query id to the ids of its relevant documents: binary relevance, one or more per query."""


def relevant_of(query: str, qrels: Qrels) -> Collection[str]:
    """Return the relevant documents of a query; DataError if it has none."""
    relevant = qrels.get(query, ())
    if isinstance(relevant, str):
        raise DataError(f"query {query!r}: its relevant documents are one string; give a set of document ids")
    if not relevant:
        raise DataError(f"query {query!r} has no relevant document in the qrels; add one or drop the query")
    return relevant


def relevance_matrix(
    query_ids: Sequence[str], columns: Mapping[str, int], qrels: Qrels
) -> NDArray[np.bool_]:  # [queries, documents]
    """Mark the relevant documents of each query among the gallery's columns.

    A relevant document outside the gallery counts as never found (recall and AP divide by all relevant
    documents), but a query with none inside could only score zero: it is an error, not a zero.

    Args:
        query_ids: the rows.
        columns: document id to its column, covering 0 .. documents - 1.
        qrels: the judgments; queries beyond ``query_ids`` are ignored.

    Returns:
        bool [queries, documents], at least one True per row.

    Raises:
        DataError: a query has no relevant document in the gallery.
    """
    matrix = np.zeros((len(query_ids), len(columns)), dtype=np.bool_)
    for row, query in enumerate(query_ids):
        inside = [columns[document] for document in relevant_of(query, qrels) if document in columns]
        if not inside:
            raise DataError(
                f"query {query!r}: none of its relevant documents is in the gallery of {len(columns)}; "
                "add them to the gallery or drop the query"
            )
        matrix[row, inside] = True
    return matrix


# Of these, nothing that is ranked below the last relevant document changes a value, so it need not be listed.
_OF_RELEVANT_RANKS = frozenset({"AP", "P", "R", "RR", "Success", "nDCG"})
_MOST_KNOWN = 10_000  # patterns whose values are remembered
_CHUNK_CELLS = 500_000  # a run of this many entries takes about 30 MB as dictionaries


class RankPattern(NamedTuple):
    """Where a query's relevant documents stand: all that a measure of binary relevance depends on.

    ``ranks``: int64, from 1, rising, as bytes, of the relevant documents in the ranking. ``relevant``: how many there
    are, those outside the ranking included. ``documents``: the length of the ranking.
    """

    ranks: bytes
    relevant: int
    documents: int


_known: dict[tuple[tuple[Any, ...], RankPattern], tuple[float, ...]] = {}


def values_of_ranks(measures: tuple[Any, ...], patterns: Sequence[RankPattern]) -> NDArray[np.float64]:
    """Measure queries by their patterns, each distinct pattern once; those of earlier calls are remembered.

    Args:
        measures: of ``ir_measures``, see :func:`kivuko.evaluation.measures.parse_measures`.

    Returns:
        [patterns, measures].
    """
    if all(str(measure.NAME) in _OF_RELEVANT_RANKS for measure in measures):
        patterns = [pattern._replace(documents=_last(pattern)) for pattern in patterns]
    found: dict[RankPattern, tuple[float, ...]] = {}
    new = []
    for pattern in dict.fromkeys(patterns):
        if (values := _known.get((measures, pattern))) is None:
            new.append(pattern)
        else:
            found[pattern] = values
    size = max(1, _CHUNK_CELLS // max((pattern.documents for pattern in new), default=1))
    for start in range(0, len(new), size):
        part = new[start : start + size]
        found |= zip(part, _measured(measures, part), strict=True)
    if len(_known) + len(new) > _MOST_KNOWN:
        _known.clear()
    _known.update(((measures, pattern), found[pattern]) for pattern in new[:_MOST_KNOWN])
    return np.array([found[pattern] for pattern in patterns], dtype=np.float64)


def _last(pattern: RankPattern) -> int:
    ranks = np.frombuffer(pattern.ranks, dtype=np.int64)
    return int(ranks[-1]) if len(ranks) else 0


def _measured(measures: tuple[Any, ...], patterns: Sequence[RankPattern]) -> list[tuple[float, ...]]:
    """Measure a made-up query for each pattern."""
    others = [f"other {rank}" for rank in range(max(pattern.documents for pattern in patterns))]
    ranked, judged = {}, {}
    for number, pattern in enumerate(patterns):
        relevant = [f"relevant {place}" for place in range(pattern.relevant)]
        ranking = others[: pattern.documents]
        for rank, document in zip(np.frombuffer(pattern.ranks, dtype=np.int64).tolist(), relevant, strict=False):
            ranking[rank - 1] = document
        ranked[str(number)], judged[str(number)] = ranking, relevant
    named = {str(column): measure for column, measure in enumerate(measures)}
    found = evaluate_rankings(ranked, list(ranked), judged, named)
    return list(zip(*(found[column].tolist() for column in named), strict=True))


def evaluate_rankings(
    ranked: Mapping[str, Sequence[str]], query_ids: Sequence[str], qrels: Qrels, measures: Mapping[str, Any]
) -> dict[str, NDArray[np.float64]]:
    """Measure rankings, query id to document ids, best first: name to float64 [queries].

    A query whose ranking is empty scores the measure's default, zero.
    """
    import ir_measures

    # Ranks are whole numbers, exact in trec_eval's 32-bit scores up to 16 million documents.
    falling = [float(-position) for position in range(max(map(len, ranked.values())))]
    run = {query: dict(zip(documents, falling, strict=False)) for query, documents in ranked.items()}
    judged = {query: dict.fromkeys(qrels[query], 1) for query in query_ids}
    rows = {query: row for row, query in enumerate(query_ids)}
    names = {measure: name for name, measure in measures.items()}
    values = {name: np.zeros(len(rows)) for name in measures}
    evaluator = ir_measures.pytrec_eval.evaluator(list(measures.values()), judged)
    for metric in evaluator.iter_calc(run):
        values[names[metric.measure]][rows[metric.query_id]] = metric.value
    return values
