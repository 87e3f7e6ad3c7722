"""``kivuko evaluate``: measure how well a model retrieves, per language."""

from pathlib import Path
from typing import Any

import click

from kivuko.cli.options import MODEL, PATH, Command, config_option, dataset_options, sources_options
from kivuko.cli.output import show, terminal_width, typed_command
from kivuko.text import pluralize


@click.command("evaluate", cls=Command)
@click.argument("model", type=MODEL)
@dataset_options
@click.option("--alone", is_flag=True, help="The model alone, without the English teacher and random weights.")
@click.option(
    "--ignore-identical-ids", is_flag=True,
    help="Of a text collection: leave out, of each query, the document that has the query's id.",
)  # fmt: skip
@click.option(
    "--records", type=PATH,
    help="JSON Lines file.  [default: in MODEL/evaluation, named after the data set]",
)  # fmt: skip
@sources_options
@config_option
def command(model: Path | str, languages: tuple[str, ...], **options: Any) -> None:
    """Measure MODEL beside the English teacher (the ceiling) and random weights (the floor).

    \b
    Examples:
      kivuko evaluate kivuko-demo/model --dataset emoji --languages sw so fil mr
      kivuko evaluate kivuko-demo/model --dataset emoji:phrases
      kivuko evaluate my-model --dataset xm3600:data/xm3600 --languages sw fil quz
      kivuko evaluate my-model --dataset captions:photos/captions.tsv,photos -l sw
      kivuko evaluate my-model --dataset tico19:data/tico19
    """
    from kivuko.evaluation.evaluate import evaluate

    result = evaluate(model, languages=languages or None, command=typed_command(), **options)
    show(*result.tables(terminal_width()), *result.lines())
    show(f"{pluralize(len(result.records), 'record')}: {result.path}")
    if runs := result.run_paths():
        show(f"{pluralize(len(runs), 'TREC run')}: {', '.join(map(str, runs))}")
