"""Measures of rankings that hold no ties, through ``ir_measures``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kivuko.evaluation.qrels import Qrels

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
