"""Connections of the server: how many there may be, how long they may be idle, and an end that nothing delays."""

import asyncio
import logging
import os
import signal
import threading
import time
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from kivuko.serve.guard import LARGEST_HEAD

HEAD_S = 10  # for the head of a request, from the connection or its first byte on
KEEP_ALIVE_S = 15  # from an answer to the next request
BACKLOG = 128  # connections that wait to be accepted
_MOST_CONNECTIONS = 1000
_RESERVED = 5 * BACKLOG + 100  # descriptors: of connections that are accepted before others are closed; of files, pipes
_LAST_REQUESTS_S, _END_S = 5, 12  # from a signal: to cancel requests; to end the process whatever it does
_MOST_LINES, _LINES_S = 50, 10.0  # lines of the log in so many seconds


def most_connections() -> int:
    """Return how many connections leave this process enough file descriptors, whose limit is raised where it is low."""
    try:
        import resource
    except ImportError:  # not on Windows, which has no such limit
        return _MOST_CONNECTIONS
    needed = _MOST_CONNECTIONS + _RESERVED
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        wanted = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return max(16, wanted - _RESERVED)
    return _MOST_CONNECTIONS


class Connection(H11Protocol):
    """A connection that is closed when it idles for too long, or when another needs its place and it has no request."""

    most = _MOST_CONNECTIONS
    _head_timer: asyncio.TimerHandle | None = None
    _idle_since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait_for_head()
        if len(self.connections) > self.most:
            here = [one for one in self.connections if isinstance(one, Connection) and not one.transport.is_closing()]
            if len(here) > self.most:
                idle = [one for one in here if one.idle and one is not self]
                min(idle, key=lambda one: one._idle_since, default=self).transport.abort()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self.idle:
            self._stop_timer()
        elif self._head_timer is None:  # the head of another request has begun; more of it does not prolong its time
            self._wait_for_head()

    def on_response_complete(self) -> None:
        self._idle_since = time.monotonic()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    @property
    def idle(self) -> bool:
        """True while there is no request whose head has arrived and which is not answered."""
        return self.cycle is None or self.cycle.response_complete

    def _wait_for_head(self) -> None:
        self._idle_since = time.monotonic()
        self._head_timer = self.loop.call_later(HEAD_S, self.timeout_keep_alive_handler)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


class LogLimit(logging.Filter):
    """Passes so many lines in some seconds, and counts the others, so that no client can fill the disk with a log."""

    def __init__(self) -> None:
        super().__init__()
        self._began, self._lines = 0.0, 0

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError):
            return False  # of requests that the end of the server cancels
        now = time.monotonic()
        if now - self._began > _LINES_S:
            left_out, self._began, self._lines = max(0, self._lines - _MOST_LINES), now, 0
            if left_out:
                record.msg = f"{record.getMessage()} (and {left_out:,} more lines before it)"
                record.args = ()
        self._lines += 1
        return self._lines <= _MOST_LINES


class Server(uvicorn.Server):
    """A server that calls ``ready`` once it answers, and ends soon after a signal."""

    def __init__(self, config: uvicorn.Config, ready: Any) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # A thread that is inside a model or a library cannot be stopped, and the interpreter would wait for it.
        end = threading.Timer(_END_S, os._exit, (128 + signal.SIGTERM if sig == signal.SIGTERM else 130,))
        end.daemon = True
        end.start()
        if hasattr(signal, "setitimer"):  # for where no thread of Python runs any more
            signal.setitimer(signal.ITIMER_REAL, _END_S + 1)
        super().handle_exit(sig, frame)


def server_config(app: Any) -> uvicorn.Config:
    """Return the configuration of a server of ``app``."""
    Connection.most = most_connections()
    return uvicorn.Config(
        app, log_config=None, log_level="warning", access_log=False, server_header=False, http=Connection, ws="none",
        timeout_keep_alive=KEEP_ALIVE_S, timeout_graceful_shutdown=_LAST_REQUESTS_S, backlog=BACKLOG, lifespan="on",
        h11_max_incomplete_event_size=LARGEST_HEAD,
    )  # fmt: skip
