"""Finished runs on disk, a small records file each, so that a killed study resumes.

A file's name ends in a fingerprint of everything that decides the run's result.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import kivuko
from kivuko.errors import CorruptFileError, DataError
from kivuko.evaluation.records import Header, PerQueryScores, Record, read_per_query, read_records, write_records
from kivuko.files import sha256_of
from kivuko.studies.grid import Run

_FORMAT = 1  # raise it when runs are measured or recorded in another way
_LONGEST_NAME = 60
Notes = dict[str, float | int | str]


@dataclass(frozen=True)
class Measured:
    """The result of one run; ``notes``: on its training."""

    records: list[Record]
    per_query: list[PerQueryScores]
    notes: Notes = field(default_factory=dict)


@dataclass(frozen=True)
class RunFile:
    """The file of a run's result, and the fingerprint that it must carry."""

    run: Run
    path: Path
    fingerprint: str


@dataclass(frozen=True)
class Finished:
    """A run's result, read back."""

    records: list[Record]
    per_query: list[PerQueryScores]
    seconds: float


def runs_folder(records: Path) -> Path:
    """Return ``low-resource.jsonl.runs`` for ``low-resource.jsonl``."""
    return records.with_name(f"{records.name}.runs")


def run_files(runs: Sequence[Run], fingerprint: str, folder: Path) -> list[RunFile]:
    """Return the file of each run, in order; ``fingerprint``: of the inputs that the runs share."""
    models = {name: _folder_digest(Path(name).expanduser()) for run in runs if (name := run.translator)}
    files = []
    for run in runs:
        content = [_FORMAT, kivuko.__version__, fingerprint, _content(run), models.get(run.translator or "")]
        own = hashlib.sha256(json.dumps(content).encode()).hexdigest()
        size = "none" if run.size is None else "all" if run.whole else str(run.size)
        seed = "none" if run.seed is None else str(run.seed)
        # A recipe may be called anything; the fingerprint keeps two names apart that are spelled alike here.
        name = re.sub(r"[^\w.-]", "_", run.objective)[:_LONGEST_NAME]
        files.append(RunFile(run, folder / f"{name}-{size}-{seed}-{own[:12]}.jsonl", own))
    return files


def save_run(file: RunFile, measured: Measured) -> None:
    """Write a run's result, whole or not at all."""
    seeds = () if file.run.seed is None else (file.run.seed,)
    protocol = {"run": file.fingerprint, "label": file.run.label, **measured.notes}
    header = Header(command=f"one run of a study: {file.run.label}", protocol=protocol, seeds=seeds)
    write_records(file.path, header, measured.records, measured.per_query)


def load_run(file: RunFile, names: dict[tuple[str, ...], tuple[str, ...]]) -> Finished | None:
    """Read a run's result; None if there is none yet.

    ``names``: lists of query ids and clusters of earlier runs; equal ones are shared, which saves most of the memory.
    """
    if not file.path.is_file():
        return None
    try:
        header, records = read_records(file.path)
        per_query = read_per_query(file.path)
    except DataError as problem:
        raise CorruptFileError(str(problem)) from problem
    if header.protocol.get("run") != file.fingerprint or not records:
        raise CorruptFileError(f"{file.path}: is not the run of its name; it is rebuilt")
    seconds = header.protocol.get("seconds", 0.0)
    return Finished(records, [_shared(block, names) for block in per_query], float(seconds))


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files of killed writers."""
    for stray in folder.glob(".*.tmp"):
        stray.unlink(missing_ok=True)


def _content(run: Run) -> dict[str, Any]:
    """Return the fields of a run that decide its result: not a recipe's description."""
    content = asdict(run)
    if run.recipe is not None:
        content["recipe"].pop("description")
    return content


def _folder_digest(folder: Path) -> list[tuple[str, str]]:
    """Return the hash of each file of a model folder; none for a name on the hub."""
    if not folder.is_dir():
        return []
    return [(str(file.relative_to(folder)), sha256_of(file)) for file in sorted(folder.rglob("*")) if file.is_file()]


def _shared(block: PerQueryScores, names: dict[tuple[str, ...], tuple[str, ...]]) -> PerQueryScores:
    ids, clusters = tuple(block.query_ids), None if block.clusters is None else tuple(block.clusters)
    return replace(
        block,
        query_ids=names.setdefault(ids, ids),
        clusters=None if clusters is None else names.setdefault(clusters, clusters),
    )
