"""``kivuko study``: research questions as experiments."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kivuko.cli.options import SpacedValues, languages_option, sources_options

if TYPE_CHECKING:
    from kivuko.evaluation import Record
    from kivuko.studies.low_resource.bench import Bench
    from kivuko.studies.low_resource.grid import Grid, Size

_LISTS = ("-r", "--recipe", "--sizes")  # options that take several values; the command has no arguments of its own


class _Listed(SpacedValues):
    """Also takes ``--sizes 100 300 all`` and ``--recipe mse optical``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See click; says the option's name again before each further value."""
        spelled, current = list[str](), ""
        for position, word in enumerate(args):
            if word.startswith("-"):
                current = word if word in _LISTS else ""
            elif current and args[position - 1] != current:
                spelled.append(current)
            spelled.append(word)
        return super().parse_args(ctx, spelled)


@click.group("study", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Run a research question as an experiment over seeds."""


@command.command("low-resource", cls=_Listed)
@click.option(
    "-r", "--recipe", "recipes", multiple=True, metavar="NAME|FILE",
    help="Recipes' names or files; several.  [default: a set with and without transport]",
)  # fmt: skip
@click.option(
    "--sizes", multiple=True, metavar="N|all",
    help="Sentence pairs per language; several.  [default: 100 300 1000 all]",
)  # fmt: skip
@click.option("--seeds", type=click.IntRange(1, 100), help="Number of seeds.  [default: 5]")
@click.option("--steps", type=click.IntRange(min=1), help="Steps of every recipe.  [default: 200 to 600, by size]")
@click.option(
    "--workers", type=click.IntRange(1, 256), help="Processes, one core each.  [default: the number of cores]"
)
@click.option(
    "--translator", metavar="NAME|FOLDER",
    help="A translation model for translate-test, in place of those trained on the bitext.",
)  # fmt: skip
@click.option("--no-translation", is_flag=True, help="Leave out translate-test.")
@click.option("--quick", is_flag=True, help="A few runs in two minutes, to see that all works; proves nothing.")
@click.option("--larger", is_flag=True, help="Ten seeds, and 30 pairs too.")
@click.option(
    "--records", type=click.Path(path_type=Path), default=Path("low-resource.jsonl"), show_default=True,
    help="JSON Lines file.",
)  # fmt: skip
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
                grid, bench, place, command=shlex.join(["kivuko", *sys.argv[1:]]), workers=workers or _cores(),
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
    from kivuko.distill.recipe import load_recipe
    from kivuko.errors import UsageError
    from kivuko.languages import resource_groups
    from kivuko.studies.low_resource import grid as grids

    quick, larger, translator = options["quick"], options["larger"], options["translator"]
    if quick and larger:
        raise UsageError("--quick and --larger contradict each other: choose one.")
    if translator and options["no_translation"]:
        raise UsageError("--translator and --no-translation contradict each other: choose one.")
    if translator is not None and translator.startswith((".", "~", "/")) and not Path(translator).expanduser().is_dir():
        raise UsageError(f"{translator}: no such model folder. Name a folder or a translation model on the hub.")
    usual = grids.QUICK_RECIPES if quick else grids.LARGER_RECIPES if larger else grids.RECIPES
    names = dict.fromkeys(options["recipes"] or usual)
    recipes = [load_recipe(name) for name in names]
    make = grids.quick_grid if quick else grids.larger_grid if larger else lambda given: grids.Grid(tuple(given))
    grid = make(recipes)
    named: dict[str, Any] = {"steps": options["steps"]} if options["steps"] else {}
    if options["seeds"]:
        named["seeds"] = tuple(range(options["seeds"]))
    if options["sizes"]:
        named["sizes"] = _sizes(options["sizes"])
    if ctx.get_parameter_source("languages") != click.core.ParameterSource.DEFAULT:
        named["languages"] = options["languages"]
    if options["no_translation"]:
        named["translation"] = None
    grid = replace(grid, translator=translator, **named)
    if not resource_groups(grid.languages)["low-resource"]:
        raise UsageError("none of the languages is a low-resource one: add one, for example --languages sw so.")
    return grid


def _sizes(given: Sequence[str]) -> tuple[Size, ...]:
    """Read ``100 300 all``, also with commas."""
    from kivuko.errors import UsageError

    words = [word for one in given for word in one.replace(",", " ").split()]
    for word in words:
        if word != "all" and not (word.isdecimal() and len(word) <= 18 and int(word) > 0):
            raise UsageError(f"--sizes {word[:40]}: give a number of pairs per language, at least 1, or 'all'.")
    return tuple(dict.fromkeys(None if word == "all" else int(word) for word in words))


def _bench(world: Any, grid: Grid) -> Bench:
    from kivuko.cli.progress import bars
    from kivuko.encoders.bundle import quiet
    from kivuko.encoders.teacher import load_teacher
    from kivuko.studies.low_resource.bench import asks_for_words, make_bench

    with quiet():
        teacher = load_teacher()
    with bars() as progress:
        task = progress.add_task("teacher", total=None, figures="sentences")
        return make_bench(
            world, grid.languages, teacher, words=asks_for_words(grid.recipes),
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )  # fmt: skip


def _cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _means_table(records: Sequence[Record], dataset: str, scoring: str) -> Any:
    """Return the low-resource mean test MAP over seeds, an objective per row and a size per column."""
    from kivuko.report.tables import compact_table

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
