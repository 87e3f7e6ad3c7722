"""Attacks on images: Kivuko against the Adversarial Robustness Toolbox, on the same towers, images and radii.

``python -m benchmarks.image_attacks [--quick | --full] [--resume] [--hardened FOLDER]`` writes
``image_attacks.json`` and ``image_attacks.md`` to ``benchmarks/results/``, anew after every cell.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.image_attacks_contenders import Contender, contenders, describe_with_art
from benchmarks.image_attacks_measure import Row, speed, strength
from benchmarks.image_attacks_setting import EXTENTS, Extent, Setting, emoji_setting, tower_folders
from benchmarks.image_attacks_table import report
from benchmarks.machine import usable_cores
from kivuko.files import sha256_of, write_text

RESULTS = Path(__file__).parent / "results"
Cell = tuple[str, str, int]  # setting, contender, radius
MakeSetting = Callable[[str], Setting]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark as the command line asks for it."""
    parser = argparse.ArgumentParser(prog="benchmarks.image_attacks", description=__doc__.splitlines()[0])
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="few images, steps and radii, about a minute")
    size.add_argument("--full", action="store_true", help="published step counts and restarts, hours")
    parser.add_argument("--resume", action="store_true", help="go on with a run that was stopped")
    parser.add_argument("--hardened", type=Path, help="folder of a hardened image tower instead of the shipped one")
    parser.add_argument("--processes", type=int, default=min(2, usable_cores()), help="that measure strength at once")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    extent = EXTENTS["quick" if asked.quick else "full" if asked.full else "normal"]
    run(extent, tower_folders(asked.hardened), RESULTS, resume=asked.resume, workers=asked.processes)


def run(
    extent: Extent, towers: Mapping[str, Path], folder: Path, *, resume: bool = False, workers: int = 1,
    only: Sequence[str] | None = None, make: MakeSetting | None = None, console: Console | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Measure, write the results, and return them as they stand in ``image_attacks.json``.

    Args:
        extent: how much.
        towers: the folder of each tower, by the setting's name; the last one is for speed.
        folder: where the results go; made if need be.
        resume: whether to keep what a run with the same settings, on the same machine, left there.
        workers: processes that measure strength side by side, one thread each; speed is always measured alone.
        only: names of the contenders that take part; None: all.
        make: what makes a setting of its name, in this process; None: the emoji world.
        console: where progress is shown.
    """
    console = console or Console(stderr=True)
    folder.mkdir(parents=True, exist_ok=True)
    asked = [one for one in contenders() if only is None or one.name in only]
    absent = {one.label: reason for one in asked if (reason := one.missing()) is not None}
    present = [one for one in asked if one.label not in absent]
    for label, reason in absent.items():
        console.print(f"left out: {label}: {reason}")
    results = _start(extent, towers, absent, folder, resume, console)
    results["processes"] = 1 if make else workers  # those at work while strength was measured
    done = {(row["setting"], row["contender"], row["radius"]) for row in results["strength"]}
    # The cells that tell most come first: a run that is stopped early has something to say.
    places = [(name, radius) for name in reversed(list(towers)) for radius in reversed(extent.radii)]
    cells = [(name, one.name, radius) for name, radius in places for one in present]
    todo = [cell for cell in cells if cell not in done]
    timed = len(extent.parts) * extent.rounds * len(present)
    columns = (TextColumn("{task.description:<40}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("reading", total=len(cells) + timed, completed=len(done))
        if not results["speed"] and towers:
            setting = make(list(towers)[-1]) if make else _setting(list(towers)[-1], towers, extent.images)

            def show(what: str) -> None:
                progress.update(bar, description=what, advance=1)

            results["speed"] = speed(present, setting, extent, show)
            _write(results, folder)
        progress.update(bar, description="strength", completed=timed + len(done))
        for row in _strengths(todo, extent, towers, workers, make):
            results["strength"].append(row)
            _write(results, folder)
            progress.advance(bar)
    results["finished"] = True
    _write(results, folder)
    console.print(f"written: {folder / 'image_attacks.md'}")
    return results


def _strengths(
    cells: Sequence[Cell], extent: Extent, towers: Mapping[str, Path], workers: int, make: MakeSetting | None
) -> Iterator[Row]:
    """Measure all cells, side by side where there are workers and settings that they can make themselves."""
    if make is not None or workers < 2:
        for cell in cells:
            setting = make(cell[0]) if make else _setting(cell[0], towers, extent.images)
            yield strength(_contender(cell[1]), setting, cell[2], extent)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        futures = [pool.submit(_strength_here, cell, extent, dict(towers)) for cell in cells]
        for future in as_completed(futures):
            yield future.result()


def _strength_here(cell: Cell, extent: Extent, towers: dict[str, Path]) -> Row:
    return strength(_contender(cell[1]), _setting(cell[0], towers, extent.images), cell[2], extent)


_SETTINGS: dict[tuple[str, int], Setting] = {}


def _setting(name: str, towers: Mapping[str, Path], images: int) -> Setting:
    """Return a setting of the emoji world; each process makes it once."""
    if (name, images) not in _SETTINGS:
        _SETTINGS[name, images] = emoji_setting(name, towers[name], images)
    return _SETTINGS[name, images]


def _contender(name: str) -> Contender:
    return next(one for one in contenders() if one.name == name)


def _start(
    extent: Extent, towers: Mapping[str, Path], absent: dict[str, str], folder: Path, resume: bool, console: Console
) -> dict[str, Any]:
    """Return the results to add to: those of the run to go on with, or none yet."""
    files = {name: place / "model.safetensors" for name, place in towers.items()}
    weights = {name: sha256_of(file) for name, file in files.items() if file.is_file()}
    size = {**asdict(extent), "radii": list(extent.radii)}  # as JSON gives it back
    fresh: dict[str, Any] = {
        "machine": describe_with_art(), "date": time.strftime("%Y-%m-%d"), "extent": size, "towers": weights,
        "absent": absent, "finished": False, "strength": [], "speed": [],
    }  # fmt: skip
    file = folder / "image_attacks.json"
    if not (resume and file.is_file()):
        return fresh
    earlier: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    if all(earlier.get(name) == fresh[name] for name in ("machine", "extent", "towers", "absent")):
        return earlier
    console.print("the earlier run had other settings, towers, packages or another machine: starting afresh")
    return fresh


def _write(results: dict[str, Any], folder: Path) -> None:
    """Write both files, each in one step, so that a run that is killed leaves whole ones."""
    write_text(folder / "image_attacks.json", json.dumps(results, indent=1) + "\n")
    write_text(folder / "image_attacks.md", report(results))


if __name__ == "__main__":
    main()
