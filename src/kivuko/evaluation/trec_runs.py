"""TREC runs: reading, writing, and measuring their files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kivuko.datasets.collections import open_collection
from kivuko.errors import DataError, UsageError, at
from kivuko.evaluation.measures import TIES, Ties, answerable, measure_run, trec_order
from kivuko.files import atomic_path
from kivuko.streams import text_lines

Run = dict[str, dict[str, float]]
"""Query id to document id to score: the dictionary form that ``ir_measures`` accepts as a run."""


def read_run(path: Path) -> Run:
    """Read a run: ``query Q0 document rank score tag`` in columns of white space.

    Returns:
        Query id to document id to score, in the order of the file.

    Raises:
        DataError: the file cannot be read or is empty, a line has other columns, a score is no number, or a document
            occurs twice under one query; the message names ``path:line``.
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
            raise DataError(f"{at(path, number)}: document {document[:60]} occurs twice under query {query[:60]}")
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
