"""``kivuko attack``: measure a model's robustness to attacks on queries and images, per language."""

from pathlib import Path
from typing import Any

import click

from kivuko.cli.options import MODEL, PATH, SEED, Command, Several, config_option, dataset_options, sources_options
from kivuko.cli.output import show, terminal_width, typed_command
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
@dataset_options
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
@click.option(
    "--records", type=PATH,
    help="JSON Lines file.  [default: attacks-SET.jsonl in MODEL/evaluation]",
)  # fmt: skip
@click.option(
    "--examples", type=PATH,
    help="Parquet file: the changes of each query, ranks before and after.  [default: next to the records]",
)  # fmt: skip
@click.option("--images", type=PATH, help="Folder for the perturbed images, as PNG files.")
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
    if list_only:
        from kivuko.evaluation.tables import catalog_table

        show(catalog_table())
        return
    from kivuko.evaluation.attack.examples import examples_path
    from kivuko.evaluation.attack.run import attack

    assert model is not None
    report = attack(
        model, dataset, attacks, languages=languages or None, examples=examples, command=typed_command(), **options
    )  # fmt: skip
    show(*report.tables(terminal_width()), *report.lines())
    show(f"{pluralize(len(report.records), 'record')}: {report.path}")
    if report.path is not None:
        place = examples or examples_path(report.path)
        show(f"{pluralize(len(report.examples), 'attacked example')}: {place}")
