"""Judgements from files: TREC's four columns, or three with a heading, as BEIR has them."""

from __future__ import annotations

import re
from pathlib import Path

from kivuko.datasets.collections.text_lines import text_lines
from kivuko.errors import DataError, at
from kivuko.files import atomic_path

_GRADE = re.compile(r"[+-]?[0-9]{1,9}")
_HIGHEST = 10_000  # trec_eval's memory and time grow with the highest grade: seconds at ten millions
_HEADING = re.compile(r"query[-_ ]?id", re.IGNORECASE)


def read_qrels(path: Path) -> dict[str, dict[str, int]]:
    """Read judgements: ``query iteration document grade`` in columns of white space, ``iteration`` being ignored.

    A first line ``query-id corpus-id score`` announces three columns instead. Grades are whole numbers; those above 0
    mean relevant. A line that is said twice counts once.

    Returns:
        Query id to document id to grade, in the order of the file.

    Raises:
        DataError: the file cannot be read or is empty, a line has other columns, no whole number as its grade or one
            over 10,000, or one pair of query and document has two grades; the message names ``path:line``.
    """
    found: dict[str, dict[str, int]] = {}
    columns = 4
    for number, line in text_lines(path):
        cells = line.split()
        if not cells:
            continue
        if number == 1 and _HEADING.fullmatch(cells[0]):
            columns = len(cells)
            if columns in (3, 4):
                continue
        if len(cells) != columns or columns not in (3, 4):
            raise DataError(
                f"{at(path, number)}: {len(cells)} columns, but qrels have {columns if columns in (3, 4) else 4}: "
                "query iteration document grade"
            )
        query, document, grade = cells[0], cells[-2], cells[-1]
        if not _GRADE.fullmatch(grade):
            raise DataError(f"{at(path, number)}: grade {grade[:40]!r} is no whole number; write 0, 1, 2 …")
        if int(grade) > _HIGHEST:
            raise DataError(f"{at(path, number)}: grade {grade} is over {_HIGHEST:,}; write 0, 1, 2 …")
        if found.setdefault(query, {}).setdefault(document, int(grade)) != int(grade):
            raise DataError(
                f"{at(path, number)}: query {query[:40]!r} and document {document[:40]!r} were given another grade "
                "before; keep one"
            )
    if not found:
        raise DataError(f"{path}: no judgement in it; give lines of: query iteration document grade")
    return found


def write_qrels(path: Path, judgements: dict[str, dict[str, int]]) -> None:
    """Write judgements in TREC's four columns, whole or not at all."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as stream:
        for query, grades in judgements.items():
            stream.writelines(f"{query} 0 {document} {grade}\n" for document, grade in grades.items())
