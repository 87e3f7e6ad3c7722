"""``kivuko study robustness``: what attacks leave of each objective's search."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kivuko.cli.options import (
    Command,
    check_languages,
    check_options,
    cores,
    grid_changes,
    languages_option,
    sources_options,
    study_options,
)

if TYPE_CHECKING:
    from kivuko.evaluation import Record
    from kivuko.studies.robustness.grid import RobustnessGrid
    from kivuko.studies.robustness.inputs import RobustnessInputs


@click.command("robustness", cls=Command)
@study_options(
    "robustness.jsonl", "A few systems and attacks in four minutes; proves nothing.",
    "Ten seeds, and 100 and all pairs too.",
)  # fmt: skip
@languages_option
@sources_options
@click.pass_context
def command(ctx: click.Context, /, records: Path, workers: int | None, **options: Any) -> None:
    """Does transport make low-resource image search more robust? Objectives × attacks × budgets × seeds.

    Every system is trained, then attacked: random misspellings, searches for the worst ones, noise on the images,
    perturbed pixels, and both together. Every finished system is kept in RECORDS.runs; a study that was stopped goes on
    with the same command.

    \b
    Examples:
      kivuko study robustness --quick              four minutes
      kivuko study robustness                      within 90 minutes on two cores
      kivuko study robustness --recipe contrastive optical optical-robust --seeds 3
      kivuko report robustness.jsonl
    """
    from kivuko.cli.data import load_world
    from kivuko.cli.progress import console, study_bar
    from kivuko.cli.progress import out as screen
    from kivuko.studies.low_resource.study import Place
    from kivuko.studies.robustness.protocol import STUDY
    from kivuko.studies.robustness.study import run_robustness

    grid = _grid(ctx, options)
    place = Place(records, STUDY)
    place.check()
    world = load_world(grid.systems.languages, options["cldr"], options["font"])
    total = len(grid.runs(world.bitext(grid.systems.languages, "train")))
    bench = _bench(world, grid)
    with study_bar() as bar:
        try:
            found = run_robustness(
                grid, bench, place, command=shlex.join(["kivuko", *sys.argv[1:]]), workers=workers or cores(),
                watch=bar, told=lambda line: console.print(f"note: {line}", soft_wrap=True),
            )  # fmt: skip
        except KeyboardInterrupt:
            console.print(f"stopped: {bar.finished} of {total} systems are finished, in {place.runs}", soft_wrap=True)
            raise
    screen.print(_table(found, grid))
    screen.print(f"{len(found):,} records: {records}", soft_wrap=True)
    screen.print(f"Next: kivuko report {shlex.quote(str(records))}", soft_wrap=True)


def _grid(ctx: click.Context, options: dict[str, Any]) -> RobustnessGrid:
    from kivuko.studies.robustness import grid as grids
    from kivuko.training.recipe import load_recipe

    check_options(options)
    quick = options["quick"]
    recipes = [
        load_recipe(name)
        for name in dict.fromkeys(options["recipes"] or (grids.QUICK_RECIPES if quick else grids.RECIPES))
    ]
    make = grids.quick_grid if quick else grids.larger_grid if options["larger"] else grids.standard_grid
    grid = make(recipes)
    grid = replace(grid, systems=replace(grid.systems, **grid_changes(ctx, options)))
    check_languages(grid.systems)
    return grid


def _bench(world: Any, grid: RobustnessGrid) -> RobustnessInputs:
    from kivuko.cli.progress import bars
    from kivuko.encoders.model import quiet
    from kivuko.encoders.teacher import load_teacher
    from kivuko.studies.low_resource.inputs import asks_for_words
    from kivuko.studies.robustness.inputs import make_robustness_bench

    with quiet():
        teacher = load_teacher()
    with bars() as progress:
        sentences = progress.add_task("teacher", total=None, figures="sentences")
        images = progress.add_task("attacking images", total=None, figures="")
        return make_robustness_bench(
            world, grid.systems.languages, teacher, grid.plan, words=asks_for_words(grid.systems.recipes),
            encoded=lambda done, total: progress.update(sentences, completed=done, total=total),
            attacked=lambda done, total: progress.update(images, completed=done, total=total),
        )  # fmt: skip


def _table(records: Sequence[Record], grid: RobustnessGrid) -> Any:
    """Return low-resource mean MAP at the largest bitext, an objective per row, clean and under a few attacks."""
    from kivuko.evaluation.tables import compact_table

    shown = _shown(records)
    largest = max((one.bitext_size for one in records if one.bitext_size is not None), default=None)
    found: dict[tuple[str, Any], list[float]] = {}
    for one in records:
        asked = (one.split, one.language, one.measure, one.bitext_size, one.model.endswith("+emoji"))
        if asked == ("test", "low-resource", "MAP", largest, True):
            found.setdefault((one.objective, (one.attack, one.budget)), []).append(one.value)
    size = "" if largest is None else f", {largest:,} pairs per language"
    table = compact_table(f"low-resource mean test MAP under attack{size}")
    table.add_column("objective", no_wrap=True)
    for attack, budget in shown:
        table.add_column("clean" if attack is None else f"{attack} {_budget(budget)}", justify="right")
    for objective in dict.fromkeys(name for name, _ in found):
        values = (found.get((objective, attack)) for attack in shown)
        table.add_row(objective, *("" if own is None else f"{sum(own) / len(own):.3f}" for own in values))
    return table


def _shown(records: Sequence[Record]) -> list[tuple[str | None, float | None]]:
    """Return the clean condition and a few attacks, each at its largest budget."""
    largest: dict[str, float] = {}
    for one in records:
        if one.attack in ("typo", "greedy", "gaussian-noise", "apgd-english", "apgd-own") and one.budget is not None:
            largest[one.attack] = max(one.budget, largest.get(one.attack, 0.0))
    return [(None, None), *largest.items()]


def _budget(budget: float | None) -> str:
    if budget is None:
        return ""
    return f"{budget:g}" if budget >= 1 else f"{round(budget * 255)}/255"
