"""Batched entropic transport: Kivuko against its peers, in one run, on the same inputs, to the same tolerance.

``python -m benchmarks.transport [--quick | --full] [--resume]`` writes ``transport.json``, ``transport.md`` and
``transport_growth.svg`` to ``benchmarks/results/``. What has been measured is written after every cell.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.machine import describe_machine
from benchmarks.transport_contenders import TOLERANCE, Contender, contenders, missing
from benchmarks.transport_grid import Extent, extent
from benchmarks.transport_growth import growth_chart
from benchmarks.transport_inputs import TokenBank, build
from benchmarks.transport_measure import measure
from benchmarks.transport_memory import measure_memory
from benchmarks.transport_table import report
from kivuko.files import write_text

RESULTS = Path(__file__).parent / "results"
# Only batches whose problems differ in size can be taken apart by shape; that and momentum do not change the peak.
_ONLY_RAGGED = "by_shape"
_NOT_FOR_MEMORY = ("by_shape", "momentum")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark as the command line asks for it."""
    parser = argparse.ArgumentParser(prog="benchmarks.transport", description=__doc__.splitlines()[0])
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="a few cells, under two minutes")
    size.add_argument("--full", action="store_true", help="the whole grid, hours")
    parser.add_argument("--resume", action="store_true", help="go on with a run that was stopped")
    asked = parser.parse_args(arguments)
    chosen = extent("quick" if asked.quick else "full" if asked.full else "normal")
    run(chosen, RESULTS, resume=asked.resume)


def run(
    chosen: Extent, folder: Path, *, resume: bool = False, only: Sequence[str] | None = None,
    bank: TokenBank | None = None, console: Console | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Measure what is asked for, write the results, and return them as they stand in ``transport.json``.

    Args:
        chosen: the cells.
        folder: where the results go; made if need be.
        resume: whether to keep what a run with the same settings, on the same machine, left there.
        only: names of the contenders that take part; None: all.
        bank: where token vectors come from; None: the emoji world.
        console: where progress is shown.
    """
    console = console or Console(stderr=True)
    folder.mkdir(parents=True, exist_ok=True)
    present, absent = _present([one for one in contenders() if only is None or one.name in only])
    for label, reason in absent.items():
        console.print(f"left out: {label}: {reason}")
    results = _start(chosen, folder, resume, absent, console)
    done = {json.dumps(cell) for cell in results["cells"]}
    todo = [cell for cell in chosen.cells if json.dumps(cell.record()) not in done]
    measured = {(row["contender"], row["batch"], row["size"]) for row in results["memory"]}
    columns = (TextColumn("{task.description:<60}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress, torch.no_grad():
        bar = progress.add_task("reading text", total=len(chosen.cells) + len(chosen.memory), completed=len(done))
        for cell in todo:
            inputs = build(cell.kind, cell.batch, cell.n, cell.m, bank)
            taking_part = [one for one in present if _ONLY_RAGGED not in one.name or cell.kind == "ragged"]
            results["rows"] += measure(
                cell, inputs, taking_part, chosen.allows(cell), results["rows"],
                lambda label, cell=cell: progress.update(bar, description=f"{cell}: {label}"),
            )  # fmt: skip
            results["cells"].append(cell.record())
            _write(results, folder)
            progress.advance(bar)
        for cell in chosen.memory:
            inputs = build(cell.kind, cell.batch, cell.n, cell.m, bank)
            for one in present:
                key = (one.name, cell.batch, cell.size)
                if key not in measured and not any(part in one.name for part in _NOT_FOR_MEMORY):
                    progress.update(bar, description=f"memory, {cell}: {one.label}")
                    results["memory"].append(measure_memory(one, cell, inputs))
            _write(results, folder)
            progress.advance(bar)
    results["finished"] = True
    _write(results, folder)
    console.print(f"written: {folder / 'transport.md'}")
    return results


def _present(asked: Sequence[Contender]) -> tuple[list[Contender], dict[str, str]]:
    """Return the contenders that can take part, and why the others cannot."""
    reasons = {one.label: missing(one) for one in asked}
    absent = {label: reason for label, reason in reasons.items() if reason is not None}
    return [one for one in asked if one.label not in absent], absent


def _start(chosen: Extent, folder: Path, resume: bool, absent: dict[str, str], console: Console) -> dict[str, Any]:
    """Return the results to add to: those of the run to go on with, or none yet."""
    fresh: dict[str, Any] = {
        "machine": describe_machine(), "date": time.strftime("%Y-%m-%d"), "tolerance": TOLERANCE,
        "budget": chosen.budget, "key_budget": chosen.key_budget, "absent": absent, "finished": False,
        "cells": [], "rows": [], "memory": [],
    }  # fmt: skip
    file = folder / "transport.json"
    if not (resume and file.is_file()):
        return fresh
    earlier: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    if all(earlier.get(name) == fresh[name] for name in ("machine", "tolerance", "budget", "key_budget", "absent")):
        return earlier
    console.print("the earlier run had other settings, packages or another machine: starting afresh")
    return fresh


def _write(results: dict[str, Any], folder: Path) -> None:
    """Write all three files, each in one step, so that a run that is killed leaves whole ones."""
    write_text(folder / "transport.json", json.dumps(results, indent=1) + "\n")
    chart = growth_chart(results["rows"])
    if chart is not None:
        write_text(folder / "transport_growth.svg", chart)
    write_text(folder / "transport.md", report(results, chart is not None))


if __name__ == "__main__":
    main()
