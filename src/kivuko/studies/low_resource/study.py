"""The study from start to finish: what is left to do, the workers that do it, and the records that it ends in."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol

from kivuko.errors import CorruptFileError, UsageError
from kivuko.evaluation import Condition, Header, Record, per_query_path, write_records
from kivuko.files import refuse_unwritable
from kivuko.studies.low_resource.grid import Grid, Run
from kivuko.studies.low_resource.inputs import StudyInputs
from kivuko.studies.low_resource.protocol import STUDY, study_header
from kivuko.studies.low_resource.runs import (
    Finished,
    Prepare,
    RunFile,
    Watch,
    load_run,
    remove_leftovers,
    run_all,
    run_files,
    runs_folder,
)
from kivuko.studies.low_resource.systems import prepare

_SCRATCH = "teacher"  # folder beside the runs: what the teacher says of each sample


class StudyWatch(Watch, Protocol):
    """Told of the plan too, before anything begins."""

    def planned(self, finished: Sequence[Run], waiting: Sequence[Run], workers: int) -> None:
        """So many runs are on disk from before, so many are to be made."""


@dataclass(frozen=True)
class Place:
    """Where a study's results lie, and which study's they are."""

    records: Path
    study: str = STUDY

    @property
    def runs(self) -> Path:
        """A small records file for each finished run."""
        return runs_folder(self.records)

    def check(self) -> None:
        """Refuse a place that cannot be written, or where something else lies.

        Raises:
            KivukoError: names the file or folder in the way.
        """
        for file in (self.records, per_query_path(self.records), self.runs / "a run"):
            refuse_unwritable(file)
        if self.records.is_file() and not _is_of(self.study, self.records):
            raise UsageError(
                f"{self.records}: exists and holds no records of a {self.study} study; nothing was replaced. "
                "Choose another --records."
            )


def run_study(
    grid: Grid,
    bench: StudyInputs,
    place: Place,
    *,
    command: str,
    workers: int,
    watch: StudyWatch,
    told: Callable[[str], None],
) -> list[Record]:
    """Make every run that is not on disk yet, then write all records in the grid's order.

    Args:
        command: for the records' header.
        workers: processes, one core each.
        told: given one line for each run on disk that is damaged and made again.

    Returns:
        The records that were written.

    Raises:
        KivukoError: a run failed, a worker was ended by the system, or the place cannot be written.
    """
    bitext = bench.world.bitext(bench.languages, "train")
    files = run_files(grid.runs(bitext), bench.fingerprint, place.runs)
    outcomes = finish_runs(files, bench, prepare, place, workers=workers, watch=watch, told=told)
    header = study_header(grid, bench, bitext, outcomes, command, workers)
    return write_outcomes(header, outcomes, place)


def finish_runs(
    files: Sequence[RunFile],
    bench: Any,
    prepare: Prepare,
    place: Place,
    *,
    workers: int,
    watch: StudyWatch,
    told: Callable[[str], None],
) -> list[tuple[Run, Finished]]:
    """Make every run that is not on disk yet, and return all of them in order. Arguments as ``run_study``."""
    names: dict[tuple[str, ...], tuple[str, ...]] = {}
    found = {file.path: _load_or_say(file, names, told) for file in files}
    todo = [file for file in files if found[file.path] is None]
    watch.planned([file.run for file in files if found[file.path]], [file.run for file in todo], workers)
    if todo:
        run_all(todo, bench, prepare, place.runs / _SCRATCH, workers, watch)
    return [(file.run, found[file.path] or _load(file, names)) for file in files]


def write_outcomes(header: Header, outcomes: Sequence[tuple[Run, Finished]], place: Place) -> list[Record]:
    """Write the records of all runs into one file, and tidy up beside it."""
    records = [record for _, outcome in outcomes for record in outcome.records]
    refuse_repeats(records)
    per_query = [block for _, outcome in outcomes for block in outcome.per_query]
    write_records(place.records, header, records, per_query)
    shutil.rmtree(place.runs / _SCRATCH, ignore_errors=True)
    remove_leftovers(place.runs)
    return records


def _load_or_say(
    file: RunFile, names: dict[tuple[str, ...], tuple[str, ...]], told: Callable[[str], None]
) -> Finished | None:
    try:
        return load_run(file, names)
    except CorruptFileError as problem:
        told(f"{problem} · this run is made again")
        return None


def _load(file: RunFile, names: dict[tuple[str, ...], tuple[str, ...]]) -> Finished:
    outcome = load_run(file, names)
    if outcome is None:
        raise CorruptFileError(f"{file.path}: was there and is gone. Run the same command again.")
    return outcome


def refuse_repeats(records: Iterable[Record]) -> None:
    """Raise CorruptFileError if two records speak of one condition, language, subset and measure."""
    key = [*(one.name for one in fields(Condition)), "language", "subset", "measure"]
    seen: set[tuple[object, ...]] = set()
    for record in records:
        place = tuple(getattr(record, name) for name in key)
        if place in seen:
            raise CorruptFileError(f"two records of {record.measure} of {place}; delete the folder of runs, run again")
        seen.add(place)


def _is_of(study: str, records: Path) -> bool:
    """Tell by the first line whether a file holds the records of a study."""
    try:
        with records.open("rb") as stream:
            header = json.loads(stream.readline())
        return bool(header["protocol"]["study"] == study)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False
