"""``kivuko data``: build and look at data sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kivuko.cli.fetch import fetch
from kivuko.cli.options import Command, languages_option, sources_options

if TYPE_CHECKING:
    from kivuko.datasets.emoji import EmojiWorld
    from kivuko.search import EmojiGallery


@click.group("data")
def command() -> None:
    """Build, fetch and look at data sets."""


command.add_command(fetch)


@command.command("emoji", cls=Command)
@languages_option
@sources_options
@click.option("--list", "list_only", is_flag=True, help="List the languages that have annotations, and stop.")
@click.option("--train-image-tower", is_flag=True, help="Train the image tower anew (10 minutes on two cores).")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("image_tower"), show_default=True,
    help="Folder for the image tower that --train-image-tower makes.",
)  # fmt: skip
@click.option("--steps", type=click.IntRange(min=20), help="Steps of --train-image-tower.  [default: 3600]")
def emoji(
    languages: tuple[str, ...],
    cldr: Path | None,
    font: Path | None,
    list_only: bool,
    train_image_tower: bool,
    out: Path,
    steps: int | None,
) -> None:
    """Build the emoji world and show what is in it.

    \b
    Examples:
      kivuko data emoji --languages sw so mr
      kivuko data emoji --list
      kivuko data emoji --train-image-tower --out my-tower
    """
    from kivuko.cli.progress import out as screen

    if list_only:
        from rich.columns import Columns

        from kivuko.datasets.emoji.sources import available_languages, find_cldr
        from kivuko.evaluation.tables import label

        codes = [code for code in available_languages(find_cldr(cldr)) if code != "root"]  # what all languages share
        screen.print(Columns([label(code) for code in codes], column_first=True))
        return
    world = load_world(languages, cldr, font)
    if train_image_tower:
        from kivuko.cli.image_tower import make_image_tower

        make_image_tower(world, out, steps)
        return
    screen.print(world_table(world))
    splits = {name: sum(one.split == name for one in world.emoji) for name in ("train", "validation", "test")}
    concepts = len({one.concept for one in world.emoji if one.split == "test"})
    screen.print(
        f"{len(world.emoji):,} emoji, {len(world.images):,} distinct images; "
        + ", ".join(f"{name} {count:,}" for name, count in splits.items())
        + f" ({concepts} test concepts)."
    )
    screen.print("Left out: " + ", ".join(f"{count:,} {reason}" for reason, count in world.left_out.items()) + ".")


def load_world(languages: tuple[str, ...], cldr: Path | None = None, font: Path | None = None) -> EmojiWorld:
    """Build or read the emoji world, with a progress bar while images are drawn."""
    from kivuko.cli.progress import bars, late_task
    from kivuko.datasets.emoji import emoji_world

    with bars() as progress:
        return emoji_world(languages, cldr=cldr, font=font, progress=late_task(progress, "drawing emoji"))


def world_table(world: EmojiWorld) -> object:
    """Return a table of names, keywords, copies and split sizes per language."""
    from kivuko.evaluation.tables import compact_table, label

    table = compact_table("the emoji world")
    table.add_column("language", no_wrap=True)
    for heading in ("names", "keywords", "copies", "train", "valid.", "test", "comp.", "lexical"):
        table.add_column(heading, justify="right")
    drawn = {one.sequence for one in world.emoji}
    for code in world.languages:
        own = [annotation for sequence, annotation in world.annotations[code].items() if sequence in drawn]
        queries = {split: world.queries(code, split) for split in ("train", "validation", "test")}
        test = [query for query in queries["test"] if not query.copied]
        cells = [
            len(own), sum(len(one.keywords) for one in own),
            sum(query.copied for found in queries.values() for query in found),
            *(len(found) for found in queries.values()),
            sum(query.compositional for query in test), sum(not query.compositional for query in test),
        ]  # fmt: skip
        table.add_row(label(code), *(f"{cell:,}" for cell in cells))
    table.caption = (
        "copies: names equal to the English one; comp., lexical: test queries less copies, "
        "by whether training holds every English word"
    )
    table.caption_justify = "left"
    return table


def load_gallery(model: Any, world: EmojiWorld) -> EmojiGallery:
    """Encode the images of a world with a model, or read them from the cache; a bar shows if they must be encoded.

    Raises:
        KivukoError: see ``emoji_gallery``.
    """
    from kivuko.cli.progress import bars, late_task
    from kivuko.search import emoji_gallery

    with bars() as progress:
        return emoji_gallery(model, world, progress=late_task(progress, "encoding images"))
