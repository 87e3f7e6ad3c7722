"""Finished runs on disk, a small records file each, and the worker processes that perform the others, one core each."""

import hashlib
import json
import multiprocessing
import multiprocessing.connection
import os
import re
import signal
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import kivuko
from kivuko.errors import CorruptFileError, DataError, KivukoError
from kivuko.evaluation.records import Header, PerQueryScores, Record, read_per_query, read_records, write_records
from kivuko.files import sha256_of
from kivuko.processes import starting_processes
from kivuko.progress import StudyBar
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


def load_run(file: RunFile, names: dict[tuple[str, ...], tuple[str, ...]]) -> Measured | None:
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
        raise CorruptFileError(f"{file.path}: is not the run of its name")
    seconds = float(header.protocol.get("seconds", 0.0))
    return Measured(records, [_shared(block, names) for block in per_query], {"seconds": seconds})


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


# One core for each worker: several threads per worker would only fight over the cores. Libraries read these names
# when they are imported, so they must be set before a worker starts.
_ONE_THREAD = {
    "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1",
    "RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false",
}  # fmt: skip
_TICK = 1.0  # seconds between two looks at the clock
Prepare = Callable[[Any], Callable[[RunFile], Measured]]
"""Inputs -> a function that performs one run; it must be a function of a module, since it goes to another process."""


def run_all(
    todo: Sequence[RunFile], inputs: Any, prepare: Prepare, scratch: Path, workers: int, watch: StudyBar
) -> None:
    """Perform and save every run; finished runs stay on disk if another one fails or the user interrupts.

    ``scratch``: folder for the teacher's vectors of each sample of bitext, which the objectives share.
    """
    others = set(multiprocessing.active_children())
    with starting_processes():  # one that watches over what the workers share
        pool = ProcessPoolExecutor(
            min(workers, max(1, len(todo))), multiprocessing.get_context("spawn"), _begin, (inputs, prepare, scratch)
        )
    try:
        # Students before word tables and translators: a study that is stopped early still answers its question.
        _feed(pool, deque(sorted(todo, key=lambda one: (one.run.recipe is None, -one.run.cost))), workers, watch)
    except BaseException:
        for child in set(multiprocessing.active_children()) - others:
            child.terminate()  # in the middle of a run, which is lost; files are whole or absent
        pool.shutdown(wait=True, cancel_futures=True)
        raise
    pool.shutdown(wait=True)


def _feed(pool: ProcessPoolExecutor, waiting: deque[RunFile], workers: int, watch: StudyBar) -> None:
    """Keep every worker busy with one run at a time."""
    running: dict[Future[float], RunFile] = {}
    while waiting or running:
        while waiting and len(running) < workers:
            file = waiting.popleft()
            with starting_processes(**_ONE_THREAD):
                running[pool.submit(_perform, file)] = file
            watch.began(file.run)
        done, _ = wait(running, timeout=_TICK, return_when=FIRST_COMPLETED)
        # Finished ones first: an error of another should not hide them.
        for future in sorted(done, key=lambda future: future.exception() is not None):
            try:
                seconds = future.result()
            except BrokenProcessPool as problem:
                lost = "; ".join(sorted(one.run.label for one in running.values()))
                raise KivukoError(
                    f"the system ended a worker (too little memory?) while these were running: {lost}. "
                    "They are lost, all others are kept: the same command resumes. Fewer --workers need less memory."
                ) from problem
            except KivukoError as problem:
                raise KivukoError(f"{running[future].run.label}: {problem}") from problem
            watch.ended(running.pop(future).run, seconds)
        watch.ticked()


# In a worker: its arguments, and the function that it prepares for its first run.
_given: tuple[Any, Prepare, Path] | None = None
_performers: list[Callable[[RunFile], Measured]] = []


def _begin(inputs: Any, prepare: Prepare, scratch: Path) -> None:
    """Initialize a worker. Everything that can fail waits for the first run, which reports it in one line."""
    global _given
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _given = inputs, prepare, scratch
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_die_with, args=(parent.sentinel,), daemon=True).start()


def _die_with(sentinel: int) -> None:
    """End this process when its parent has ended."""
    multiprocessing.connection.wait([sentinel])
    os._exit(1)


def _perform(file: RunFile) -> float:
    """Perform and save a run in a worker; return its seconds."""
    import torch

    assert _given is not None
    inputs, prepare, scratch = _given
    if not _performers:
        torch.set_num_threads(1)
        os.environ["KIVUKO_CACHE"] = str(scratch)  # samples of bitext are many, and of no use after the study
        _performers.append(prepare(inputs))
    measured = _performers[0](file)
    save_run(file, measured)
    return float(measured.notes["seconds"])
