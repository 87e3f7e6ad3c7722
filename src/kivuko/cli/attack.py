"""``kivuko attack``: measure a model's robustness to attacks on queries and images, per language."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from kivuko.cli.options import CODE, DEVICE, MODEL, SEED, Command, Several, config_option, sources_options
from kivuko.text import pluralize


def _is_attack(word: str) -> bool:
    """Return True for an attack, perhaps misspelled, which has a colon or a known name; False for a model's folder."""
    from kivuko.perturbations.catalog import is_catalog_name

    name = word.partition(":")[0]
    return is_catalog_name(word) or (":" in word and "/" not in name and name != "open_clip")


@click.command("attack", cls=Command)
@click.argument("model", type=MODEL, required=False)
@click.option(
    "-a", "--attack", "attacks", cls=Several, follows=_is_attack, metavar="ATTACKS", help="Attacks; --list shows all."
)
@click.option("--list", "list_only", is_flag=True, help="List the attacks with their parameters, and stop.")
@click.option(
    "--dataset", default="emoji", show_default=True, metavar="SET",
    help="emoji, or an image-caption set such as captions:photos.tsv or xm3600:PATH.",
)  # fmt: skip
@click.option(
    "-l", "--languages", cls=Several, follows=CODE, metavar="CODES",
    help="Language codes, such as sw so.  [default: the model's own]",
)  # fmt: skip
@click.option("--split", type=click.Choice(["validation", "test"]), default="test", show_default=True)
@click.option(
    "--captions", type=click.Choice(["every", "first"]), default="every", show_default=True,
    help="Every caption of an image is a query, or the first.",
)  # fmt: skip
@click.option("--skip-missing", is_flag=True, help="Leave out images of a caption set that cannot be read.")
@click.option(
    "--queries", type=click.IntRange(min=1),
    help="Attack this many queries of each language, drawn by concept or image.  [default: all]",
)  # fmt: skip
@click.option(
    "--crafted", type=click.Choice(["own", "english", "both"]),
    help="Perturb images against the query itself, or against its English text in the teacher's vectors, and see "
    "whether that harms the search in the other languages.  [default: as in each attack, else own]",
)  # fmt: skip
@click.option("--seed", type=SEED, default=0, show_default=True, help="Of everything that attacks draw.")
@DEVICE
@click.option("--batch-size", type=click.IntRange(min=1), help="Texts that are encoded together.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes that decode images of a caption set.")
@click.option(
    "--records", type=click.Path(path_type=Path),
    help="JSON Lines file.  [default: attacks-SET.jsonl in MODEL/evaluation]",
)  # fmt: skip
@click.option(
    "--examples", type=click.Path(path_type=Path),
    help="Parquet file: the changes of each query, ranks before and after.  [default: next to the records]",
)  # fmt: skip
@click.option("--images", type=click.Path(path_type=Path), help="Folder for the perturbed images, as PNG files.")
@sources_options
@config_option
def command(
    model: Path | str | None, attacks: tuple[str, ...], list_only: bool, dataset: str,
    languages: tuple[str, ...], examples: Path | None, **options: Any,
) -> None:  # fmt: skip
    """Measure MODEL clean and under attacks on its queries and on the images it searches.

    An attack is a name with parameters, or package.module:Class for an attack of your own. Several values with bars
    between them (in quotes, for the shell) are tried one after another; eps is a radius on the pixel scale from 0 to 1.

    \b
    Examples:
      kivuko attack --list
      kivuko attack kivuko-demo/model --attack typo:edits=2 pgd:eps=2/255
      kivuko attack kivuko-demo/model --attack "typo:edits=0|1|2|4" --languages sw mr
      kivuko attack kivuko-demo/model --attack apgd:eps=1/255,steps=50 --queries 100 --crafted both
      kivuko attack my-model --dataset captions:photos.tsv --attack typo:edits=2 apgd:eps=2/255
    """
    if not list_only and model is None:
        raise click.UsageError("Missing argument 'MODEL'.", click.get_current_context())
    if not list_only and not attacks:
        raise click.UsageError("Missing option '--attack'.", click.get_current_context())
    from kivuko.progress import out as screen

    if list_only:
        from kivuko.evaluation.tables import catalog_table

        screen.print(catalog_table())
        return
    from kivuko.evaluation.attack.examples import examples_path
    from kivuko.evaluation.attack.run import attack

    assert model is not None
    typed = shlex.join(["kivuko", *sys.argv[1:]])
    report = attack(
        model, dataset, attacks, languages=languages or None, examples=examples, command=typed, **options
    )  # fmt: skip
    for table in report.tables(max(80, screen.width)):
        screen.print(table)
    for line in report.lines():
        screen.print(line)
    screen.print(f"{pluralize(len(report.records), 'record')}: {report.path}", soft_wrap=True)
    if report.path is not None:
        place = examples or examples_path(report.path)
        screen.print(f"{pluralize(len(report.examples), 'attacked example')}: {place}", soft_wrap=True)
