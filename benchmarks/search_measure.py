"""One measurement of an index in a process of its own: build time, memory, recall, latency and throughput."""

from __future__ import annotations

import multiprocessing
import resource
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import Interference
from kivuko.search import faiss_index
from kivuko.search.index import FlatIndex, Index, IndexPlan, new_index

K = 10
_BATCH = 16_384
Row = dict[str, Any]


def measure_index(
    vectors: Path, queries: np.ndarray, exact: np.ndarray, plan: IndexPlan, clients: Sequence[int], seconds: float,
    widths: Sequence[int],
) -> list[Row]:  # fmt: skip
    """Build an index over saved vectors, then search it; one row for each number of clients and each search width.

    Args:
        vectors: file of unit vectors, float32 [n, dim].
        queries: unit vectors [q, dim]; ``exact``: ids of their nearest, int64 [q, K].
        clients: threads that search at once, each one query after another.
        widths: IVF's cells looked into, or HNSW's efSearch; empty: Kivuko's own choice.
    """
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_measure, (vectors, queries, exact, plan, tuple(clients), seconds, tuple(widths)))


def exact_neighbors(vectors: np.ndarray, queries: np.ndarray, among: np.ndarray | None = None) -> np.ndarray:
    """Return the nearest by exact float32 search, int64 [queries, K]; ``among``: ids to search (None: all)."""
    best = np.full((len(queries), K), -np.inf, dtype=np.float32)
    ids = np.full((len(queries), K), -1, dtype=np.int64)
    for start in range(0, len(vectors), 65_536):
        block = FlatIndex(vectors.shape[1])
        part = np.asarray(vectors[start : start + 65_536])
        block.add(np.arange(start, start + len(part)), part)
        scores, found = block.search(queries, K, among)
        scores, found = np.concatenate([best, scores], axis=1), np.concatenate([ids, found], axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :K]
        best, ids = np.take_along_axis(scores, order, axis=1), np.take_along_axis(found, order, axis=1)
    return ids


def built(vectors: np.ndarray, plan: IndexPlan) -> Index:
    """Return an index of all vectors, under their row numbers, trained and filled as Kivuko does it."""
    index = new_index(plan, vectors.shape[1], len(vectors))
    if isinstance(index, faiss_index.FaissIndex):
        step = max(1, len(vectors) // max(10_000, faiss_index.POINTS_PER_CELL * faiss_index.cells(len(vectors))))
        index.train(np.asarray(vectors[::step]))
    for start in range(0, len(vectors), _BATCH):
        part = np.asarray(vectors[start : start + _BATCH])
        index.add(np.arange(start, start + len(part)), part)
    return index


def _measure(
    file: Path, queries: np.ndarray, exact: np.ndarray, plan: IndexPlan, clients: Sequence[int], seconds: float,
    widths: Sequence[int],
) -> list[Row]:  # fmt: skip
    vectors = np.load(file, mmap_mode="r")
    before = _anonymous_mib()
    others, started = Interference(), time.perf_counter()
    index = built(vectors, plan)
    told: Row = {
        "vectors": len(vectors), "kind": plan.kind, "storage": plan.storage, "build_s": time.perf_counter() - started,
        "build_others": others.share(), "index_mib": _file_mib(index),
        "held_mib": _anonymous_mib() - before, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }  # fmt: skip
    rows = []
    for width in widths or (None,):
        if width is not None:
            faiss_index._PROBES = faiss_index._SEARCH_WIDTH = width
        found = np.concatenate([index.search(query[None], K)[1] for query in queries])
        recall = recall_of(found, exact)
        for number in clients:
            timed = timed_clients(lambda place: index.search(queries[place % len(queries)][None], K), number, seconds)
            rows.append({**told, "width": width, "recall": recall, **timed})
    return rows


def recall_of(found: np.ndarray, exact: np.ndarray) -> float:
    """Return the mean share of the exact neighbors that were found; both: ids, int64 [queries, K]."""
    return float(np.mean([len(set(a) & set(b)) / K for a, b in zip(found.tolist(), exact.tolist(), strict=True)]))


def _file_mib(index: Index) -> float:
    with tempfile.TemporaryDirectory() as folder:
        index.save(Path(folder, "index"))
        return Path(folder, "index").stat().st_size / 2**20


def timed_clients(ask: Callable[[int], object], clients: int, seconds: float) -> Row:
    """Let so many clients ask one thing after another for a while; latencies in ms, and queries per second."""
    waits: list[list[float]] = [[] for _ in range(clients)]
    errors: list[str] = []
    begin, end = threading.Barrier(clients + 1), [0.0]

    def work(number: int) -> None:
        begin.wait()
        place = number
        while True:  # once at least, however late this thread gets its turn
            asked = time.perf_counter()
            try:
                ask(place)
            except Exception as problem:
                errors.append(f"{type(problem).__name__}: {problem}")
            waits[number].append(time.perf_counter() - asked)
            place += clients
            if time.perf_counter() >= end[0]:
                return

    threads = [threading.Thread(target=work, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    others = Interference()
    started = time.perf_counter()
    end[0] = started + seconds
    begin.wait()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - started
    milliseconds = 1000 * np.concatenate([np.array(own) for own in waits])
    return {
        "clients": clients, "queries": len(milliseconds), "p50_ms": float(np.percentile(milliseconds, 50)),
        "p99_ms": float(np.percentile(milliseconds, 99)), "per_second": len(milliseconds) / took,
        "errors": len(errors), "first_error": errors[0] if errors else None, "others": others.share(),
    }  # fmt: skip


def _anonymous_mib() -> float:
    """Return the memory that this process holds apart from mapped files, where the system tells."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon")), 0.0)
