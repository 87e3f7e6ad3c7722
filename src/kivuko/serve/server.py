"""Running the application: the socket, the messages, and an end without noise."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Callable
from typing import Any

import uvicorn

from kivuko.errors import UsageError
from kivuko.serve.app import create_app
from kivuko.serve.settings import Settings

_KEEP_ALIVE_S, _LAST_REQUESTS_S = 15, 5
_LONGEST_HEAD = 32 * 1024  # bytes of a request's line and headers
_MOST_CONNECTIONS = 1024


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 takes a free one.

    Raises:
        UsageError: the port is taken or not allowed, or the host is no address of this machine.
    """
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(place)
            listening.listen(_MOST_CONNECTIONS)
        except OSError:
            listening.close()
            raise
    except (OSError, UnicodeError) as problem:
        number = getattr(problem, "errno", None)
        if number == errno.EADDRINUSE:
            raise UsageError(f"--port {port}: is taken by another program. Choose another, or 0 for any.") from problem
        if number in (errno.EACCES, errno.EPERM):
            raise UsageError(f"--port {port}: needs more rights than you have. Choose one above 1023.") from problem
        raise UsageError(f"--host {host}: is no address of this machine. Try 127.0.0.1.") from problem
    return listening


def address(listening: socket.socket) -> str:
    """Return where a browser on this machine finds a listening socket."""
    host, port = listening.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1"
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def run(searcher: Any, settings: Settings, listening: socket.socket, ready: Callable[[], None]) -> None:
    """Serve until interrupted; ``ready`` is called once requests are answered."""
    config = uvicorn.Config(
        create_app(searcher, settings), log_level="warning", access_log=False, server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S, timeout_graceful_shutdown=_LAST_REQUESTS_S,
        limit_concurrency=_MOST_CONNECTIONS, h11_max_incomplete_event_size=_LONGEST_HEAD, http="h11", ws="none",
        lifespan="on",
    )  # fmt: skip

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            ready()

    with contextlib.suppress(KeyboardInterrupt):  # how a server is ended
        Server(config).run(sockets=[listening])
