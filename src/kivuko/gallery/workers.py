"""Processes that decode pictures, answers in the order of the questions, and no file that can bring a run down.

The standard library's process pool gives up when one of its processes dies, and does not say on what. Here each process
has its own pipe: whatever it was at when it died is tried once more, then left out by name.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, Generic, TypeVar

from kivuko.errors import KivukoError
from kivuko.gallery.decoding import Decoded, Limits, Prepare, Refused, decode_place
from kivuko.gallery.ready import ReadyPipes
from kivuko.gallery.work import FilePlace

Tag = TypeVar("Tag")
Place = FilePlace | bytes
_FORK_SERVER = "forkserver" in multiprocessing.get_all_start_methods()
_AHEAD = 3  # questions that wait in a worker's pipe, so that it never waits for the next
_TRIES = 2
_PROTOCOL = pickle.HIGHEST_PROTOCOL  # of what is sent; ``Connection.send`` takes an older one, and longer
_DEATHS_IN_A_ROW = 20  # without one answer between: it is not the files


@dataclass
class _Question:
    number: int
    place: Place
    tries: int = 0


@dataclass
class _Worker:
    process: Any
    pipe: Connection
    asked: deque[_Question] = field(default_factory=deque)
    since: float = field(default_factory=time.monotonic)


def share_cores() -> None:
    """Let the threads of this process sleep while they wait for each other, unless the user says otherwise.

    Spinning, they take the cores from the workers that decode: indexing took a tenth longer. It is read when torch is
    imported, so this must come before.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def start_fork_server(*modules: str) -> None:
    """Start the process that workers are forked from, without waiting for it to import ``modules``.

    A fork of a process with threads may hang; the fork server has none, and imports what is needed once for all. If it
    runs already, nothing happens. Where there is no such thing, workers are started afresh.
    """
    if _FORK_SERVER:
        from multiprocessing import forkserver, resource_tracker

        multiprocessing.get_context("forkserver").set_forkserver_preload(["kivuko.gallery.decoding", *modules])
        resource_tracker.ensure_running()  # it would unblock what is blocked here
        # Ctrl-C goes to all processes of a terminal. The fork server inherits that it is blocked, else it would say so
        # at length while it imports; here it arrives a moment later.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            forkserver.ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(pipe: Connection, prepare: Prepare, limits: Limits) -> None:
    """Answer questions until the pipe closes: the whole life of a worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process closes the pipe
    _hush()
    if hasattr(os, "nice"):
        # The process that encodes comes first: its threads wait for the slowest of them at every layer, and workers
        # that share their cores made indexing a fifth slower. They have its pauses, and all cores when it waits.
        os.nice(10)
    torch = sys.modules.get("torch")
    if torch is not None:  # the tower's preparation brought it
        torch.set_num_threads(1)
    with contextlib.suppress(EOFError, OSError, KeyboardInterrupt):
        while True:
            answer = decode_place(pickle.loads(pipe.recv_bytes()), prepare, limits)
            pipe.send_bytes(pickle.dumps(answer, _PROTOCOL))


class DecodingWorkers(Generic[Tag]):
    """Worker processes for ``decode_place``; a context manager.

    Args:
        prepare: the tower's own preparation; it travels to the workers.
        workers: how many processes, at least 1.
        limits: what a file may ask for.
        window: pictures that may be decoded ahead of the one whose turn it is: the bound on memory.
    """

    def __init__(self, prepare: Prepare, workers: int, limits: Limits, window: int) -> None:
        start_fork_server(getattr(prepare, "preload", __name__))
        self._context: Any = multiprocessing.get_context("forkserver" if _FORK_SERVER else "spawn")
        self._prepare, self._limits, self._window = prepare, limits, window
        self._count = workers
        self._workers: list[_Worker] = []
        self._waiting: deque[_Question] = deque()
        self._answers: dict[int, Decoded | Refused] = {}
        self._changed = threading.Condition()
        self._failure: BaseException | None = None
        self._closed = False
        self._deaths = 0
        self._wake_read, self._wake_write = multiprocessing.Pipe(duplex=False)
        self._ready = ReadyPipes()
        self._ready.add(self._wake_read)
        self._thread = threading.Thread(target=self._run, name="kivuko-decoding", daemon=True)

    def __enter__(self) -> DecodingWorkers[Tag]:
        try:
            for _ in range(self._count):
                self._workers.append(self._started())
        except BaseException:
            self._end()
            raise
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._closed = True
        self._wake_write.send_bytes(b"x")
        self._thread.join()
        self._end()

    def answers(self, questions: Iterable[tuple[Tag, Place | None]]) -> Iterator[tuple[Tag, Decoded | Refused | None]]:
        """Yield (tag, answer) in the order of the questions; a place that is None is passed through, with None.

        Raises:
            KivukoError: the workers die without any answer.
        """
        order: deque[tuple[Tag, int | None]] = deque()
        number, ahead = 0, 0
        for tag, place in questions:
            if place is None:
                order.append((tag, None))
            else:
                order.append((tag, number))
                self._ask(_Question(number, place))
                number, ahead = number + 1, ahead + 1
            while order and (
                order[0][1] is None
                or ahead >= self._window
                or len(order) >= 8 * self._window
                or self._is_answered(order[0][1])
            ):
                tag, asked = order.popleft()
                ahead -= asked is not None
                yield tag, None if asked is None else self._answer(asked)
        while order:
            tag, asked = order.popleft()
            yield tag, None if asked is None else self._answer(asked)

    def _ask(self, question: _Question) -> None:
        with self._changed:
            handed_out = not self._waiting  # else no worker has room, and the thread wakes when one answers
            self._waiting.append(question)
        if handed_out:
            self._wake_write.send_bytes(b"x")

    def _is_answered(self, number: int | None) -> bool:
        with self._changed:
            return number in self._answers

    def _answer(self, number: int) -> Decoded | Refused:
        with self._changed:
            while number not in self._answers:
                if self._failure is not None:
                    raise self._failure
                self._changed.wait()
            return self._answers.pop(number)

    def _run(self) -> None:
        """Hand out questions and take in answers, in a thread: a forward pass must not keep the workers waiting."""
        try:
            while not self._closed:
                self._hand_out()
                pipes = {worker.pipe: worker for worker in self._workers}
                for ready in self._ready.wait(1.0):
                    if ready is self._wake_read:
                        self._wake_read.recv_bytes()
                    else:
                        self._take(pipes[ready])
                for worker in list(self._workers):
                    if worker.asked and time.monotonic() - worker.since > self._limits.seconds:
                        worker.asked[0].tries = _TRIES
                        self._replace(worker, Refused("took too long", f"more than {self._limits.seconds:.0f} s"))
        except BaseException as problem:
            with self._changed:
                self._failure = problem
                self._changed.notify_all()

    def _hand_out(self) -> None:
        with self._changed:
            for most in range(1, _AHEAD + 1):  # none gets its second before each has one
                for worker in self._workers:
                    if not self._waiting:
                        return
                    # Bytes could fill the pipe of a worker that waits for its answer to be read: never ahead.
                    if len(worker.asked) < (1 if isinstance(self._waiting[0].place, bytes) else most):
                        question = self._waiting.popleft()
                        if not worker.asked:
                            worker.since = time.monotonic()
                        worker.asked.append(question)
                        # A worker that died meanwhile is found out when its pipe is read.
                        with contextlib.suppress(OSError):
                            worker.pipe.send_bytes(pickle.dumps(question.place, _PROTOCOL))

    def _take(self, worker: _Worker) -> None:
        try:
            answer = pickle.loads(worker.pipe.recv_bytes())
        except (EOFError, OSError):
            self._replace(worker, Refused("decoder crashed", "the process that decoded it died"))
            return
        self._deaths = 0
        worker.since = time.monotonic()
        with self._changed:
            self._answers[worker.asked.popleft().number] = answer
            self._changed.notify_all()

    def _replace(self, worker: _Worker, verdict: Refused) -> None:
        """Start another process for one that died or hangs; what it was at is tried again, or gets the verdict."""
        self._workers.remove(worker)
        self._ready.discard(worker.pipe)
        _stop(worker)
        self._deaths += 1
        if self._deaths > _DEATHS_IN_A_ROW:
            raise KivukoError("the processes that decode pictures die at once: is memory short? Try --workers 1.")
        left = list(worker.asked)
        with self._changed:
            if left:
                left[0].tries += 1
                if left[0].tries >= _TRIES:
                    self._answers[left.pop(0).number] = verdict
            self._waiting.extendleft(reversed(left))
            self._changed.notify_all()
        self._workers.append(self._started())

    def _started(self) -> _Worker:
        here, there = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(there, self._prepare, self._limits), daemon=True)
        process.start()
        there.close()
        self._ready.add(here)
        return _Worker(process, here)

    def _end(self) -> None:
        self._ready.close()
        for worker in self._workers:
            worker.pipe.close()
        for worker in self._workers:
            worker.process.join(timeout=0.5)
            _stop(worker)
        self._workers.clear()
        self._wake_read.close()
        self._wake_write.close()


def _hush() -> None:
    """Let what C libraries print of broken files go nowhere: what is wrong with a file is told by name at the end."""
    with contextlib.suppress(OSError), open(os.devnull, "wb") as nowhere:  # noqa: PTH123
        os.dup2(nowhere.fileno(), 2)


def _stop(worker: _Worker) -> None:
    with contextlib.suppress(OSError):
        worker.pipe.close()
    worker.process.kill()
    worker.process.join()
