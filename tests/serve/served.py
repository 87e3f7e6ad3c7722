"""A server in a thread of this process, on a free port of loopback."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

from kivuko.serve.app import address, create_app, listen
from kivuko.serve.connections import Server, server_config
from kivuko.serve.guard import Settings

PATIENCE_S = 60


@contextlib.contextmanager
def served(searcher: Any, settings: Settings | None = None, port: int = 0) -> Iterator[str]:
    """Yield the address of a running server, without a slash at its end; it is stopped afterward."""
    listening: socket.socket = listen("127.0.0.1", port)
    config = server_config(create_app(searcher, settings))
    config.timeout_graceful_shutdown = 1
    started = threading.Event()
    server = Server(config, started.set)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        assert started.wait(PATIENCE_S), "the server does not start"
        yield address(listening).rstrip("/")
    finally:
        server.should_exit = True
        thread.join(PATIENCE_S)
        listening.close()
