"""Search end to end: galleries of any size, ``kivuko serve`` and the peer on them, and clients on loopback."""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.search_measure import K, Row, timed_clients
from benchmarks.search_vectors import Corpus
from kivuko.encoders.loading import image_fingerprint
from kivuko.search.decoding import Decoded
from kivuko.search.image_index import ImageIndex
from kivuko.search.items import Work
from kivuko.search.resumable_writer import IndexSpec, IndexWriter

_STARTS_WITHIN = 1800.0  # seconds; the peer reads a million items, and an index may be built
KIVUKO, PEER = "kivuko serve", "Flask + FAISS"


def make_gallery(corpus: Corpus, count: int, folder: Path) -> float:
    """Write a gallery whose images are sentences: real vectors and captions, one thumbnail; returns build seconds."""
    stream = io.BytesIO()
    Image.new("RGB", (32, 32), "white").save(stream, format="JPEG")
    vectors, texts = corpus.vectors(count), corpus.sentences(count, "gallery")
    spec = IndexSpec(image_fingerprint(corpus.model), vectors.shape[1], str(corpus.folder.absolute()), [])
    writer = IndexWriter(folder, spec)
    for start in range(0, count, 20_000):
        new = []
        for number in range(start, min(start + 20_000, count)):
            content = writer.next_content()
            key, digest = f"{number:07}", hashlib.sha256(texts[number].encode()).hexdigest()
            new.append((content, Decoded(digest, 32, 32, stream.getvalue(), {})))
            writer.see(key)
            writer.put(Work(key, b"", 1, 1, texts[number]), content)
        writer.commit(new, vectors[start : start + len(new)])
    writer.publish()
    writer.close()
    began = time.perf_counter()
    with ImageIndex(folder) as index:
        _ = index.vector_index
    return time.perf_counter() - began


def measure_served(
    corpus: Corpus, count: int, clients: Sequence[int], seconds: float, told: Callable[[str], None]
) -> list[Row]:
    """Measure both servers in turn on one gallery, with texts that neither has seen."""
    rows = []
    with tempfile.TemporaryDirectory() as place:
        gallery = Path(place) / "g.index"
        built = make_gallery(corpus, count, gallery)
        texts = iter(corpus.sentences(200_000, f"queries {count}"))
        for who in (KIVUKO, PEER):
            if who == PEER and (why := missing_peer()) is not None:
                told(f"left out: {who}: {why}")
                continue
            with _serving(who, gallery, corpus.folder) as (port, process):
                for number in clients:
                    row = _asked(who, port, texts, number, seconds)
                    rows.append({"server": who, "vectors": count, "index_s": built, **row, "peak_mib": _peak(process)})
                    told(f"{who}, {count:,}, {number} clients: p50 {row['p50_ms']:.1f} ms, {row['per_second']:.0f}/s")
    return rows


def missing_peer() -> str | None:
    """Return why the peer cannot run; None if it can."""
    try:
        import flask  # noqa: F401
    except ImportError:
        return "needs Flask: pip install 'kivuko[bench]'"
    return None


def _asked(who: str, port: int, texts: Iterator[str], clients: int, seconds: float) -> Row:
    here, lock = threading.local(), threading.Lock()

    def ask(_: int) -> None:
        with lock:
            text = next(texts)
        path, body = ("/api/search", {"query": text, "k": K}) if who == KIVUKO else (
            "/knn-service", {"text": text, "num_images": K}
        )  # fmt: skip
        connection = getattr(here, "connection", None)
        if connection is None:
            connection = here.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        found = json.loads(answer.read())
        if answer.status != 200 or len(found["hits"] if who == KIVUKO else found) != K:
            raise ValueError(f"{answer.status}: {str(found)[:200]}")

    for place in range(20):
        ask(place)  # warm
    return timed_clients(ask, clients, seconds)


@contextmanager
def _serving(who: str, gallery: Path, model: Path) -> Iterator[tuple[int, subprocess.Popen[Any]]]:
    """Run one server in a process of its own until it answers; yields its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "kivuko", "serve", str(gallery), "--model", str(model), "--port", str(port)]
    if who == PEER:
        command = [sys.executable, "-m", "benchmarks.search_peer", str(gallery), str(model), str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    try:
        until = time.monotonic() + _STARTS_WITHIN
        while True:
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{who} did not start: {' '.join(command)}")
            try:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
                connection.request("GET", "/health")
                if connection.getresponse().status == 200:
                    break
            except OSError:
                pass
            time.sleep(0.2)
        yield port, process
    finally:
        process.terminate()
        process.wait(30)


def _peak(process: subprocess.Popen[Any]) -> float | None:
    """Return the most memory that a process has held, mapped files included, in MiB."""
    try:
        lines = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), None)
