"""``kivuko evaluate``: measure how well a model retrieves, per language."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from kivuko.cli.options import CODE, Command, Several, sources_options, split_codes
from kivuko.errors import UsageError
from kivuko.languages import DEFAULT_LANGUAGES

_SPECS = (
    "emoji; xm3600:PATH, xtd:PATH, multi30k:PATH, xflickrco:PATH, wit:PATH, flickr30k200:PATH, coco:FILE, "
    "captions:FILE or webdataset:'SHARDS', each with ,IMAGES where the images lie elsewhere; ir:ID or trec:FOLDER "
    "for texts"
)


@click.command("evaluate", cls=Command)
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--dataset", default="emoji", show_default=True, metavar="SPEC", help=_SPECS + ".")
@click.option(
    "-l", "--languages", cls=Several, follows=CODE, metavar="CODES",
    help="Language codes, such as sw so.  [default: " + ",".join(DEFAULT_LANGUAGES) + " of emoji; of others, all]",
)  # fmt: skip
@click.option("--split", type=click.Choice(["validation", "test"]), default="test", show_default=True)
@click.option(
    "--captions", type=click.Choice(["every", "first"]), default="every", show_default=True,
    help="Which captions of an image are queries: figures differ, and papers use either.",
)  # fmt: skip
@click.option("--skip-missing", is_flag=True, help="Leave out images that are missing or broken, and count them.")
@click.option("--alone", is_flag=True, help="The model alone, without the English teacher and random weights.")
@click.option("--workers", type=click.IntRange(1, 64), help="Processes that decode images.  [default: one a core]")
@click.option(
    "--records",
    "records_file",
    type=click.Path(path_type=Path),
    help="JSON Lines file.  [default: in MODEL/evaluation]",
)
@sources_options
def command(
    model: Path,
    dataset: str,
    languages: tuple[str, ...],
    split: str,
    captions: str,
    skip_missing: bool,
    alone: bool,
    workers: int | None,
    records_file: Path | None,
    cldr: Path | None,
    font: Path | None,
) -> None:
    """Measure MODEL beside the English teacher (the ceiling) and random weights (the floor).

    \b
    Examples:
      kivuko evaluate kivuko-demo/model --dataset emoji --languages sw so fil mr
      kivuko evaluate my-model --dataset xm3600:data/xm3600 --languages sw fil quz
      kivuko evaluate my-model --dataset captions:photos/captions.tsv,photos -l sw
    """
    told = shlex.join(["kivuko", *sys.argv[1:]])
    if dataset == "emoji":
        from kivuko.cli.evaluate_emoji import evaluate_emoji

        codes = split_codes(languages or DEFAULT_LANGUAGES)
        evaluate_emoji(model, codes, split, records_file, cldr, font, told)
        return
    wanted = _codes(languages)
    kind = dataset.partition(":")[0]
    if kind in ("ir", "trec"):
        from kivuko.cli.evaluate_collection import evaluate_collection

        evaluate_collection(model, dataset, wanted, records_file, told)
        return
    from kivuko.datasets.captions.formats import is_caption_spec

    if not is_caption_spec(dataset):
        raise UsageError(f"--dataset {dataset}: not a set that is known. Give one of: {_SPECS}.")
    from kivuko.cli.evaluate_captions import Options, evaluate_captions

    options = Options(
        split=split, first_only=captions == "first", skip_missing=skip_missing, alone=alone, workers=workers
    )
    evaluate_captions(model, dataset, wanted, records_file, told, options)


def _codes(values: tuple[str, ...]) -> tuple[str, ...]:
    """Normalize codes, English among them: these sets have captions and texts in it; none if none is named."""
    from kivuko.languages import language

    codes = tuple(dict.fromkeys(language(code).code for value in values for code in value.replace(",", " ").split()))
    if values and not codes:
        raise UsageError("--languages names none: give codes such as sw so.")
    return codes
