"""``kivuko data``: build, download and describe data sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kivuko.cli.options import PATH, Command, Several, languages_option, sources_options
from kivuko.cli.output import show

if TYPE_CHECKING:
    from kivuko.datasets.emoji.world import EmojiWorld


@click.group("data")
def command() -> None:
    """Build, download and describe data sets."""


@command.command("emoji", cls=Command)
@languages_option
@sources_options
@click.option("--list", "list_only", is_flag=True, help="List the available languages, and stop.")
@click.option("--train-image-tower", is_flag=True, help="Train the image tower (10 minutes on two cores).")
@click.option(
    "--splits", cls=Several, metavar="SPLITS",
    help="Train on the images of these splits only: train, validation, test.  [default: all]",
)  # fmt: skip
@click.option("--out", type=PATH, help="Folder of the image tower.  [default: image_tower]")
@click.option("--steps", type=int, help="Steps of --train-image-tower.  [default: 3600]")
def emoji(
    languages: tuple[str, ...],
    cldr: Path | None,
    font: Path | None,
    list_only: bool,
    train_image_tower: bool,
    splits: tuple[str, ...],
    out: Path | None,
    steps: int | None,
) -> None:
    """Build the emoji world, and show its size in each language.

    \b
    Examples:
      kivuko data emoji --languages sw so mr
      kivuko data emoji --list
      kivuko data emoji --train-image-tower --out my-tower
      kivuko data emoji --train-image-tower --splits train --out unseen
    """

    if list_only:
        from rich.columns import Columns

        from kivuko.datasets.emoji.sources import available_languages, find_cldr
        from kivuko.evaluation.tables import label

        show(Columns([label(code) for code in available_languages(find_cldr(cldr))], column_first=True))
        return
    world = load_world(languages, cldr, font)
    if train_image_tower:
        from kivuko.datasets.emoji.world import SPLITS
        from kivuko.training.image_tower import make_image_tower

        tower = make_image_tower(world, out, splits=splits or SPLITS, steps=steps)
        for name, recall in tower.recall.items():
            line = ", ".join(f"R@{k} {value:.4f}" for k, value in recall.items())
            show(f"{tower.path}: English name to image, unseen views, {name}: {line}")
        return
    show(world_table(world))
    sizes = ", ".join(f"{name} {count:,}" for name, count in world.split_sizes().items())
    concepts = len({one.concept for one in world.emoji if one.split == "test"})
    show(f"{len(world.emoji):,} emoji, {len(world.images):,} distinct images; {sizes} ({concepts} test concepts).")
    show("Left out: " + ", ".join(f"{count:,} {reason}" for reason, count in world.left_out.items()) + ".")


@command.command("fetch", cls=Command)
@click.argument("name")
@click.option("--out", type=PATH, help="Folder for the data set.  [default: data/NAME]")
@click.option("--no-images", is_flag=True, help="Download only the captions.")
@click.option("--checksums", type=PATH, help="Output of sha256sum that the files must match.")
def fetch(name: str, out: Path | None, no_images: bool, checksums: Path | None) -> None:
    """Download the image-caption set NAME: xm3600, xtd, xflickrco, wit or multi30k.

    Run the same command again to resume a stopped download. Checksums are written to SHA256SUMS, and later downloads
    must match them.

    \b
    Example:
      kivuko data fetch xm3600 --out data/xm3600
      kivuko evaluate my-model --dataset xm3600:data/xm3600
    """
    from kivuko.datasets.captions.download import CHECKSUMS, SETS, fetch_set

    done = fetch_set(name, out, images=not no_images, checksums=checksums)
    counts = f"{len(done.fetched):,} files downloaded, {len(done.kept):,} present before"
    show(f"{done.folder}: {counts}. Checksums: {done.folder / CHECKSUMS}")
    show(f"License: {SETS[name].license}.")
    if SETS[name].also:
        show(f"Not downloaded: {SETS[name].also}.")


def load_world(languages: tuple[str, ...], cldr: Path | None = None, font: Path | None = None) -> EmojiWorld:
    """Build the emoji world, or load it from the cache."""
    from kivuko.datasets.emoji.world import emoji_world
    from kivuko.progress import progress_bar

    with progress_bar("drawing emoji") as report:
        return emoji_world(languages, cldr=cldr, font=font, progress=report)


def world_table(world: EmojiWorld) -> object:
    """Return a table of names, keywords, copies and split sizes per language."""
    from kivuko.evaluation.tables import compact_table, label

    table = compact_table("the emoji world")
    table.add_column("language", no_wrap=True)
    for heading in ("names", "keywords", "copies", "train", "valid.", "test", "seen", "unseen"):
        table.add_column(heading, justify="right")
    for code in world.languages:
        table.add_row(label(code), *(f"{count:,}" for count in world.counts(code)))
    table.caption = (
        "copies: names equal to the English one; seen, unseen: test queries less copies, "
        "by whether training holds every English word"
    )
    table.caption_justify = "left"
    return table
