"""Measures, query by query, from scores, from a run, or from a TREC run file; ``ir_measures`` computes all of them.

trec_eval orders equal 32-bit scores by document id, so a document's name could win or lose a query. Here the order is
settled first, under one of two rules (``TIES``), and trec_eval gets ranks as scores, once for each pattern of ranks.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kivuko.datasets.collections.collection import Judgments
from kivuko.datasets.collections.trec_folder import WHITE_SPACE, trec_columns
from kivuko.datasets.spec import open_collection
from kivuko.errors import DataError, UsageError, at
from kivuko.files import atomic_path
from kivuko.ranks import relevant_ranks
from kivuko.streams import text_lines

# The default measures. All are in [0, 1]; higher is better.
MEASURES = ("R@1", "R@5", "R@10", "MAP", "MRR", "nDCG@10")
RUN_MEASURES = (*MEASURES, "R@100")  # of text collections
# Of attacks; see kivuko.evaluation.robustness, and the legend of their tables.
RATIO, ACCURACY_DROP, SUCCESS_OF_CORRECT = "robustness ratio", "accuracy_drop", "success_of_correct"
CODE_POINTS = "code points changed"  # of a query by an attack, as an edit distance
CALLS, TARGET_FIRST, AREA, GAP = "calls", "target_first", "area of MAP", "robustness gap"

# The largest cutoff: trec_eval ends the whole process on some numbers out of range, and grades are far below it.
MOST = 1_000_000

# The field writes MAP and MRR for the means; ir_measures names the value of one query, AP and RR.
_FIELD_NAMES = {"MAP": "AP", "MRR": "RR"}


def parse_measures(names: Sequence[str]) -> dict[str, Any]:
    """Turn names into ``ir_measures`` measures, in the same order and by the same names; UsageError for an unknown one.

    ``MAP`` is the mean of AP over the full ranking, ``MRR`` the mean of RR. ``R@k`` is recall; "at least one relevant
    among the first k", which some image-text papers also write R@k, is ``Success@k``.
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
        recall = measure.params.get("recall", 0)
        if not 0 <= recall <= 1 or round(recall, 2) != recall:  # to trec_eval, levels that round alike are one
            raise UsageError(f"measure {name!r}: recall {recall}; give a level from 0 to 1 in steps of 0.01")
        if not supported:
            raise UsageError(f"measure {name!r} is not computed by pytrec_eval; use {', '.join(MEASURES)}")
        if measure in measures.values():
            raise UsageError(f"measure {name!r} is named twice; name it once")
        measures[name] = measure
    return measures


Qrels = Mapping[str, Collection[str]]  # query id to the ids of its relevant documents: binary relevance
Run = dict[str, dict[str, float]]  # query id to document id to score
Ties = Literal["trec_eval", "pessimistic"]

# The rules for equal scores, for headers and tables.
TIES: dict[Ties, str] = {
    "trec_eval": "equal scores, as 32-bit floats, are ordered by document id, falling, as trec_eval and ir_measures do",
    "pessimistic": "among equal scores, as 32-bit floats, documents of lower grade come first: the lower bound over "
    "all orders",
}

_CHUNK_CELLS = 500_000  # of a relevance matrix, and of a run as dictionaries (about 30 MB)

# How measures are taken, for the header of records.
PROTOCOL = {
    "ties": "pessimistic: among equal scores every relevant document ranks below every other document; "
    "scores are equal when they are the same as 32-bit floats",
    "ranking": "the whole gallery, no cut",
    "R@k": "recall: relevant documents among the first k, divided by the relevant documents of the query",
    "measured by": "ir_measures, pytrec_eval provider",
}


def per_query(
    scores: ArrayLike,
    query_ids: Sequence[str],
    document_ids: Sequence[str],
    qrels: Qrels,
    measures: Sequence[str] = MEASURES,
) -> dict[str, NDArray[np.float64]]:
    """Measure each query over the full ranking of the gallery: measure name to float64 [queries].

    ``scores``: [queries, documents], higher is better. Ties are broken against the relevant documents, so each value is
    the lower bound over all ways to order them: a model that gives all n documents the same score has R@1 = 0 and RR =
    1 / n. DataError for shapes that do not fit, an id twice, NaN, or a query with no relevant document in the gallery.
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
            RankPattern(relevant_ranks(scores, own).tobytes(), len(set(qrels[query])), len(columns))
            for query, scores, own in zip(queries, matrix[start : start + chunk], relevant, strict=True)
        ]
    values = values_of_ranks(tuple(parsed.values()), patterns)  # [queries, measures]
    return {name: values[:, column].copy() for column, name in enumerate(parsed)}


def measure_run(
    run: Mapping[str, Mapping[str, float]],
    judgments: Judgments,
    query_ids: Sequence[str] | None = None,
    measures: Sequence[str] = MEASURES,
    ties: Ties = "trec_eval",
) -> dict[str, NDArray[np.float64]]:
    """Measure each query of a run: measure name to float64 [queries].

    Grades above 0 are relevant; nDCG takes the grade as the gain. A query that is missing from the run scores zero and
    stays in the mean, as under ``trec_eval -c``; so does one whose judged documents are all irrelevant, unless
    ``query_ids`` leaves it out (see ``answerable``).
    """
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
    return measure_rankings(ranked, judgments, parsed)


def _checked(scores: ArrayLike, query_ids: Sequence[str], document_ids: Sequence[str]) -> NDArray[np.floating]:
    """Return the scores as 32-bit floats, as trec_eval compares them, in a matrix that fits its ids, without NaN."""
    with np.errstate(over="ignore"):
        matrix = np.asarray(scores).astype(np.float32, copy=False)
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


def relevance_matrix(
    query_ids: Sequence[str], columns: Mapping[str, int], qrels: Qrels
) -> NDArray[np.bool_]:  # [queries, documents]
    """Mark the relevant documents of each query among the gallery's ``columns``: bool [queries, documents].

    A relevant document outside the gallery counts as never retrieved, but a query with none inside could only score
    zero: it is an error, not a zero.
    """
    matrix = np.zeros((len(query_ids), len(columns)), dtype=np.bool_)
    for row, query in enumerate(query_ids):
        relevant = qrels.get(query, ())
        if isinstance(relevant, str):
            raise DataError(f"query {query!r}: its relevant documents are one string; give a set of document ids")
        if not relevant:
            raise DataError(f"query {query!r} has no relevant document in the qrels; add one or drop the query")
        inside = [columns[document] for document in relevant if document in columns]
        if not inside:
            raise DataError(
                f"query {query!r}: none of its relevant documents is in the gallery of {len(columns)}; "
                "add them to the gallery or drop the query"
            )
        matrix[row, inside] = True
    return matrix


# Of these, nothing that is ranked below the last relevant document changes a value, so it need not be listed.
_OF_RELEVANT_RANKS = frozenset({"AP", "P", "R", "RR", "Success", "nDCG"})
_MOST_KNOWN = 10_000  # patterns whose values are cached


class RankPattern(NamedTuple):
    """The ranks of a query's relevant documents: all that a measure of binary relevance depends on."""

    ranks: bytes  # of the relevant documents in the ranking: int64, from 1, rising
    relevant: int  # how many there are, those outside the ranking included
    documents: int  # length of the ranking


_known: dict[tuple[tuple[Any, ...], RankPattern], tuple[float, ...]] = {}


def values_of_ranks(measures: tuple[Any, ...], patterns: Sequence[RankPattern]) -> NDArray[np.float64]:
    """Measure queries by their patterns, each distinct one once, with a cache: [patterns, measures]."""
    if all(str(measure.NAME) in _OF_RELEVANT_RANKS for measure in measures):
        patterns = [pattern._replace(documents=_last(pattern)) for pattern in patterns]
    values_of: dict[RankPattern, tuple[float, ...]] = {}
    new = []
    for pattern in dict.fromkeys(patterns):
        if (values := _known.get((measures, pattern))) is None:
            new.append(pattern)
        else:
            values_of[pattern] = values
    size = max(1, _CHUNK_CELLS // max((pattern.documents for pattern in new), default=1))
    for start in range(0, len(new), size):
        part = new[start : start + size]
        values_of |= zip(part, _measured(measures, part), strict=True)
    if len(_known) + len(new) > _MOST_KNOWN:
        _known.clear()
    _known.update(((measures, pattern), values_of[pattern]) for pattern in new[:_MOST_KNOWN])
    return np.array([values_of[pattern] for pattern in patterns], dtype=np.float64)


def values_at(ranks: NDArray[np.int64], documents: int) -> dict[str, NDArray[np.float64]]:
    """Return the default measures of queries with one right answer at the given ranks [n] of so many documents."""
    patterns = [RankPattern(ranks[n : n + 1].tobytes(), 1, documents) for n in range(len(ranks))]
    values = values_of_ranks(tuple(parse_measures(MEASURES).values()), patterns)
    return {name: values[:, column].copy() for column, name in enumerate(MEASURES)}


def _last(pattern: RankPattern) -> int:
    ranks = np.frombuffer(pattern.ranks, dtype=np.int64)
    return int(ranks[-1]) if len(ranks) else 0


def _measured(measures: tuple[Any, ...], patterns: Sequence[RankPattern]) -> list[tuple[float, ...]]:
    """Measure a synthetic query for each pattern."""
    others = [f"other {rank}" for rank in range(max(pattern.documents for pattern in patterns))]
    ranked, judged = {}, {}
    for number, pattern in enumerate(patterns):
        relevant = [f"relevant {place}" for place in range(pattern.relevant)]
        ranking = others[: pattern.documents]
        for rank, document in zip(np.frombuffer(pattern.ranks, dtype=np.int64).tolist(), relevant, strict=False):
            ranking[rank - 1] = document
        ranked[str(number)], judged[str(number)] = ranking, dict.fromkeys(relevant, 1)
    named = {str(column): measure for column, measure in enumerate(measures)}
    values = measure_rankings(ranked, judged, named)
    return list(zip(*(values[column].tolist() for column in named), strict=True))


def measure_rankings(
    ranked: Mapping[str, Sequence[str]], judgments: Judgments, measures: Mapping[str, Any]
) -> dict[str, NDArray[np.float64]]:
    """Measure rankings, query id to document ids, best first: name to float64 [queries], in the order of ``ranked``.

    A query whose ranking is empty scores zero.
    """
    import ir_measures

    # Ranks are whole numbers, exact in trec_eval's 32-bit scores up to 16 million documents.
    falling = [float(-position) for position in range(max(map(len, ranked.values())))]
    run = {query: dict(zip(documents, falling, strict=False)) for query, documents in ranked.items() if documents}
    values = {name: np.zeros(len(ranked)) for name in measures}
    if run:
        rows = {query: row for row, query in enumerate(ranked)}
        names = {measure: name for name, measure in measures.items()}
        judged = {query: dict(judgments[query]) for query in ranked}
        for metric in ir_measures.pytrec_eval.evaluator(list(measures.values()), judged).iter_calc(run):
            values[names[metric.measure]][rows[metric.query_id]] = metric.value
    return values


def answerable(judgments: Judgments) -> list[str]:
    """Return the queries that have a relevant document: no measure is defined for the others."""
    return [query for query, grades in judgments.items() if any(grade > 0 for grade in grades.values())]


def _ordered(scored: Mapping[str, float], grades: Mapping[str, int], ties: Ties) -> list[str]:
    if ties == "trec_eval":
        return trec_order(scored)
    scores = _single(scored)
    return sorted(scored, key=lambda document: (-scores[document], grades.get(document, 0)))


def trec_order(scored: Mapping[str, float]) -> list[str]:
    """Return one query's documents as trec_eval orders them: by score, as a 32-bit float, then by id, both falling."""
    scores = _single(scored)
    # Code points sort as their UTF-8 bytes do, which is what trec_eval compares.
    return sorted(sorted(scored, reverse=True), key=lambda document: -scores[document])


def _single(scored: Mapping[str, float]) -> dict[str, float]:
    """Return one query's scores as 32-bit floats."""
    with np.errstate(over="ignore"):
        single = np.fromiter(scored.values(), np.float64, len(scored)).astype(np.float32)
    return dict(zip(scored, single.tolist(), strict=True))


def read_run(path: Path) -> Run:
    """Read a run, lines of ``query Q0 document rank score tag``; a DataError names ``path:line``."""
    run: Run = {}
    for number, line in text_lines(path):
        cells = trec_columns(line)
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
            raise DataError(f"{at(path, number)}: document {document[:60]} occurs twice under query {query[:60]}")
        run[query][document] = score
    if not run:
        raise DataError(f"{path}: no line in it; a run has lines of: query Q0 document rank score tag")
    return run


def write_run(
    path: Path, run: Mapping[str, Mapping[str, float]], tag: str, queries: Sequence[str] | None = None
) -> None:
    """Write a run, best document first, in trec_eval's own order, whole or not at all. Scores read back exactly.

    ``queries``: which, and their order; None: all. UsageError for an id that is empty or holds white space.
    """
    named = "-".join(tag.split()) or "run"
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as stream:
        for query in run if queries is None else queries:
            scored = run.get(query, {})
            for name in (query, *scored):
                if not name or WHITE_SPACE.search(name):
                    raise UsageError(f"id {name[:40]!r} is empty or holds white space; a run's columns cannot carry it")
            if query.startswith("#"):
                raise UsageError(
                    f"id {query[:40]!r} begins with #, which makes a run's line a comment; rename the query"
                )
            for rank, document in enumerate(trec_order(scored), start=1):
                stream.write(f"{query} Q0 {document} {rank} {float(scored[document])!r} {named}\n")


@dataclass(frozen=True)
class RunMeasures:
    """The mean measures of a run file on a collection."""

    queries: int  # measured: those with a relevant document
    values: dict[Ties, dict[str, float]]  # rule for equal scores to measure to mean
    missing: int  # queries that are measured but not in the run
    not_judged: int  # in the run but not judged
    unanswerable: int  # judged but without a relevant document
    identical: int  # measured queries whose results hold a document with the query's own id


def without_own_id(table: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return judgments or a run without the document that has the query's own id."""
    return {query: {name: own for name, own in row.items() if name != query} for query, row in table.items()}


def measure_run_file(
    run: Path, collection: str, measures: Sequence[str] = (), ignore_identical_ids: bool = False
) -> RunMeasures:
    """Measure a TREC run file on the judgments of a collection, ``ir:ID`` or ``trec:FOLDER``.

    ``ignore_identical_ids``: leave out, of each query, the document that has its id.
    """
    judgments, scores = open_collection(collection).judgments(), read_run(run)
    identical = {query for query, row in scores.items() if query in row}
    if ignore_identical_ids:
        judgments, scores = without_own_id(judgments), without_own_id(scores)
    queries = answerable(judgments)
    if not queries:
        raise DataError(
            f"{collection}: no query has a relevant document in the qrels, a grade above 0; nothing to measure."
        )
    names = measures or RUN_MEASURES
    values = {
        ties: {name: float(own.mean()) for name, own in measure_run(scores, judgments, queries, names, ties).items()}
        for ties in TIES
    }
    missing = sum(query not in scores for query in queries)
    return RunMeasures(
        len(queries), values, missing, len(set(scores) - set(judgments)), len(judgments) - len(queries),
        len(identical.intersection(queries)),
    )  # fmt: skip
