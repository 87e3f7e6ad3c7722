"""Search: latency, throughput, recall and memory, of the index alone and of the whole server, beside a peer.

``python -m benchmarks.search [--quick] [--model kivuko-demo/model]`` writes ``search.json`` and ``search.md`` to
``benchmarks/results/``, anew after every part.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.machine import describe_machine
from benchmarks.search_measure import exact_neighbors, measure_index, timed_clients
from benchmarks.search_served import measure_served, missing_peer
from benchmarks.search_table import report
from benchmarks.search_vectors import Corpus, load_corpus
from kivuko.encoders.model import encode_texts
from kivuko.files import write_text
from kivuko.search.index import IndexPlan, choose_index

RESULTS = Path(__file__).parent / "results"
CLIENTS = (1, 8, 32)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark as the command line asks for it."""
    parser = argparse.ArgumentParser(prog="benchmarks.search", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="2,000 and 20,000 vectors, a second each")
    parser.add_argument("--model", type=Path, default=Path("kivuko-demo/model"), help="made by 'kivuko demo'")
    parser.add_argument("--sizes", type=int, nargs="+", help="numbers of vectors")
    parser.add_argument(
        "--indexes", nargs="+", default=[], metavar="KIND:STORAGE[:WIDTH,WIDTH...]",
        help="further indexes at each size, such as hnsw:int8 or ivf:float16:32,64,128",
    )  # fmt: skip
    parser.add_argument("--no-serve", action="store_true", help="the index alone")
    parser.add_argument("--seconds", type=float, help="for each number of clients")
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args(arguments)
    sizes = asked.sizes or ([2_000, 20_000] if asked.quick else [2_000, 100_000, 1_000_000])
    seconds = asked.seconds or (1.0 if asked.quick else 10.0)
    run(load_corpus(asked.model), sizes, asked.indexes, seconds, asked.out, serve=not asked.no_serve)


def run(
    corpus: Corpus, sizes: Sequence[int], indexes: Sequence[str], seconds: float, folder: Path, *, serve: bool = True,
    queries: int = 500, console: Console | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Measure, write the results, and return them as they stand in ``search.json``."""
    import faiss

    console = console or Console(stderr=True, markup=False)
    folder.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {
        "machine": describe_machine(), "date": time.strftime("%Y-%m-%d"), "faiss": faiss.__version__,
        "command": shlex.join(["python", "-m", "benchmarks.search", *sys.argv[1:]]), "peer": missing_peer(),
        "finished": False, "index": [], "served": [], "encode": [],
    }  # fmt: skip
    texts = corpus.sentences(queries, "index queries")
    asked = encode_texts(corpus.model, texts)
    for clients in CLIENTS:
        ask = timed_clients(lambda place: encode_texts(corpus.model, [texts[place % queries]]), clients, seconds)
        results["encode"].append(ask)
    _write(results, folder)
    with tempfile.TemporaryDirectory() as place:
        for count in sizes:
            vectors = corpus.vectors(count)
            exact = exact_neighbors(vectors, asked)
            file = Path(place) / "vectors.npy"
            np.save(file, vectors)
            own = choose_index(count, vectors.shape[1])
            for plan, widths in [(own, []), *map(_parsed, indexes)]:
                console.print(f"{count:,} vectors: {plan}")
                results["index"] += measure_index(file, asked, exact, plan, CLIENTS, seconds, widths)
                _write(results, folder)
    for count in sizes if serve else ():
        results["served"] += measure_served(corpus, count, CLIENTS, seconds, console.print)
        _write(results, folder)
    results["finished"] = True
    _write(results, folder)
    console.print(f"written: {folder / 'search.md'}")
    return results


def _parsed(text: str) -> tuple[IndexPlan, list[int]]:
    kind, storage, *widths = text.split(":")
    return choose_index(1, 1, kind, storage), [int(width) for width in ",".join(widths).split(",") if width]


def _write(results: dict[str, Any], folder: Path) -> None:
    """Write both files, each in one step, so that a run that is killed leaves whole ones."""
    write_text(folder / "search.json", json.dumps(results, indent=1) + "\n")
    write_text(folder / "search.md", report(results))


if __name__ == "__main__":
    main()
