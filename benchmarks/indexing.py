"""Indexing: how much longer it takes than decoding and the forward pass back to back, and whether memory grows.

``python -m benchmarks.indexing [--images 5000] [--memory 10000 100000] [--model FOLDER]`` writes ``indexing.json``
and ``indexing.md`` to ``benchmarks/results/``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.indexing_images import write_images
from benchmarks.indexing_memory import measure_memory
from benchmarks.indexing_setting import RawWork, default_tower, load_tower, raw_work
from benchmarks.machine import Interference, describe_machine, usable_cores
from kivuko.files import write_text
from kivuko.search.building import index_images
from kivuko.search.decoding import share_cores
from kivuko.search.encoding import TowerEncoder
from kivuko.search.sources import FolderSource

RESULTS = Path(__file__).parent / "results"
BAR = 1.25
SIZE, SMALL = (320, 240), (64, 48)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark as the command line asks for it."""
    share_cores()  # as ``kivuko index`` does before it imports torch
    parser = argparse.ArgumentParser(prog="benchmarks.indexing", description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=5000, help="to be timed, JPEG of 320 x 240")
    parser.add_argument("--rounds", type=int, default=3, help="of raw work and indexing in turn")
    parser.add_argument("--memory", type=int, nargs="*", default=[10_000, 100_000], help="sizes; none: leave it out")
    parser.add_argument("--workers", type=int, default=usable_cores())
    parser.add_argument("--model", type=Path, default=default_tower(), help="model or image tower")
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args(arguments)
    run(asked.images, asked.rounds, asked.memory, asked.workers, asked.model, asked.out)


def run(
    images: int, rounds: int, memory: Sequence[int], workers: int, model: Path, folder: Path,
    console: Console | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Measure, write the results, and return them as they stand in ``indexing.json``."""
    console = console or Console(stderr=True)
    results: dict[str, Any] = {
        "machine": describe_machine(), "date": time.strftime("%Y-%m-%d"), "images": images, "size": list(SIZE),
        "workers": workers, "speed": [], "memory": [],
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as place:
        photos = Path(place) / "photos"
        write_images(photos, images, SIZE)
        files = sorted(str(file) for file in photos.rglob("*.jpg"))
        encoder = TowerEncoder(load_tower(model))
        with raw_work(encoder, workers, files[0]) as raw:
            for number in range(rounds):
                results["speed"].append(
                    _round(raw, encoder, photos, files, Path(place) / f"{number}.gallery", workers, model)
                )
                console.print(f"round {number + 1} of {rounds}: {_ratio(results['speed'][-1]):.2f}")
        for count in memory:
            own = Path(place) / f"memory-{count}"
            write_images(own, count, SMALL)
            found = measure_memory(own, Path(place) / f"memory-{count}.gallery", model, workers)
            results["memory"].append({"images": count, **found})
            console.print(f"{count:,} images: peak {found['peak_mib']} MiB")
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "indexing.json", json.dumps(results, indent=1) + "\n")
    write_text(folder / "indexing.md", report(results))
    console.print(f"written: {folder / 'indexing.md'}")
    return results


def _round(
    raw: RawWork, encoder: TowerEncoder, photos: Path, files: list[str], gallery: Path, workers: int, model: Path
) -> dict[str, Any]:
    """Time the raw work and the whole of indexing, one after the other."""
    watch = Interference()
    cost = raw.measure(files)
    began = time.perf_counter()
    summary = index_images(encoder, [FolderSource(photos)], gallery, model=model, workers=workers)
    seconds = time.perf_counter() - began
    if summary.images != len(files):
        raise RuntimeError(f"{summary.images} images indexed of {len(files)}")
    return {"decoding": cost.decoding, "forward": cost.forward, "indexing": seconds, "interference": watch.share()}


def _ratio(row: dict[str, Any]) -> float:
    return float(row["indexing"] / (row["decoding"] + row["forward"]))


def report(results: dict[str, Any]) -> str:
    """Return the results as Markdown."""
    rows, count = results["speed"], results["images"]
    lines = [
        "# Indexing", "",
        f"`python -m benchmarks.indexing`, {results['date']}, {results['machine']['processor']}, "
        f"{results['machine']['cores']} cores, {results['workers']} decoding processes.", "",
        f"## {count:,} JPEG of {results['size'][0]} x {results['size'][1]}", "",
        "| round | decoding, s | forward, s | back to back, s | indexing, s | images/s | ratio | others on the cores |",
        "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for number, row in enumerate(rows, start=1):
        both, others = row["decoding"] + row["forward"], row["interference"]
        cells = [
            str(number), f"{row['decoding']:.1f}", f"{row['forward']:.1f}", f"{both:.1f}", f"{row['indexing']:.1f}",
            f"{count / row['indexing']:,.0f}", f"{_ratio(row):.2f}", "?" if others is None else f"{others:.0%}",
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    if rows:
        middle = statistics.median(map(_ratio, rows))
        verdict = "met" if middle <= BAR else "not met"
        lines += [
            "",
            f"Median ratio **{middle:.2f}**; the bar of {BAR} is {verdict}. Indexing also hashes, makes thumbnails,",
        ]
        lines += ["sends pixels to the process that encodes, and writes; forking its processes counts."]
    if results["memory"]:
        lines += ["", "## Peak memory", "", "| images | MiB, process tree |", "|---|---|"]
        lines += [f"| {row['images']:,} | {row['peak_mib'] or '?'} |" for row in results["memory"]]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
