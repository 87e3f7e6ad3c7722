"""TREC runs: reading, writing, and measuring their files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kivuko.datasets.spec import open_collection
from kivuko.errors import DataError, UsageError, at
from kivuko.evaluation.measures import TIES, Ties, answerable, measure_run, trec_order
from kivuko.files import atomic_path
from kivuko.streams import text_lines

Run = dict[str, dict[str, float]]  # query id to document id to score


def read_run(path: Path) -> Run:
    """Read a run, lines of ``query Q0 document rank score tag``; a DataError names ``path:line``."""
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
                if len(name.split()) != 1:
                    raise UsageError(f"id {name[:40]!r} is empty or holds white space; a run's columns cannot carry it")
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


def measure_run_file(run: Path, collection: str, measures: Sequence[str] = ()) -> RunMeasures:
    """Measure a TREC run file on the judgments of a collection, ``ir:ID`` or ``trec:FOLDER``."""
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
