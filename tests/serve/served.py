"""A server in a thread of this process, on a free port of loopback."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import uvicorn

from kivuko.serve.app import address, create_app, listen
from kivuko.serve.guard import Settings

PATIENCE_S = 60


@contextlib.contextmanager
def served(searcher: Any, settings: Settings | None = None, port: int = 0) -> Iterator[str]:
    """Yield the address of a running server, without a slash at its end; it is stopped afterward."""
    app = create_app(searcher, settings)
    listening: socket.socket = listen("127.0.0.1", port)
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, http="h11", ws="none", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    started = threading.Event()
    startup = server.startup

    async def noted(*arguments: Any, **named: Any) -> None:
        await startup(*arguments, **named)
        started.set()

    server.startup = noted  # type: ignore[method-assign]
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        assert started.wait(PATIENCE_S), "the server does not start"
        yield address(listening).rstrip("/")
    finally:
        server.should_exit = True
        thread.join(PATIENCE_S)
        listening.close()
