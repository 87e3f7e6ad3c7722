"""Decoding of images in worker processes, in the order of the requests; no file can stop a run.

The standard library's process pool breaks when one of its processes dies. Here each process has its own pipe, and the
image it died on is tried once more, then skipped. (``pebble`` can do this too, but took twice the main process's time.)
"""

import contextlib
import hashlib
import io
import multiprocessing
import os
import pickle
import selectors
import signal
import stat
import sys
import threading
import time
import types
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from kivuko.encoders.images import MOST_BYTES, MOST_PIXELS, RefusedImage, decode, identify, readable_formats, thumbnail
from kivuko.errors import KivukoError
from kivuko.processes import starting_processes
from kivuko.search.items import FilePlace

Tensors = dict[str, NDArray[Any]]
Prepare = Callable[[Image.Image], Tensors]
_MOST_PROPORTION = 200  # of the long side to the short
_IDENTIFIED_FIRST = 1 << 20  # smaller files are read whole at once


@dataclass(frozen=True)
class Limits:
    """Limits of one image file."""

    pixels: int = MOST_PIXELS
    bytes: int = MOST_BYTES
    seconds: float = 300.0  # of a worker's time
    memory: int | None = None  # bytes that a worker may use beyond those of its start; None: all
    formats: tuple[str, ...] = ()  # those of Pillow that are read; none: all that decode nothing but pixels


@dataclass(frozen=True)
class Decoded:
    """A decoded image, ready for the tower."""

    sha256: str
    width: int
    height: int
    thumbnail: bytes
    tensors: Tensors  # the tower's input, each with a leading axis of 1


@dataclass(frozen=True)
class Refused:
    """An image that is skipped, and why."""

    reason: str
    detail: str = ""


def decode_place(place: FilePlace | bytes, prepare: Prepare, limits: Limits) -> Decoded | Refused:
    """Read, hash, decode and prepare one image; a failure is returned as ``Refused``."""
    try:
        content = place if isinstance(place, bytes) else read_place(place, limits.bytes)
        if limits.formats:
            _refuse_other_formats(content, limits.formats)
        image = decode(content, limits.pixels)
        if max(image.size) > _MOST_PROPORTION * min(image.size):  # scaled by the short side, it would fill memory
            raise RefusedImage("too narrow", f"{image.width} x {image.height}")
        small = thumbnail(image, content)
        tensors = prepare(image)
    except RefusedImage as problem:
        return Refused(problem.reason, problem.detail)
    except MemoryError:
        return Refused("too many pixels", "not enough memory to decode it")
    except Exception as problem:  # a tower's own preparation may refuse what it cannot use
        return Refused("cannot be prepared", f"{type(problem).__name__}: {problem}"[:300])
    return Decoded(hashlib.sha256(content).hexdigest(), *image.size, small, tensors)


def _refuse_other_formats(content: bytes, formats: tuple[str, ...]) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=[name for name in readable_formats() if name in formats]):
                pass
    except UnidentifiedImageError as problem:
        raise RefusedImage("not an image" if content else "empty file") from problem
    except Image.DecompressionBombError as problem:
        raise RefusedImage("too many pixels") from problem
    except Exception as problem:  # what a broken header leads Pillow to
        raise RefusedImage("broken image", "or its metadata is too large") from problem


def read_place(place: FilePlace, most_bytes: int = MOST_BYTES) -> bytes:
    """Read a regular file or a part of one; RefusedImage for anything else, such as a pipe or a device."""
    try:
        number = os.open(place.path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with open(number, "rb") as stream:  # noqa: PTH123
            state = os.fstat(number)
            if not stat.S_ISREG(state.st_mode):
                raise RefusedImage("not a regular file")
            length = state.st_size if place.length is None else place.length
            if length > most_bytes:
                raise RefusedImage("too large a file", f"{length:,} bytes, most {most_bytes:,}")
            if place.length is None and length > _IDENTIFIED_FIRST:
                identify(stream)
            stream.seek(place.offset)
            content = stream.read(length)
    except FileNotFoundError as problem:
        raise RefusedImage("missing", "gone since it was listed") from problem
    except PermissionError as problem:
        raise RefusedImage("cannot be read", "no permission") from problem
    except (OSError, ValueError) as problem:
        raise RefusedImage("cannot be read", str(getattr(problem, "strerror", None) or problem)) from problem
    if len(content) < length:
        raise RefusedImage("broken image", "the file ends before it should")
    return content


def as_png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format="PNG", compress_level=1)
    return stream.getvalue()


def raw_pixels(image: Image.Image) -> Tensors:
    """Return the pixels, uint8 [1, height, width, 3], for a tower that prepares images itself."""
    return {"pixels": np.asarray(image)[None]}


@dataclass(frozen=True)
class ProcessorPreparation:
    """Prepare images with a tower's own image processor, as numpy arrays."""

    processor: Any

    @property
    def preload(self) -> str:  # the module to import once for all workers
        return type(self.processor).__module__

    def __call__(self, image: Image.Image) -> Tensors:
        tensors = self.processor(images=[image], return_tensors="np")
        return {name: np.ascontiguousarray(value) for name, value in tensors.items()}


class ImageEncoder(Protocol):
    """An encoder of prepared images."""

    @property
    def fingerprint(self) -> str: ...  # a hash that identifies the vector space

    @property
    def dim(self) -> int: ...

    @property
    def prepare(self) -> Prepare: ...  # from an RGB image to the tower's input, with a leading axis of 1; pickled

    def encode(self, prepared: Sequence[Tensors]) -> NDArray[np.float32]:
        """Return unit vectors of prepared images, float32 [images, dim]."""
        ...


class ReadyPipes:
    """Pipes to wait for. They stay registered: registering them in each call took as long as an answer."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector() if os.name != "nt" else None  # there, pipes are no sockets
        self._pipes: list[Connection] = []

    def add(self, pipe: Connection) -> None:
        self._pipes.append(pipe)
        if self._selector is not None:
            self._selector.register(pipe, selectors.EVENT_READ)

    def discard(self, pipe: Connection) -> None:
        """Remove a pipe, before it is closed."""
        self._pipes.remove(pipe)
        if self._selector is not None:
            self._selector.unregister(pipe)

    def wait(self, seconds: float) -> list[Any]:
        """Return the pipes that can be read or whose other end is closed; none after a timeout."""
        if self._selector is None:
            return list(wait(self._pipes, timeout=seconds))
        return [key.fileobj for key, _ in self._selector.select(seconds)]

    def close(self) -> None:
        if self._selector is not None:
            self._selector.close()


Tag = TypeVar("Tag")
Place = FilePlace | bytes
_FORK_SERVER = "forkserver" in multiprocessing.get_all_start_methods()
_AHEAD = 3  # requests that wait in a worker's pipe, so that it never waits for the next
_TRIES = 2
_GRACE_S = 5  # a worker ends itself so much later than the main process would end it
_PROTOCOL = pickle.HIGHEST_PROTOCOL  # of what is sent; ``Connection.send`` takes an older one, and longer
_DEATHS_IN_A_ROW = 20  # without an answer in between: the files are not the cause


@dataclass
class _Request:
    number: int
    place: Place
    tries: int = 0


@dataclass
class _Worker:
    process: Any
    pipe: Connection
    requests: deque[_Request] = field(default_factory=deque)
    since: float = field(default_factory=time.monotonic)


def share_cores() -> None:
    """Make the threads of this process sleep while they wait for each other; call it before torch is imported.

    Spinning, they take the cores from the workers that decode: indexing took a tenth longer.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def start_fork_server(*modules: str) -> None:
    """Start the fork server, if the system has one, without waiting for it to import ``modules``.

    A fork of a process with threads may hang; the fork server has none, and imports ``modules`` once for all workers.
    """
    if _FORK_SERVER:
        from multiprocessing import forkserver

        multiprocessing.get_context("forkserver").set_forkserver_preload(["kivuko.search.decoding", *modules])
        with starting_processes():
            forkserver.ensure_running()


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Let workers start without importing the program's main module, which would run a script without a guard again."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _serve(pipe: Connection, prepare: Prepare, limits: Limits) -> None:
    """Answer requests until the pipe closes; the main function of a worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process closes the pipe
    _hush()
    if hasattr(os, "nice"):
        # The process that encodes has priority: its threads wait for the slowest of them at every layer, and workers
        # on the same cores made indexing a fifth slower.
        os.nice(10)
    torch = sys.modules.get("torch")
    if torch is not None:  # the tower's preparation brought it
        torch.set_num_threads(1)
    if limits.memory is not None:
        readable_formats()  # loads their libraries, which the limit does not count
        _limit_memory(limits.memory)
    with contextlib.suppress(EOFError, OSError, KeyboardInterrupt):
        while True:
            place = pickle.loads(pipe.recv_bytes())
            _end_after(limits.seconds + _GRACE_S)
            answer = decode_place(place, prepare, limits)
            _end_after(0)
            pipe.send_bytes(pickle.dumps(answer, _PROTOCOL))


def _limit_memory(most: int) -> None:
    """Let this process use so many more bytes, where the system can hold it to that."""
    statm = Path("/proc/self/statm")
    if statm.is_file():
        import resource

        used = int(statm.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + most, used + most))


def _end_after(seconds: float) -> None:
    """Let the system end this process, whatever it does then; 0: no longer. For one whose parent was killed."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


class DecodingWorkers(Generic[Tag]):
    """Worker processes for ``decode_place``; a context manager.

    ``prepare`` is sent to the workers. At most ``window`` images are decoded ahead, which bounds memory.
    """

    def __init__(self, prepare: Prepare, workers: int, limits: Limits, window: int) -> None:
        start_fork_server(getattr(prepare, "preload", __name__))
        self._context: Any = multiprocessing.get_context("forkserver" if _FORK_SERVER else "spawn")
        self._prepare, self._limits, self._window = prepare, limits, window
        self._count = workers
        self._workers: list[_Worker] = []
        self._waiting: deque[_Request] = deque()
        self._answers: dict[int, Decoded | Refused] = {}
        self._changed = threading.Condition()
        self._failure: BaseException | None = None
        self._closed = False
        self._deaths = self._calls = 0
        self._wake_read, self._wake_write = multiprocessing.Pipe(duplex=False)
        self._ready = ReadyPipes()
        self._ready.add(self._wake_read)
        self._thread = threading.Thread(target=self._run, name="kivuko-decoding", daemon=True)

    def __enter__(self) -> Self:
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
        with self._changed:  # for calls of ``decode`` that still wait
            self._failure = self._failure or KivukoError("the processes that decode images were stopped.")
            self._changed.notify_all()
        self._end()

    def answers(self, requests: Iterable[tuple[Tag, Place | None]]) -> Iterator[tuple[Tag, Decoded | Refused | None]]:
        """Yield (tag, answer) in the order of the requests; the answer to a place of None is None."""
        order: deque[tuple[Tag, int | None]] = deque()
        number, ahead = 0, 0
        for tag, place in requests:
            if place is None:
                order.append((tag, None))
            else:
                order.append((tag, number))
                self._submit(_Request(number, place))
                number, ahead = number + 1, ahead + 1
            while order and (
                order[0][1] is None
                or ahead >= self._window
                or len(order) >= 8 * self._window
                or self._is_answered(order[0][1])
            ):
                tag, requested = order.popleft()
                ahead -= requested is not None
                yield tag, None if requested is None else self._answer(requested)
        while order:
            tag, requested = order.popleft()
            yield tag, None if requested is None else self._answer(requested)

    def decode(self, place: Place) -> Decoded | Refused:
        """Decode one image; for calls from several threads, but not beside ``answers``."""
        with self._changed:
            if self._failure is not None:
                raise self._failure
            self._calls += 1
            request = _Request(self._calls, place)
            self._submit(request)
        return self._answer(request.number)

    def _submit(self, request: _Request) -> None:
        with self._changed:
            handed_out = not self._waiting  # else no worker has room, and the thread wakes when one answers
            self._waiting.append(request)
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
        """Hand out requests and collect answers, in a thread, so that a forward pass does not block the workers."""
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
                    if worker.requests and time.monotonic() - worker.since > self._limits.seconds:
                        worker.requests[0].tries = _TRIES
                        self._deaths -= 1  # not one of its own
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
                    if len(worker.requests) < (1 if isinstance(self._waiting[0].place, bytes) else most):
                        request = self._waiting.popleft()
                        if not worker.requests:
                            worker.since = time.monotonic()
                        worker.requests.append(request)
                        # A worker that died meanwhile is noticed when its pipe is read.
                        with contextlib.suppress(OSError):
                            worker.pipe.send_bytes(pickle.dumps(request.place, _PROTOCOL))

    def _take(self, worker: _Worker) -> None:
        try:
            answer = pickle.loads(worker.pipe.recv_bytes())
        except (EOFError, OSError):
            self._replace(worker, Refused("decoder crashed", "the process that decoded it died"))
            return
        self._deaths = 0
        worker.since = time.monotonic()
        with self._changed:
            self._answers[worker.requests.popleft().number] = answer
            self._changed.notify_all()

    def _replace(self, worker: _Worker, verdict: Refused) -> None:
        """Replace a process that died or hangs; its image is tried again, or gets the verdict."""
        self._workers.remove(worker)
        self._ready.discard(worker.pipe)
        _stop(worker)
        self._deaths += 1
        if self._deaths > _DEATHS_IN_A_ROW:
            raise KivukoError(
                "the processes that decode images die at once: is memory short? Try with one worker (--workers 1)."
            )
        left = list(worker.requests)
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
        with starting_processes(), _without_main():
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
    """Discard what C libraries print about broken files; skipped files are listed at the end."""
    with contextlib.suppress(OSError), open(os.devnull, "wb") as nowhere:  # noqa: PTH123
        os.dup2(nowhere.fileno(), 2)


def _stop(worker: _Worker) -> None:
    with contextlib.suppress(OSError):
        worker.pipe.close()
    worker.process.kill()
    worker.process.join()
