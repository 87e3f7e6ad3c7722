"""Which of several pipes can be read: asked once for each picture, so it must cost little."""

from __future__ import annotations

import contextlib
import os
import selectors
from multiprocessing.connection import Connection, wait


class ReadyPipes:
    """A set of pipes to wait for.

    ``multiprocessing.connection.wait`` registers every pipe anew in each call, which took as long as reading an
    answer; here they stay registered, where the system has something to register them with.
    """

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector() if os.name != "nt" else None  # there, pipes are no sockets
        self._pipes: list[Connection] = []

    def add(self, pipe: Connection) -> None:
        """Wait for this pipe too."""
        self._pipes.append(pipe)
        if self._selector is not None:
            self._selector.register(pipe, selectors.EVENT_READ)

    def discard(self, pipe: Connection) -> None:
        """Wait for this pipe no longer; call it before the pipe is closed."""
        with contextlib.suppress(ValueError):
            self._pipes.remove(pipe)
            if self._selector is not None:
                self._selector.unregister(pipe)

    def wait(self, seconds: float) -> list[Connection]:
        """Return the pipes that can be read or whose other end is closed, none after so many seconds."""
        if self._selector is None:
            return [pipe for pipe in wait(self._pipes, timeout=seconds) if isinstance(pipe, Connection)]
        return [key.fileobj for key, _ in self._selector.select(seconds)]  # type: ignore[misc]

    def close(self) -> None:
        """Let go of what the system holds."""
        if self._selector is not None:
            self._selector.close()
