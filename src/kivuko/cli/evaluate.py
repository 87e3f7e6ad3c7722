"""``kivuko evaluate``: measure how well a model retrieves, per language."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from kivuko.cli.options import CODE, DEVICE, MODEL, Command, Several, config_option, sources_options
from kivuko.text import pluralize

_DATASETS = (
    "emoji; xm3600:PATH, xtd:PATH, multi30k:PATH, xflickrco:PATH, wit:PATH, flickr30k200:PATH, coco:FILE, "
    "captions:FILE or webdataset:'SHARDS', each with ,IMAGES if the images are elsewhere; ir:ID or trec:FOLDER "
    "for texts; package.module:Class for your own."
)


@click.command("evaluate", cls=Command)
@click.argument("model", type=MODEL)
@click.option("--dataset", default="emoji", show_default=True, metavar="SPEC", help=_DATASETS)
@click.option(
    "-l", "--languages", cls=Several, follows=CODE, metavar="CODES",
    help="Language codes, such as sw so.  [default: the model's own; without kivuko.json, the data set's]",
)  # fmt: skip
@click.option("--split", type=click.Choice(["validation", "test"]), default="test", show_default=True)
@click.option(
    "--captions", type=click.Choice(["every", "first"]), default="every", show_default=True,
    help="Which captions of an image are queries: figures differ, and papers use either.",
)  # fmt: skip
@click.option("--skip-missing", is_flag=True, help="Leave out images that are missing or broken, and count them.")
@click.option("--alone", is_flag=True, help="The model alone, without the English teacher and random weights.")
@click.option("--batch-size", type=click.IntRange(min=1), help="Texts that are encoded together.  [default: 256]")
@click.option("--workers", type=click.IntRange(1, 64), help="Processes that decode images.  [default: one a core]")
@DEVICE
@click.option(
    "--records", type=click.Path(path_type=Path),
    help="JSON Lines file.  [default: in MODEL/evaluation, named after the data set]",
)  # fmt: skip
@sources_options
@config_option
def command(model: Path | str, languages: tuple[str, ...], **options: Any) -> None:
    """Measure MODEL beside the English teacher (the ceiling) and random weights (the floor).

    \b
    Examples:
      kivuko evaluate kivuko-demo/model --dataset emoji --languages sw so fil mr
      kivuko evaluate my-model --dataset xm3600:data/xm3600 --languages sw fil quz
      kivuko evaluate my-model --dataset captions:photos/captions.tsv,photos -l sw
    """
    from kivuko.evaluation.evaluate import evaluate
    from kivuko.progress import out as screen

    typed = shlex.join(["kivuko", *sys.argv[1:]])
    result = evaluate(model, languages=languages or None, command=typed, **options)
    for table in result.tables(max(80, screen.width)):
        screen.print(table)
    for line in result.lines():
        screen.print(line, soft_wrap=True)
    screen.print(f"{pluralize(len(result.records), 'record')}: {result.path}", soft_wrap=True)
    if runs := result.run_paths():
        screen.print(f"{pluralize(len(runs), 'TREC run')}: {', '.join(map(str, runs))}", soft_wrap=True)
