"""``kivuko index``: build or update an index of images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kivuko.cli.options import DEVICE, MODEL, PATH, config_option, sources_options
from kivuko.cli.output import show, show_json
from kivuko.errors import UsageError
from kivuko.text import pluralize

if TYPE_CHECKING:
    from kivuko.search.building import Summary

_Skipped = list[tuple[str, str, str]]  # key, reason, detail


@click.command("index")
@click.argument("model", type=MODEL, required=False)
@click.argument("source", nargs=-1, type=PATH)
@click.option("--out", type=PATH, help="Folder of the index, such as my.index.")
@click.option("--dataset", metavar="SPEC", help="A data set instead of a SOURCE: emoji, xm3600:PATH, my_data:Photos …")
@click.option(
    "--workers", type=click.IntRange(1, 256), help="Processes that decode images.  [default: one per core, at most 8]"
)
@click.option("--batch-size", type=click.IntRange(min=1), help="Images in one forward pass.  [default: 64]")
@DEVICE
@click.option(
    "--storage", type=click.Choice(["float16", "float32", "int8"]),
    help="Number type of the stored vectors.  [default: that of the index; float16 for a new one]",
)  # fmt: skip
@click.option("--max-pixels", type=click.IntRange(min=1), help="Skip larger images.  [default: 178956970]")
@click.option(
    "--rebuild", is_flag=True, help="Build from scratch; the old index is used until the new one is complete."
)
@click.option("--list-skipped", type=PATH, metavar="FILE", help="Write the skipped files, with reasons.")
@click.option("--skipped", type=PATH, metavar="INDEX", help="List the files that INDEX skipped, and stop.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@sources_options
@config_option
def command(
    model: Path | str | None,
    source: tuple[Path, ...],
    out: Path | None,
    dataset: str | None,
    workers: int | None,
    batch_size: int | None,
    device: str | None,
    storage: str | None,
    max_pixels: int | None,
    rebuild: bool,
    list_skipped: Path | None,
    skipped: Path | None,
    as_json: bool,
    cldr: Path | None,
    font: Path | None,
) -> None:
    """Index the images of each SOURCE with MODEL, for search in any language of MODEL.

    A SOURCE is a folder of images, a captions file (.tsv, .csv or .jsonl, a line per image), or a webdataset shard
    (.tar; or several, as in 's-{00..09}.tar'). Run the same command again after images were added, changed or removed,
    or to resume a stopped run: unchanged images are not decoded again.

    \b
    Examples:
      kivuko index kivuko-demo/model photos/ --out my.index
      kivuko index kivuko-demo/model captions.tsv --out my.index
      kivuko index kivuko-demo/model shards/*.tar --out my.index --workers 4
      kivuko index kivuko-demo/model --dataset emoji --out emoji.index
      kivuko index my-clip --dataset xm3600:data/xm3600 --out xm3600.index
      kivuko index --skipped my.index
    """
    if skipped is not None:
        from kivuko.search.store import IndexStore

        with IndexStore.open(skipped) as store:
            _print_skipped(store.skipped(), as_json)
        return
    if model is None:
        raise UsageError("name a model and what to index: kivuko index MODEL photos/ --out my.index")
    if out is None:
        raise UsageError("--out is missing: name the folder of the index, for example --out my.index")
    if dataset and source:
        raise UsageError(f"--dataset {dataset} takes the place of a SOURCE: leave one of them out.")
    if dataset:
        from kivuko.datasets.spec import check_spec

        check_spec(dataset)
    from kivuko.files import refuse_unwritable, write_text
    from kivuko.search.building import build_index

    if list_skipped is not None:
        refuse_unwritable(list_skipped)
    with build_index(
        model, dataset or source, out, storage=storage, workers=workers, batch_size=batch_size,  # type: ignore[arg-type]
        device=device, max_pixels=max_pixels, rebuild=rebuild, cldr=cldr, font=font,
    ) as index:  # fmt: skip
        summary = index.summary
        if list_skipped is not None:
            write_text(list_skipped, "".join(line + "\n" for line in _lines(index.store.skipped())))
    assert summary is not None
    if as_json:
        show_json(_as_json(summary, out))
        return
    show(*_closing_lines(summary, out, list_skipped))


def _print_skipped(rows: _Skipped, as_json: bool) -> None:
    if as_json:
        for key, reason, detail in rows:
            show_json({"key": key, "reason": reason, "detail": detail})
        return
    for line in _lines(rows):
        click.echo(line)
    click.echo(f"{len(rows):,} skipped.", err=True)


def _lines(rows: _Skipped) -> list[str]:
    return ["\t".join(" ".join(cell.split("\t")).replace("\n", " ") for cell in row) for row in rows]


def _as_json(summary: Summary, index: Path) -> dict[str, object]:
    return {
        "generation": summary.generation, "images": summary.images, "files": summary.files,
        "duplicates": summary.duplicates, "new": summary.new, "unchanged": summary.unchanged,
        "vanished": summary.vanished, "skipped": summary.skipped, "resumed": summary.resumed, "index": str(index),
        "seconds": summary.seconds,
    }  # fmt: skip


def _closing_lines(summary: Summary, index: Path, listed: Path | None) -> list[str]:
    changes = [
        f"{summary.new:,} new",
        f"{pluralize(summary.unchanged, 'file')} unchanged",
        f"{summary.vanished:,} removed",
    ]
    lines = [f"{index}: {pluralize(summary.images, 'image')} ({', '.join(changes)})."]
    if summary.resumed:
        lines[0] += " Resumed a stopped run."
    if summary.duplicates:
        lines.append(f"{summary.duplicates:,} files have the same bytes as another and share its entry.")
    if summary.skipped:
        most_first = sorted(summary.skipped.items(), key=lambda pair: -pair[1])
        reasons = ", ".join(f"{number:,} {reason}" for reason, number in most_first)
        where = f"listed in {listed}" if listed else f"kivuko index --skipped {index} lists them"
        lines.append(f"Skipped: {reasons}; {where}.")
        if "HEIC" in summary.skipped:
            lines.append("To read HEIC: pip install 'kivuko[heic]', then run this command again.")
    lines += [f'Next: kivuko search {index} "paka mweusi"', f"      kivuko serve {index}"]
    return lines
