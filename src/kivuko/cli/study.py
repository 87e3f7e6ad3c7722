"""``kivuko study``: research questions as experiments."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kivuko.cli import study_robustness
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
    from kivuko.studies.low_resource.grid import Grid
    from kivuko.studies.low_resource.inputs import StudyInputs


@click.group("study")
def command() -> None:
    """Run a research question as an experiment over seeds."""


command.add_command(study_robustness.command)


@command.command("low-resource", cls=Command)
@study_options(
    "low-resource.jsonl",
    "A few runs in two minutes, to see that all works; proves nothing.",
    "Ten seeds, and 30 pairs too.",
)
@languages_option
@sources_options
@click.pass_context
def low_resource(ctx: click.Context, /, records: Path, workers: int | None, **options: Any) -> None:
    """Compare ways to teach a model languages with little bitext: recipes × bitext sizes × seeds.

    Every finished run is kept in RECORDS.runs; a study that was stopped goes on with the same command. Run again when
    it is finished, it only gathers the records.

    \b
    Examples:
      kivuko study low-resource --quick              two minutes
      kivuko study low-resource                      under an hour on two cores
      kivuko study low-resource --recipe mse optical --sizes 100 all --seeds 3
      kivuko report low-resource.jsonl
    """
    from kivuko.cli.data import load_world
    from kivuko.cli.progress import console, study_bar
    from kivuko.cli.progress import out as screen
    from kivuko.studies.low_resource.study import Place, run_study

    grid = _grid(ctx, options)
    place = Place(records)
    place.check()
    world = load_world(grid.languages, options["cldr"], options["font"])
    total = len(grid.runs(world.bitext(grid.languages, "train")))  # refuses sizes that a language does not have
    bench = _bench(world, grid)
    with study_bar() as bar:
        try:
            found = run_study(
                grid, bench, place, command=shlex.join(["kivuko", *sys.argv[1:]]), workers=workers or cores(),
                watch=bar, told=lambda line: console.print(f"note: {line}", soft_wrap=True),
            )  # fmt: skip
        except KeyboardInterrupt:
            console.print(f"stopped: {bar.finished} of {total} runs are finished, in {place.runs}", soft_wrap=True)
            raise
    for dataset, scoring in (("emoji", "cosine"), ("emoji-text", "maxsim")):
        screen.print(_means_table(found, dataset, scoring))
    screen.print(f"{len(found):,} records: {records}", soft_wrap=True)
    screen.print(f"Next: kivuko report {shlex.quote(str(records))}", soft_wrap=True)


def _grid(ctx: click.Context, options: dict[str, Any]) -> Grid:
    """Return what is to be studied: a standard, quick or larger grid, with what was named put in its place."""
    from kivuko.studies.low_resource import grid as grids
    from kivuko.training.recipe import load_recipe

    check_options(options)
    quick, larger = options["quick"], options["larger"]
    usual = grids.QUICK_RECIPES if quick else grids.LARGER_RECIPES if larger else grids.RECIPES
    recipes = [load_recipe(name) for name in dict.fromkeys(options["recipes"] or usual)]
    make = grids.quick_grid if quick else grids.larger_grid if larger else lambda given: grids.Grid(tuple(given))
    grid = replace(make(recipes), **grid_changes(ctx, options))
    check_languages(grid)
    return grid


def _bench(world: Any, grid: Grid) -> StudyInputs:
    from kivuko.cli.progress import bars
    from kivuko.encoders.model import quiet
    from kivuko.encoders.teacher import load_teacher
    from kivuko.studies.low_resource.inputs import asks_for_words, make_bench

    with quiet():
        teacher = load_teacher()
    with bars() as progress:
        task = progress.add_task("teacher", total=None, figures="sentences")
        return make_bench(
            world, grid.languages, teacher, words=asks_for_words(grid.recipes),
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )  # fmt: skip


def _means_table(records: Sequence[Record], dataset: str, scoring: str) -> Any:
    """Return the low-resource mean test MAP over seeds, an objective per row and a size per column."""
    from kivuko.evaluation.tables import compact_table

    found: dict[tuple[str, int | None], list[float]] = {}
    for one in records:
        asked = (one.dataset, one.scoring, one.split, one.language, one.subset, one.measure)
        if asked == (dataset, scoring, "test", "low-resource", "headline", "MAP"):
            found.setdefault((one.objective, one.bitext_size), []).append(one.value)
    sizes = sorted({size for _, size in found if size is not None})
    table = compact_table(f"{dataset}, {scoring}: low-resource mean test MAP by pairs per language")
    table.add_column("objective", no_wrap=True)
    for heading in ("no bitext", *(f"{size:,}" for size in sizes)):
        table.add_column(heading, justify="right", no_wrap=True)
    for objective in dict.fromkeys(name for name, _ in found):
        values = (found.get((objective, size)) for size in (None, *sizes))
        table.add_row(objective, *("" if own is None else f"{sum(own) / len(own):.3f}" for own in values))
    return table
