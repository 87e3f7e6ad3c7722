"""Records on disk: JSON Lines, a header line first, whole or absent."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from kivuko.errors import CorruptFileError, DataError, KivukoError, at
from kivuko.evaluation.query_scores import PerQueryScores, per_query_path, write_per_query_table
from kivuko.evaluation.records import HEADER_FIELDS, RECORD_FIELDS, FieldRule, Header, Record, wrong_field
from kivuko.files import atomic_path

FORMAT = 2
_ADDED = {"scoring": "cosine"}  # what format 1 did not say, and what it meant
_REMEDY = "the file is damaged; run the command that wrote it again"


def write_records(
    path: Path | str,
    header: Header,
    records: Sequence[Record],
    per_query: Sequence[PerQueryScores] | None = None,
) -> None:
    """Write a records file and, beside it, the per-query scores it summarises.

    Both are written under temporary names, flushed to disk and renamed: a killed run leaves what was
    there before, never half a file. The header line counts the records, so a file cut between two lines
    is noticed too. Without ``per_query`` an older per-query file beside ``path`` is removed, since its
    scores would belong to other records.

    Args:
        path: ``results/records.jsonl``; its per-query scores go to ``results/records.per_query.parquet``.

    Raises:
        DataError: a header field that JSON cannot hold.
        KivukoError: the disk is full or the place cannot be written; the message names it.
    """
    path = Path(path)
    lines = [_line("header", asdict(header), format=FORMAT, records=len(records))]
    lines += [_line("record", asdict(record)) for record in records]
    scores_path = per_query_path(path)
    try:
        with atomic_path(path) as temporary:
            temporary.write_text("".join(lines), encoding="utf-8", newline="\n")
            # Nested, so that neither file takes its place before both are complete.
            if per_query is not None:
                with atomic_path(scores_path) as temporary_scores:
                    write_per_query_table(temporary_scores, per_query)
        if per_query is None:
            scores_path.unlink(missing_ok=True)
    except OSError as problem:
        reason = problem.strerror or problem
        raise KivukoError(f"{path}: cannot be written ({reason}). Choose another place.") from problem


def read_records(path: Path | str) -> tuple[Header, list[Record]]:
    """Read a records file.

    Raises:
        DataError: there is no such file, or it was written in a format this version does not know.
        CorruptFileError: a line is cut, garbled or missing; the message names ``path:line``.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as problem:
        reason = problem.strerror or problem
        raise DataError(f"{path}: records cannot be read ({reason}). Check the path.") from problem
    if not content:
        _corrupt(path, 1, "the file is empty")
    # Only b"\n" ends a line: str.splitlines would also break at separators inside JSON strings.
    *lines, rest = content.split(b"\n")
    if rest:
        lines.append(rest)
    header, promised, added = _header(path, lines[0])
    records = [_record(path, number, line, added) for number, line in enumerate(lines[1:], start=2)]
    if rest:
        _corrupt(path, len(lines), "the line is cut short")
    if len(records) != promised:
        _corrupt(path, len(lines), f"the header promises {promised} records, the file holds {len(records)}")
    return header, records


def _line(kind: str, fields: dict[str, Any], **first: Any) -> str:
    try:
        return json.dumps({"kind": kind, **first, **fields}, ensure_ascii=False, allow_nan=False) + "\n"
    except (TypeError, ValueError) as problem:
        raise DataError(f"the {kind} cannot be written as JSON ({problem}); use plain finite values") from problem


def _header(path: Path, line: bytes) -> tuple[Header, int, Mapping[str, Any]]:
    """Return the header, the number of records it promises, and the fields to add to each of them."""
    fields = _fields(path, 1, line, "header")
    version = fields.pop("format", None)
    if version not in (1, FORMAT) or isinstance(version, bool):
        raise DataError(
            f"{at(path, 1)}: records of format {version!r}, but this Kivuko reads formats 1 and {FORMAT}; "
            "use the version that wrote them, or run the command again"
        )
    promised = fields.pop("records", None)
    if not isinstance(promised, int) or isinstance(promised, bool) or promised < 0:
        _corrupt(path, 1, f"field 'records' is {promised!r}; it must be a whole number")
    _check(path, 1, fields, HEADER_FIELDS)
    return Header(**{**fields, "seeds": tuple(fields["seeds"])}), promised, _ADDED if version == 1 else {}


def _record(path: Path, number: int, line: bytes, added: Mapping[str, Any]) -> Record:
    fields = {**added, **_fields(path, number, line, "record")}
    _check(path, number, fields, RECORD_FIELDS)
    return Record(**fields)


def _fields(path: Path, number: int, line: bytes, kind: str) -> dict[str, Any]:
    try:
        fields = json.loads(line.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        _corrupt(path, number, "not a line of JSON")
    if not isinstance(fields, dict) or fields.pop("kind", None) != kind:
        _corrupt(path, number, f"not a {kind} line")
    return fields


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _check(path: Path, number: int, fields: dict[str, Any], rules: dict[str, FieldRule]) -> None:
    if problem := wrong_field(fields, rules):
        _corrupt(path, number, problem)


def _corrupt(path: Path, number: int, problem: str) -> NoReturn:
    raise CorruptFileError(f"{at(path, number)}: {problem}; {_REMEDY}")
