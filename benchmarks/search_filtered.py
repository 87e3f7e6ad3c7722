"""Filtered search: recall and latency of each kind of index when only a share of its vectors passes a filter.

``python -m benchmarks.search_filtered [--sizes 1000000] [--model kivuko-demo/model]`` writes ``search_filtered.json``
and ``search_filtered.md`` to ``benchmarks/results/``. Two filters for each share: vectors drawn at random, and the
vectors nearest to a random direction, which for most queries are unlike what they look for.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import Interference, describe_machine
from benchmarks.page import page, table
from benchmarks.search_measure import K, built, exact_neighbors, recall_of
from benchmarks.search_vectors import load_corpus
from kivuko.encoders.model import encode_texts
from kivuko.files import write_text
from kivuko.search.index import Index, IndexPlan

RESULTS = Path(__file__).parent / "results"
SHARES = (0.5, 0.05, 0.005)
LEAST_RECALL, MOST_TIME = 0.95, 3.0  # relative to the search without a filter, for filters drawn at random
Row = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> None:
    """Build each index, search it without and with filters, and write the results."""
    parser = argparse.ArgumentParser(prog="benchmarks.search_filtered", description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=Path("kivuko-demo/model"), help="made by 'kivuko demo'")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000_000], help="numbers of vectors")
    parser.add_argument("--indexes", nargs="+", default=["hnsw:float16", "ivf:float16"], metavar="KIND:STORAGE")
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    corpus = load_corpus(options.model)
    queries = encode_texts(corpus.model, corpus.sentences(options.queries, "index queries"))
    results: dict[str, Any] = {
        "machine": describe_machine(), "date": time.strftime("%Y-%m-%d"), "rows": [],
        "command": shlex.join(["python", "-m", "benchmarks.search_filtered", *sys.argv[1:]]),
    }  # fmt: skip
    for count in options.sizes:
        vectors = corpus.vectors(count)
        filters = list(_filters(vectors))
        exact = [exact_neighbors(vectors, queries, among) for _, _, among in filters]
        for kind, storage in (name.split(":") for name in options.indexes):
            started = time.perf_counter()
            index = built(vectors, IndexPlan(kind, storage))
            seconds = time.perf_counter() - started
            for (name, share, among), nearest in zip(filters, exact, strict=True):
                row = {"vectors": count, "index": f"{kind}, {storage}", "build_s": seconds, "filter": name}
                results["rows"].append({**row, "share": share, **_timed(index, queries, nearest, among)})
                options.out.mkdir(parents=True, exist_ok=True)
                write_text(options.out / "search_filtered.json", json.dumps(results, indent=1) + "\n")
                write_text(options.out / "search_filtered.md", report(results))
                print(results["rows"][-1], flush=True)


def _filters(vectors: np.ndarray) -> Iterable[tuple[str, float, np.ndarray | None]]:
    """Yield name, share and ids (ascending; None: all) of each filter."""
    generator = np.random.default_rng(0)
    count = len(vectors)
    yield "none", 1.0, None
    for share in SHARES:
        yield "random", share, np.flatnonzero(generator.random(count) < share)
    near = vectors @ vectors[generator.integers(count)]
    for share in SHARES:
        yield "alike", share, np.sort(np.argpartition(-near, int(count * share))[: int(count * share)])


def _timed(index: Index, queries: np.ndarray, exact: np.ndarray, among: np.ndarray | None) -> Row:
    """Search one query after another, twice; return recall, and the latencies of the second time in ms."""
    others, found, waits = Interference(), [], []
    for query in (*queries, *queries):
        started = time.perf_counter()
        found.append(index.search(query[None], K, among)[1])
        waits.append(1000 * (time.perf_counter() - started))
    waits = waits[len(queries) :]
    return {
        "recall": recall_of(np.concatenate(found[: len(queries)]), exact), "p50_ms": float(np.percentile(waits, 50)),
        "p99_ms": float(np.percentile(waits, 99)), "others": others.share(),
    }  # fmt: skip


def report(results: dict[str, Any]) -> str:
    """Return the Markdown page of a run."""
    base = {(row["vectors"], row["index"]): row for row in results["rows"] if row["filter"] == "none"}
    body, missed = [], []
    for row in results["rows"]:
        plain = base[row["vectors"], row["index"]]
        recall, slower = row["recall"] / plain["recall"], row["p50_ms"] / plain["p50_ms"]
        if row["filter"] == "random" and (recall < LEAST_RECALL or slower > MOST_TIME):
            missed.append(f"{row['index']} at {row['share']:.1%} of {row['vectors']:,}")
        body.append(
            [f"{row['vectors']:,}, {row['index']}", row["filter"], f"{row['share']:.1%}", f"{row['recall']:.3f}",
             f"{recall:.3f}", f"{row['p50_ms']:.2f}", f"{slower:.2f}", f"{row['p99_ms']:.2f}"]
        )  # fmt: skip
    head = ["vectors, index", "filter", "pass", "recall@10", "relative", "p50, ms", "relative", "p99, ms"]
    answer = f"**not** met by {'; '.join(missed)}" if missed else "met"
    parts = [
        f"**The bar** (filters drawn at random: recall@10 of at least {LEAST_RECALL} x and p50 of at most "
        f"{MOST_TIME:g} x the search without a filter) is {answer}.",
        table(head, body),
        "{processor}, {cores} cores, {memory_gib} GiB. ".format(**results["machine"])
        + f"{results['date']}. `{results['command']}`",
    ]
    return page("Filtered search", finished=True, parts=parts)


if __name__ == "__main__":
    main()
