"""Worker processes that perform the runs of a study, one core each."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, Protocol

from kivuko.errors import KivukoError
from kivuko.studies.grid import Run
from kivuko.studies.runs import Measured, RunFile, save_run

# One core for each worker: several threads per worker would only fight over the cores. Libraries read these names
# when they are imported, so they must be set before a worker starts.
_ONE_THREAD = {
    "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1",
    "RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false",
}  # fmt: skip
_TICK = 1.0  # seconds between two looks at the clock
Prepare = Callable[[Any], Callable[[RunFile], Measured]]
"""Inputs -> a function that performs one run; it must be a function of a module, since it goes to another process."""


class Watch(Protocol):
    """Shows progress."""

    def planned(self, finished: Sequence[Run], waiting: Sequence[Run], workers: int) -> None:
        """Called first; ``finished`` are on disk from before."""

    def began(self, run: Run) -> None: ...

    def ended(self, run: Run, seconds: float) -> None:
        """Called when a run is on disk."""

    def ticked(self) -> None:
        """Called about once a second."""


def run_all(todo: Sequence[RunFile], inputs: Any, prepare: Prepare, scratch: Path, workers: int, watch: Watch) -> None:
    """Perform and save every run; finished runs stay on disk if another one fails or the user interrupts.

    ``scratch``: folder for the teacher's vectors of each sample of bitext, which the objectives share.
    """
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(
        min(workers, max(1, len(todo))), multiprocessing.get_context("spawn"), _begin, (inputs, prepare, scratch)
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


@contextlib.contextmanager
def _starting_a_worker() -> Iterator[None]:
    """Let a process that starts here inherit one thread, and ignore Ctrl-C, which the parent handles."""
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
