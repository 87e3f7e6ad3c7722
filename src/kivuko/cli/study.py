"""``kivuko study``: research questions as experiments."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kivuko.cli.options import PATH, Command, Several, config_option, languages_option, sources_options, study_options
from kivuko.cli.output import show

if TYPE_CHECKING:
    from kivuko.evaluation.records import Record
    from kivuko.studies.engine import Study


@click.group("study")
def command() -> None:
    """Run a research question as an experiment over seeds."""


@command.command("low-resource", cls=Command)
@study_options(
    "low-resource.jsonl",
    "A few runs in two minutes, to see that all works; proves nothing.",
    "Ten seeds, and 30 pairs too.",
)
@languages_option
@sources_options
@config_option
@click.pass_context
def low_resource(ctx: click.Context, /, **options: Any) -> None:
    """Compare recipes on languages with little bitext: recipes × bitext sizes × seeds.

    Every finished run is kept in RECORDS.runs; the same command resumes a study that was stopped. Run again when
    it is finished, it only gathers the records.

    \b
    Examples:
      kivuko study low-resource --quick              two minutes
      kivuko study low-resource                      under an hour on two cores
      kivuko study low-resource --recipe mse optical --sizes 100 all --seeds 3
      kivuko study low-resource --recipe mine.toml contrastive
      kivuko study low-resource --dataset tico19:tico19/ --quick
      kivuko study low-resource --dataset tico19:tico19/ --student multilingual-e5-small
      kivuko report low-resource.jsonl
    """
    from kivuko.studies.low_resource import LOW_RESOURCE

    records = _run(ctx, LOW_RESOURCE, options)
    settings = dict.fromkeys((one.dataset, one.scoring) for one in records)
    shown = [at for at in settings if at != ("emoji-text", "cosine")]  # a table less than the page has
    tables = [means_table(records, *setting) for setting in shown]
    _print(tables, records, options["records"])


@command.command("robustness", cls=Command)
@study_options(
    "robustness.jsonl", "A few systems and attacks in four minutes; proves nothing.",
    "Ten seeds, and 100 and all pairs too.",
)  # fmt: skip
@click.option(
    "-a", "--attack", "attacks", cls=Several, metavar="ATTACKS",
    help="Attacks besides the study's, named as for 'kivuko attack': for example package.module:Class.",
)  # fmt: skip
@click.option("--only-attacks", is_flag=True, help="Run only the attacks of --attack, not the study's.")
@click.option(
    "--concepts", type=click.IntRange(min=1),
    help="Test concepts whose queries the searches and gradients of --attack attack.  [default: as the study's]",
)  # fmt: skip
@languages_option
@sources_options
@config_option
@click.pass_context
def robustness(
    ctx: click.Context, /, attacks: tuple[str, ...], only_attacks: bool, concepts: int | None, **options: Any
) -> None:
    """Does transport make low-resource image search more robust? Objectives × attacks × budgets × seeds.

    Every system is trained, then attacked: random misspellings, searches for the worst ones, noise on the images,
    perturbed pixels, and both together. Every finished system is kept in RECORDS.runs; the same command resumes a
    study that was stopped.

    \b
    Examples:
      kivuko study robustness --quick              four minutes
      kivuko study robustness                      over 90 minutes on two cores
      kivuko study robustness --recipe contrastive optical optical-robust --seeds 3
      kivuko study robustness --dataset tico19:tico19/     texts only
      kivuko study robustness --seeds 1 --only-attacks --attack apgd:eps=4/255,steps=100 --concepts 20
      kivuko report robustness.jsonl
    """
    from kivuko.studies.robustness import robustness_study

    records = _run(ctx, robustness_study(attacks, only=only_attacks, concepts=concepts), options)
    _print([attacked_table(records)], records, options["records"])


@command.command("publish", cls=Command)
@click.argument("records", type=PATH)
@click.option("--out", "folder", type=PATH, default=Path("studies"), show_default=True, help="Folder to write into.")
def publish(records: Path, folder: Path) -> None:
    """Write the RECORDS of a study compressed, with per-query scores, examples and their SHA-256 sums.

    \b
    Examples:
      kivuko study publish low-resource.jsonl
      kivuko report studies/low-resource.jsonl.gz
    """
    from kivuko.studies.engine import publish_study

    place = publish_study(records, folder)
    show(f"published: {place}", f"sums: {place.with_name(place.name.removesuffix('.jsonl.gz') + '.sha256')}")


def _run(ctx: click.Context, study: Study, options: dict[str, Any]) -> list[Record]:
    from kivuko.studies.engine import run_study

    default = ctx.get_parameter_source("languages") == click.core.ParameterSource.DEFAULT
    languages = None if default else options.pop("languages")
    options = {name: value for name, value in options.items() if name not in ("languages", "no_translation")}
    return run_study(study, languages=languages, translation=not ctx.params["no_translation"], **options)


def _print(tables: Sequence[Any], records: Sequence[Record], path: Path) -> None:
    show(*tables, f"{len(records):,} records: {path}", f"Next: kivuko report {shlex.quote(str(path))}")


def means_table(records: Sequence[Record], dataset: str, scoring: str) -> Any:
    """Return the low-resource mean test MAP over seeds, an objective per row and a size per column."""
    condition = (dataset, scoring, "test", "low-resource", "headline", "MAP")
    values: dict[tuple[str, Any], list[float]] = {}
    for one in records:
        if (one.dataset, one.scoring, one.split, one.language, one.subset, one.measure) == condition:
            values.setdefault((one.objective, one.bitext_size), []).append(one.value)
    sizes = sorted({size for _, size in values if size is not None})
    columns = {None: "no bitext", **{size: f"{size:,}" for size in sizes}}
    return _table(f"{dataset}, {scoring}: low-resource mean test MAP by pairs per language", columns, values)


def attacked_table(records: Sequence[Record]) -> Any:
    """Return low-resource mean MAP at the largest bitext, an objective per row, clean and under a few attacks."""
    from kivuko.report.formatting import budget_label
    from kivuko.report.results import attack_unit

    largest = max((one.bitext_size for one in records if one.bitext_size is not None), default=None)
    values: dict[tuple[str, Any], list[float]] = {}
    budgets: dict[str, float] = {}
    for one in records:
        condition = (one.split, one.language, one.measure, one.bitext_size, not one.model.endswith("+emoji-robust"))
        if condition == ("test", "low-resource", "MAP", largest, True):
            values.setdefault((one.objective, (one.attack, one.budget)), []).append(one.value)
        if one.attack and one.budget is not None and one.attack.partition(":")[0] in _IN_TABLE:
            budgets[one.attack] = max(one.budget, budgets.get(one.attack, 0.0))
    columns: dict[Any, str] = {(None, None): "clean"}
    for attack, budget in budgets.items():
        columns[attack, budget] = f"{_short(attack)}\n{budget_label(attack_unit(attack), budget)}"
    size = "" if largest is None else f", {largest:,} pairs per language"
    return _table(f"low-resource mean test MAP under attack{size}", columns, values)


_IN_TABLE = ("typo", "greedy", "gaussian-noise", "apgd", "apgd-english", "apgd-own")


def _short(attack: str) -> str:
    """Name an attack in a narrow column; its whole label is in the records."""
    name = attack.partition(":")[0]
    return name + (" english" if "crafted=english" in attack else " own" if name == "apgd" else "")


def _table(title: str, columns: dict[Any, str], values: dict[tuple[str, Any], list[float]]) -> Any:
    """Return the means of ``values[objective, column]``."""
    from kivuko.evaluation.tables import compact_table

    table = compact_table(title)
    table.add_column("objective", no_wrap=True)
    for heading in columns.values():
        table.add_column(heading, justify="right")
    for objective in dict.fromkeys(name for name, _ in values):
        cells = (values.get((objective, column)) for column in columns)
        table.add_row(objective, *("" if own is None else f"{sum(own) / len(own):.3f}" for own in cells))
    return table
