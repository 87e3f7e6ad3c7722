"""Many silent, slow and hostile connections: the server keeps answering others, and ends when it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time

import httpx
import pytest
from served import served
from test_limits import progressive_bomb

from kivuko.serve import app, connections
from kivuko.serve.connections import LogLimit, most_connections
from kivuko.serve.guard import Settings

HEAD = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n"


def connected(address: str) -> socket.socket:
    host, port = address.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=30)


def closed_after(connection: socket.socket) -> float:
    """Return how many seconds it takes until the server closes a connection, to which a letter is sent now and then."""
    began = time.monotonic()
    connection.settimeout(0.2)
    while time.monotonic() - began < 30:
        try:
            if connection.recv(1000) == b"":
                break
        except TimeoutError:
            pass
        except OSError:
            break
    return time.monotonic() - began


@pytest.mark.parametrize("sent", [b"", b"GET /hea", HEAD + b"X: a", HEAD + b"\r\n", HEAD + b"\r\n" + HEAD])
def test_idle_connections_are_closed(searcher, monkeypatch, sent):
    monkeypatch.setattr(connections, "HEAD_S", 1.0)
    monkeypatch.setattr(connections, "KEEP_ALIVE_S", 1.0)
    with served(searcher) as address, connected(address) as connection:
        connection.sendall(sent)
        assert 0.5 < closed_after(connection) < 10


def test_a_head_that_trickles_in_is_cut_off(searcher, monkeypatch):
    monkeypatch.setattr(connections, "HEAD_S", 1.0)
    with served(searcher) as address, connected(address) as connection:
        connection.sendall(HEAD + b"X: ")
        began, connection_open = time.monotonic(), True
        while connection_open and time.monotonic() - began < 20:
            time.sleep(0.1)
            try:
                connection.sendall(b"a")
            except OSError:
                connection_open = False
        assert not connection_open
        assert time.monotonic() - began < 10


def test_silent_connections_shut_nobody_out(searcher, monkeypatch):
    monkeypatch.setattr(connections, "most_connections", lambda: 40)
    with served(searcher) as address:
        silent = [connected(address) for _ in range(120)]
        for path in ("/health", "/api/about"):
            assert httpx.get(address + path, timeout=30).status_code == 200
        time.sleep(0.5)
        open_still = 0
        for connection in silent:
            connection.setblocking(False)
            try:
                connection.recv(1)
            except BlockingIOError:
                open_still += 1
            except OSError:
                pass
            connection.close()
        assert open_still <= 40


def test_bodies_that_never_come_shut_nobody_out(searcher):
    with served(searcher, Settings(max_requests=5)) as address, contextlib.ExitStack() as stack:
        head = HEAD.replace(b"GET /health", b"POST /api/search") + b"Content-Type: application/json\r\n"
        slow = [stack.enter_context(connected(address)) for _ in range(20)]
        for connection in slow:
            connection.sendall(head + b"Content-Length: 100\r\n\r\n{")
        time.sleep(0.5)
        for _ in range(3):
            assert httpx.get(f"{address}/api/search?q=moto", timeout=30).status_code == 200
            assert httpx.post(f"{address}/api/search", json={"query": "moto"}, timeout=30).status_code == 200
        assert slow[0].recv(4096).split()[1] == b"408"


def test_connections_stay_below_the_limit_of_descriptors(monkeypatch):
    monkeypatch.setattr(resource, "setrlimit", lambda kind, limits: None)
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (256, 1024))
    assert most_connections() == 1024 - 5 * connections.BACKLOG - 100
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert most_connections() == 1000
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (64, 64))
    assert most_connections() == 16


@pytest.fixture
def many_descriptors():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] < 4096:
        pytest.skip("this process may not open so many connections")
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_the_log_cannot_be_flooded():
    limit = LogLimit()
    lines = [logging.LogRecord("x", logging.WARNING, "", 0, "line %d", (number,), None) for number in range(10_000)]
    assert sum(limit.filter(line) for line in lines) == 50
    limit._began -= 60
    assert limit.filter(lines[7])
    assert lines[7].getMessage() == "line 7 (and 9,950 more lines before it)"
    canceled = (asyncio.CancelledError, asyncio.CancelledError(), None)
    assert not limit.filter(logging.LogRecord("x", logging.ERROR, "", 0, "failed", (), canceled))


def test_the_log_of_a_server_is_limited(searcher, monkeypatch):
    handler = logging.StreamHandler()
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    monkeypatch.setattr(app.Server, "run", lambda server, sockets: None)
    with app.listen("127.0.0.1", 0) as listening:
        app.run(searcher, Settings(), listening, lambda: None)
    assert [type(one) for one in handler.filters] == [LogLimit]


@pytest.mark.usefixtures("many_descriptors")
def test_a_burst_of_connections_leaves_descriptors_and_sigterm_ends_the_server_soon(place):
    """In one process, since it takes seconds to start."""
    server = subprocess.Popen(
        [sys.executable, "-m", "kivuko", "serve", str(place / "images.index"), "--port", "0"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024)),
    )  # fmt: skip
    try:
        address = re.search(r"http://127\.0\.0\.1:\d+", server.stdout.readline())[0]
        port = int(address.rpartition(":")[2])
        with contextlib.ExitStack() as stack:
            for _ in range(3000):
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex(("127.0.0.1", port))
            assert httpx.get(f"{address}/health", timeout=30).status_code == 200
        form = {"image": ("x.jpg", progressive_bomb(2000, 4000), "image/jpeg")}

        def upload() -> None:
            with contextlib.suppress(httpx.HTTPError):
                httpx.post(f"{address}/api/search/image", files=form, timeout=60)

        threads = [threading.Thread(target=upload) for _ in range(3)]
        threads.append(threading.Thread(target=lambda: connected(address).recv(1)))
        for thread in threads:
            thread.start()
        time.sleep(2)
        began = time.monotonic()
        server.send_signal(signal.SIGTERM)
        printed = server.communicate(timeout=60)[0]  # the processes that decode hold the pipe open, too
        assert time.monotonic() - began < 15
        assert "Too many open files" not in printed
    finally:
        server.kill()
