"""Runs as files: TREC's six columns, which every evaluation tool reads."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from kivuko.datasets.collections.text_lines import text_lines
from kivuko.errors import DataError, UsageError, at
from kivuko.evaluation.run import Run
from kivuko.files import atomic_path


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
