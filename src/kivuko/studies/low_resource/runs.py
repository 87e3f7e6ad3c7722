"""Finished runs on disk: each a small records file of its own, so that a study that was killed goes on.

A file's name ends in a fingerprint of everything that decides what is in it, so a run made with other settings is
never taken for this one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import multiprocessing
import multiprocessing.connection
import os
import re
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import kivuko
from kivuko.errors import CorruptFileError, DataError, KivukoError
from kivuko.evaluation import Header, PerQueryScores, Record, read_per_query, read_records, write_records
from kivuko.files import sha256_of
from kivuko.studies.low_resource.grid import Run
from kivuko.studies.low_resource.inputs import Measured

_FORMAT = 1  # raise it when runs are measured or recorded in another way
_LONGEST_NAME = 60


@dataclass(frozen=True)
class RunFile:
    """Where a run's outcome lies, or will lie, and the fingerprint that it must carry."""

    run: Run
    path: Path
    fingerprint: str


@dataclass(frozen=True)
class Finished:
    """A run's outcome, read back."""

    records: list[Record]
    per_query: list[PerQueryScores]
    seconds: float


def runs_folder(records: Path) -> Path:
    """Return where the runs of a study lie: ``low-resource.jsonl.runs`` beside ``low-resource.jsonl``."""
    return records.with_name(f"{records.name}.runs")


def run_files(runs: Sequence[Run], fingerprint: str, folder: Path) -> list[RunFile]:
    """Return the file of each run, in order.

    Args:
        fingerprint: of all that the runs share and are measured on.
    """
    models = {name: _folder_digest(Path(name).expanduser()) for run in runs if (name := run.translator)}
    found = []
    for run in runs:
        told = [_FORMAT, kivuko.__version__, fingerprint, _content(run), models.get(run.translator or "")]
        own = hashlib.sha256(json.dumps(told).encode()).hexdigest()
        size = "none" if run.size is None else "all" if run.whole else str(run.size)
        seed = "none" if run.seed is None else str(run.seed)
        # A recipe may be called anything; the fingerprint keeps two names apart that are spelled alike here.
        name = re.sub(r"[^\w.-]", "_", run.objective)[:_LONGEST_NAME]
        found.append(RunFile(run, folder / f"{name}-{size}-{seed}-{own[:12]}.jsonl", own))
    return found


def save_run(file: RunFile, measured: Measured) -> None:
    """Write a run's outcome, whole or not at all.

    Raises:
        KivukoError: the disk is full or the place cannot be written.
    """
    seeds = () if file.run.seed is None else (file.run.seed,)
    protocol = {"run": file.fingerprint, "label": file.run.label, **measured.notes}
    header = Header(command=f"one run of a study: {file.run.label}", protocol=protocol, seeds=seeds)
    write_records(file.path, header, measured.records, measured.per_query)


def load_run(file: RunFile, names: dict[tuple[str, ...], tuple[str, ...]]) -> Finished | None:
    """Read a run's outcome; None if there is none yet.

    Args:
        names: lists of query ids and clusters seen so far; equal ones are shared, which saves most of the memory.

    Raises:
        CorruptFileError: there is one, but it is damaged, or it is not this run's.
    """
    if not file.path.is_file():
        return None
    try:
        header, records = read_records(file.path)
        per_query = read_per_query(file.path)
    except DataError as problem:
        raise CorruptFileError(str(problem)) from problem
    if header.protocol.get("run") != file.fingerprint or not records:
        raise CorruptFileError(f"{file.path}: is not the run that its name says; it is made again")
    seconds = header.protocol.get("seconds", 0.0)
    return Finished(records, [_shared(block, names) for block in per_query], float(seconds))


def remove_leftovers(folder: Path) -> None:
    """Remove what killed writers left under temporary names."""
    for stray in folder.glob(".*.tmp"):
        stray.unlink(missing_ok=True)


def _content(run: Run) -> dict[str, Any]:
    """Everything of a run that decides its outcome; a recipe's description does not."""
    told = asdict(run)
    if run.recipe is not None:
        told["recipe"].pop("description")
    return told


def _folder_digest(folder: Path) -> list[tuple[str, str]]:
    """Hash a model's files; a name on the hub has none, and counts as it is written."""
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
# What a worker makes of the bench when it starts: it then makes and measures one run after another. A function of a
# module, since it goes to another process.
Prepare = Callable[[Any], Callable[[RunFile], Measured]]


class Watch(Protocol):
    """Told of what goes on, so that someone can watch."""

    def began(self, run: Run) -> None:
        """A run was handed to a worker."""

    def ended(self, run: Run, seconds: float) -> None:
        """A run is finished and on disk; it took so many seconds."""

    def ticked(self) -> None:
        """About a second has passed."""


def run_all(todo: Sequence[RunFile], bench: Any, prepare: Prepare, scratch: Path, workers: int, watch: Watch) -> None:
    """Make and save every run; what is finished stays on disk whatever happens to the others.

    Args:
        bench: what every run shares; it goes to each worker.
        prepare: see Prepare.
        scratch: folder for what the teacher says of each sample of bitext, which the objectives share.
        workers: processes, each of one thread.

    Raises:
        KivukoError: a run failed; or the system ended a worker.
        KeyboardInterrupt: the user did; workers are ended first.
    """
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(
        min(workers, max(1, len(todo))), multiprocessing.get_context("spawn"), _begin, (bench, prepare, scratch)
    )
    try:
        _feed(pool, deque(sorted(todo, key=lambda one: -one.run.cost)), workers, watch)
    except BaseException:
        for child in set(multiprocessing.active_children()) - others:
            child.terminate()  # in the middle of a run, which is lost; files are whole or absent
        pool.shutdown(wait=True, cancel_futures=True)
        raise
    pool.shutdown(wait=True)


def _feed(pool: ProcessPoolExecutor, waiting: deque[RunFile], workers: int, watch: Watch) -> None:
    """Keep every worker busy with one run at a time."""
    running: dict[Future[float], RunFile] = {}
    while waiting or running:
        while waiting and len(running) < workers:
            file = waiting.popleft()
            with _starting_a_worker():
                running[pool.submit(_perform, file)] = file
            watch.began(file.run)
        done, _ = wait(running, timeout=_TICK, return_when=FIRST_COMPLETED)
        # Those that came to an end first: an error of another should not hide them.
        for future in sorted(done, key=lambda future: future.exception() is not None):
            try:
                seconds = future.result()
            except BrokenProcessPool as problem:
                lost = "; ".join(sorted(one.run.label for one in running.values()))
                raise KivukoError(
                    f"the system ended a worker (too little memory?) while these were running: {lost}. "
                    "They are lost, all others are kept: the same command goes on. Fewer --workers need less memory."
                ) from problem
            except KivukoError as problem:
                raise KivukoError(f"{running[future].run.label}: {problem}") from problem
            watch.ended(running.pop(future).run, seconds)
        watch.ticked()


@contextlib.contextmanager
def _starting_a_worker() -> Iterator[None]:
    """Let a process that starts here inherit one thread, and deafness to Ctrl-C, which the parent deals with."""
    before = {name: os.environ.get(name) for name in _ONE_THREAD}
    os.environ.update(_ONE_THREAD)
    # Blocked, not ignored: an interrupt that arrives now reaches the parent a moment later.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if hasattr(signal, "pthread_sigmask") else None
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        if mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


# In a worker: what it was given at its start, and what it makes of it for its first run.
_given: tuple[Any, Prepare, Path] | None = None
_performers: list[Callable[[RunFile], Measured]] = []


def _begin(bench: Any, prepare: Prepare, scratch: Path) -> None:
    """Prepare a worker. What can fail waits for the first run, which can say so in one line."""
    global _given
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _given = bench, prepare, scratch
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_die_with, args=(parent.sentinel,), daemon=True).start()


def _die_with(sentinel: int) -> None:
    """End this process when its parent is no more: nobody would ever ask it for anything again."""
    multiprocessing.connection.wait([sentinel])
    os._exit(1)


def _perform(file: RunFile) -> float:
    """Make, measure and save a run in a worker; return the seconds it took."""
    import torch

    assert _given is not None
    bench, prepare, scratch = _given
    if not _performers:
        torch.set_num_threads(1)
        os.environ["KIVUKO_CACHE"] = str(scratch)  # samples of bitext are many, and of no use after the study
        _performers.append(prepare(bench))
    measured = _performers[0](file)
    save_run(file, measured)
    return float(measured.notes["seconds"])
