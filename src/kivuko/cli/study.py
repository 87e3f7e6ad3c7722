"""``kivuko study``: research questions as experiments."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from kivuko.cli.options import Share, SpacedValues, languages_option, sources_options


@click.group("study", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Run a research question as an experiment over seeds."""


@command.command("low-resource", cls=SpacedValues)
@click.option(
    "-r", "--recipe", "recipes", multiple=True, default=("optical", "sentence", "mse"), show_default=True,
    help="A recipe's name or file; the first is compared with each other one.",
)  # fmt: skip
@click.option(
    "--fraction",
    type=Share(0, 1, min_open=True),
    default=0.2,
    show_default=True,
    help="Share of the bitext.",
)
@click.option("--seeds", type=click.IntRange(2, 100), default=5, show_default=True, help="Number of seeds.")
@click.option("--steps", type=click.IntRange(min=1), help="Steps of training.  [default: the recipes']")
@click.option("--split", type=click.Choice(["validation", "test"]), default="test", show_default=True)
@click.option(
    "--records",
    type=click.Path(path_type=Path),
    default=Path("low-resource.jsonl"),
    show_default=True,
    help="JSON Lines file.",
)
@languages_option
@sources_options
def low_resource(
    recipes: tuple[str, ...],
    fraction: float,
    seeds: int,
    steps: int | None,
    split: str,
    records: Path,
    languages: tuple[str, ...],
    cldr: Path | None,
    font: Path | None,
) -> None:
    """Compare recipes on a share of the bitext, over seeds, with paired tests.

    \b
    Example (about 6 minutes on two cores):
      kivuko study low-resource --fraction 0.2 --seeds 5 --steps 400
    """
    from kivuko.cli.data import load_world
    from kivuko.cli.progress import TrainingWatch, bars
    from kivuko.cli.progress import out as screen
    from kivuko.distill.recipe import load_recipe
    from kivuko.encoders.bundle import quiet
    from kivuko.encoders.teacher import load_teacher
    from kivuko.errors import UsageError
    from kivuko.files import refuse_unwritable
    from kivuko.languages import resource_groups
    from kivuko.studies.low_resource import compare_recipes

    if len(set(recipes)) < 2:
        raise UsageError("name at least two recipes: --recipe optical --recipe mse.")
    loaded = {name: load_recipe(name) for name in recipes}
    if len({one.name for one in loaded.values()}) < len(loaded):
        raise UsageError(f"two of {', '.join(loaded)} are recipes of one name; rename a file, so that records differ.")
    if not resource_groups(languages)["low-resource"]:
        raise UsageError("none of the languages is a low-resource one: add one, for example --languages sw so.")
    refuse_unwritable(records)
    world = load_world(languages, cldr, font)
    with quiet():
        teacher = load_teacher()
    with bars() as progress:
        means, found = compare_recipes(
            world, languages, teacher, list(recipes), fraction=fraction, seeds=range(seeds), records=records,
            command=shlex.join(["kivuko", *sys.argv[1:]]), split=split, steps=steps,
            watch=lambda name, seed: TrainingWatch(progress, f"{name}, seed {seed}", loaded[name].schedule.batch_size),
        )  # fmt: skip
    screen.print(f"{fraction:.0%} of the bitext, {seeds} seeds, {split} queries: MAP, mean over low-resource languages")
    screen.print(f"{recipes[0]}: {sum(means) / len(means):.4f}  (seeds: {_listed(means)})")
    for one in found:
        screen.print(f"{one.recipe}: {sum(one.means) / len(one.means):.4f}  (seeds: {_listed(one.means)})")
        screen.print(
            f"  {recipes[0]} − {one.recipe}: {one.over_seeds.mean:+.4f}, 95 % over seeds "
            f"[{one.over_seeds.low:+.4f}, {one.over_seeds.high:+.4f}], over concepts "
            f"[{one.over_concepts.low:+.4f}, {one.over_concepts.high:+.4f}], p = {one.adjusted:.4f} "
            "(paired randomisation, Holm)",
            soft_wrap=True,
        )
    screen.print(f"records: {records}", soft_wrap=True)


def _listed(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.4f}" for value in values)
