"""``kivuko attack``: measure how a model stands up to attacks on queries and images, per language."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kivuko.cli.options import SEED, Command, Several, languages_option, sources_options
from kivuko.errors import ModelError, UsageError

if TYPE_CHECKING:
    from rich.progress import Progress
    from rich.table import Table

    from kivuko.evaluation.attack.victim import Victim
    from kivuko.perturbations.spec import Attack, AttackSpec


def _is_attack(word: str) -> bool:
    """Tell an attack, perhaps misspelled, from a model's folder: there is a colon in it, or it is an attack's name."""
    from kivuko.perturbations.spec import ATTACKS

    return word in ATTACKS or (":" in word and "/" not in word.partition(":")[0])


@click.command("attack", cls=Command)
@click.argument("model", type=click.Path(path_type=Path), required=False)
@click.option(
    "-a", "--attack", "attacks", cls=Several, follows=_is_attack, metavar="ATTACKS", help="Attacks; --list shows all."
)
@click.option("--list", "list_only", is_flag=True, help="List the attacks with their parameters, and stop.")
@click.option("--dataset", type=click.Choice(["emoji"]), default="emoji", show_default=True)
@languages_option
@click.option("--split", type=click.Choice(["validation", "test"]), default="test", show_default=True)
@click.option(
    "--queries", "most", type=click.IntRange(min=1),
    help="Attack this many queries of each language, drawn by concept.  [default: all]",
)  # fmt: skip
@click.option(
    "--crafted",
    type=click.Choice(["own", "english", "both"]),
    help="Perturb images against the query itself, or against its English name in the teacher's eyes, and see "
    "whether that harms the search in the other languages.  [default: as each attack says, else own]",
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Of everything that attacks draw.")
@click.option(
    "--records", "records_file", type=click.Path(path_type=Path),
    help="JSON Lines file.  [default: MODEL/evaluation/attacks.jsonl]",
)  # fmt: skip
@click.option(
    "--examples",
    "examples_file",
    type=click.Path(path_type=Path),
    help="Parquet file: what was changed for each query, ranks before and after.  [default: beside the records]",
)
@click.option("--images", type=click.Path(path_type=Path), help="Folder for the perturbed images, as PNG files.")
@sources_options
def command(
    model: Path | None,
    attacks: tuple[str, ...],
    list_only: bool,
    dataset: str,
    languages: tuple[str, ...],
    split: str,
    most: int | None,
    crafted: str | None,
    seed: int,
    records_file: Path | None,
    examples_file: Path | None,
    images: Path | None,
    cldr: Path | None,
    font: Path | None,
) -> None:
    """Measure MODEL clean and under attacks on its queries and on the images it searches.

    An attack is a name with parameters. Several values with bars between them (in quotes, for the shell) are tried
    one after another; eps is a radius on the pixel scale from 0 to 1.

    \b
    Examples:
      kivuko attack --list
      kivuko attack kivuko-demo/model --attack typo:edits=2 pgd:eps=2/255
      kivuko attack kivuko-demo/model --attack "typo:edits=0|1|2|4" --languages sw mr
      kivuko attack kivuko-demo/model --attack apgd:eps=1/255,steps=50 --queries 100 --crafted both
    """
    from kivuko.cli.progress import console
    from kivuko.cli.progress import out as screen

    if list_only:
        screen.print(catalog_table())
        return
    if model is None:
        raise click.UsageError("Missing argument 'MODEL'.", click.get_current_context())
    if not attacks:
        raise click.UsageError("Missing option '--attack'.", click.get_current_context())
    specs = _crafted(attacks, crafted)
    records = records_file or model / "evaluation" / "attacks.jsonl"
    _refuse_places(records, examples_file, images)
    victim = _victim(model, languages, split, most, seed, cldr, font)
    if unknown := [code for code in languages if code not in victim.about.languages]:
        console.print(f"note: {model} was not trained on {', '.join(unknown)}.")

    from kivuko.evaluation.attack.results import LEGEND, attack_table, overview_table
    from kivuko.evaluation.attack.runner import run_attacks, write_results
    from kivuko.evaluation.robustness import examples_path

    with _watched(len(specs) * len(languages)) as watch:
        results = run_attacks(victim, languages, specs, images=images, watch=watch)
    write_results(results, shlex.join(["kivuko", *sys.argv[1:]]), records, examples_file)
    for spec in specs:
        screen.print(attack_table(results.records, spec))
    if len(specs) > 1:
        screen.print(overview_table(results.records, specs))
    screen.print(LEGEND)
    screen.print(f"{len(results.records):,} records: {records}", soft_wrap=True)
    place = examples_file or examples_path(records)
    screen.print(f"{len(results.examples):,} attacked examples: {place}", soft_wrap=True)


def _crafted(texts: Sequence[str], crafted: str | None) -> list[AttackSpec]:
    """Read the attacks, those on images as many times as ``--crafted`` wants them."""
    from kivuko.perturbations.spec import parse_attacks

    specs = parse_attacks(texts)
    if crafted is None:
        return specs
    wanted = ("own", "english") if crafted == "both" else (crafted,)
    if not any(spec.attack.has("crafted") for spec in specs):
        raise UsageError(f"--crafted {crafted}: none of the attacks is made against a query; name one such as pgd.")
    found = [
        spec.with_value("crafted", value) if spec.attack.has("crafted") else spec for spec in specs for value in wanted
    ]
    return list(dict.fromkeys(found))


def _refuse_places(records: Path, examples: Path | None, images: Path | None) -> None:
    """Refuse places that cannot be written, before the work whose outcome they are to hold."""
    from kivuko.evaluation import per_query_path
    from kivuko.evaluation.robustness import examples_path
    from kivuko.files import refuse_unwritable

    files = [records, per_query_path(records), examples or examples_path(records)]
    for file in files:
        refuse_unwritable(file)
    if len({file.resolve() for file in files}) < len(files):
        raise UsageError(f"--examples {examples}: the records lie there. Choose another name.")
    if images is not None:
        if images.is_file():
            raise UsageError(f"--images {images}: is a file. Name a folder.")
        refuse_unwritable(images / "any.png")


def _victim(
    model: Path, languages: tuple[str, ...], split: str, most: int | None, seed: int, cldr: Path | None,
    font: Path | None,
) -> Victim:  # fmt: skip
    from kivuko.cli.data import load_world
    from kivuko.encoders.model import has_images, load_encoder, read_about
    from kivuko.evaluation.attack.victim import Victim
    from kivuko.search import emoji_vectors

    loaded, about = load_encoder(model), read_about(model)
    if about is None:
        raise ModelError(f"{model}: has no kivuko.json, so its teacher is unknown. Attack a model made by Kivuko.")
    if not has_images(loaded):
        raise ModelError(f"{model}: encodes text only, so it cannot search images. Distill it with an image tower.")
    world = load_world(languages, cldr, font)
    return Victim(loaded, about, model.resolve().name, world, emoji_vectors(loaded, world), split, most, seed)


@contextmanager
def _watched(total: int) -> Iterator[AttackBars]:
    from kivuko.cli.progress import bars

    with bars() as progress:
        yield AttackBars(progress, total)


class AttackBars:
    """Shows which attack runs on which language, how far it is, and how many are left."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._all = progress.add_task("attacks", total=total, figures="")
        self._one = progress.add_task("", total=1, figures="", visible=False)

    def began(self, attack: str, language: str) -> None:
        """See studies.attack.progress.Watch."""
        self._progress.reset(self._one, total=1, description=f"{attack}, {language}", visible=True)

    def stepped(self, done: int, total: int) -> None:
        """See studies.attack.progress.Watch."""
        self._progress.update(self._one, completed=done, total=total)

    def ended(self) -> None:
        """See studies.attack.progress.Watch."""
        self._progress.advance(self._all)


def catalog_table() -> Table:
    """Return all attacks with their parameters and defaults."""
    from kivuko.evaluation.tables import compact_table
    from kivuko.perturbations.spec import ATTACKS

    table = compact_table("attacks: name:parameter=value,...  (in brackets: default)")
    for heading in ("attack", "kind", "needs"):
        table.add_column(heading, no_wrap=True)
    table.add_column("parameters")
    table.add_column("what it does")
    for attack in ATTACKS.values():
        table.add_row(attack.name, attack.kind, attack.needs, _parameters(attack), attack.description)
    return table


def _parameters(attack: Attack) -> str:
    return ", ".join(f"{one.name} ({one.written(one.default)})" for one in attack.parameters)
