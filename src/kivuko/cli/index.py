"""``kivuko index``: make a gallery of images that can be searched, or bring it up to date."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kivuko.cli.options import sources_options
from kivuko.errors import UsageError

if TYPE_CHECKING:
    from rich.progress import Progress

    from kivuko.search.building import Counts, Summary
    from kivuko.search.items import Source


@click.command("index", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("model", type=click.Path(path_type=Path), required=False)
@click.argument("source", nargs=-1, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="The gallery's folder, such as my.gallery.")
@click.option(
    "--dataset", type=click.Choice(["emoji"]), help="Index a data set that Kivuko brings instead of a SOURCE."
)
@click.option(
    "--workers", type=click.IntRange(1, 256), help="Processes that decode.  [default: one per core, at most 8]"
)
@click.option(
    "--storage", type=click.Choice(["float16", "float32", "int8"]),
    help="How vectors rest on disk.  [default: as the gallery has it; float16 for a new one]",
)  # fmt: skip
@click.option("--max-pixels", type=click.IntRange(min=1), help="Skip larger images.  [default: 178956970]")
@click.option("--rebuild", is_flag=True, help="Make the gallery anew; the old one serves until the new one is whole.")
@click.option(
    "--list-skipped", type=click.Path(path_type=Path), metavar="FILE", help="Write what was skipped, and why."
)
@click.option(
    "--skipped",
    type=click.Path(path_type=Path),
    metavar="GALLERY",
    help="List what GALLERY's last run skipped, and stop.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@sources_options
def command(
    model: Path | None,
    source: tuple[Path, ...],
    out: Path | None,
    dataset: str | None,
    workers: int | None,
    storage: str | None,
    max_pixels: int | None,
    rebuild: bool,
    list_skipped: Path | None,
    skipped: Path | None,
    as_json: bool,
    cldr: Path | None,
    font: Path | None,
) -> None:
    """Index the images in each SOURCE with MODEL, for search in any language that MODEL was trained on.

    A SOURCE is a folder of images, a captions file (.tsv, .csv or .jsonl, a line per image), or a webdataset shard
    (.tar). Give the same command again after images came, changed or went, or after a run was stopped: what is known
    is not decoded again.

    \b
    Examples:
      kivuko index kivuko-demo/model photos/ --out my.gallery
      kivuko index kivuko-demo/model captions.tsv --out my.gallery
      kivuko index kivuko-demo/model shards/*.tar --out my.gallery --workers 4
      kivuko index kivuko-demo/model --dataset emoji --out emoji.gallery
      kivuko index --skipped my.gallery
    """
    if skipped is not None:
        _list_skipped(skipped, None, as_json)
        return
    _check_usage(model, source, out, dataset)
    assert model is not None
    assert out is not None
    import json

    from kivuko.search.decoding import share_cores, start_fork_server

    share_cores()
    start_fork_server("torch", "transformers.image_processing_utils")  # imports while this process does the same
    from kivuko.cli.progress import bars
    from kivuko.cli.progress import out as screen
    from kivuko.encoders.loading import fastest_device
    from kivuko.encoders.model import load_encoder
    from kivuko.files import refuse_unwritable
    from kivuko.search.building import IndexOptions, build_gallery
    from kivuko.search.decoding import Limits
    from kivuko.search.encoding import TowerEncoder

    if list_skipped is not None:
        refuse_unwritable(list_skipped)
    sources = _sources(source, dataset, cldr, font)
    # A tower may be stored in half precision, in which its pixels are not.
    encoder = TowerEncoder(load_encoder(model).float().to(fastest_device()))
    limits = Limits(pixels=max_pixels) if max_pixels else Limits()
    options = IndexOptions(workers, storage, limits, rebuild)  # type: ignore[arg-type]
    began = time.monotonic()
    with bars() as progress:
        summary = build_gallery(encoder, sources, out, model=model, options=options, watch=IndexBar(progress))
    if list_skipped is not None:
        _list_skipped(out, list_skipped, as_json)
    if as_json:
        seconds = round(time.monotonic() - began, 3)
        told = {**_as_json(summary), "gallery": str(out), "seconds": seconds}
        click.echo(json.dumps(told, ensure_ascii=False))
        return
    for line in _closing_lines(summary, out, list_skipped):
        screen.print(line, soft_wrap=True)


def _check_usage(model: Path | None, source: tuple[Path, ...], out: Path | None, dataset: str | None) -> None:
    if model is None:
        raise UsageError("name a model and what to index: kivuko index MODEL photos/ --out my.gallery")
    if out is None:
        raise UsageError("--out is missing: where shall the gallery go? For example --out my.gallery")
    if dataset and source:
        raise UsageError(f"--dataset {dataset} takes the place of a SOURCE: leave one of them out.")
    if not dataset and not source:
        raise UsageError("name what to index: a folder, a captions file, shards, or --dataset emoji.")


def _sources(paths: tuple[Path, ...], dataset: str | None, cldr: Path | None, font: Path | None) -> list[Source]:
    from kivuko.search.sources import EmojiSource, open_source

    if dataset:
        from kivuko.cli.data import load_world

        return [EmojiSource(load_world((), cldr, font))]
    return [open_source(path) for path in paths]


def _list_skipped(gallery: Path, file: Path | None, as_json: bool) -> None:
    """List what the last run skipped, on the screen or in a file: key, reason and detail, tab between them."""
    import json

    from kivuko.files import write_text
    from kivuko.search.store import GalleryStore

    with GalleryStore.open(gallery) as store:
        rows = store.skipped()
    lines = ["\t".join(" ".join(cell.split("\t")).replace("\n", " ") for cell in row) for row in rows]
    if file is not None:
        write_text(file, "".join(line + "\n" for line in lines))
    elif as_json:
        for key, reason, detail in rows:
            click.echo(json.dumps({"key": key, "reason": reason, "detail": detail}, ensure_ascii=False))
    else:
        for line in lines:
            click.echo(line)
        click.echo(f"{len(rows):,} skipped.", err=True)


def _as_json(summary: Summary) -> dict[str, object]:
    return {
        "generation": summary.generation, "images": summary.images, "files": summary.files,
        "duplicates": summary.duplicates, "new": summary.new, "unchanged": summary.unchanged,
        "vanished": summary.vanished, "skipped": summary.skipped, "resumed": summary.resumed,
    }  # fmt: skip


def _closing_lines(summary: Summary, gallery: Path, listed: Path | None) -> list[str]:
    did = [f"{summary.new:,} new", f"{summary.unchanged:,} files as before", f"{summary.vanished:,} gone"]
    lines = [f"{gallery}: {summary.images:,} images ({', '.join(did)})."]
    if summary.resumed:
        lines[0] += " Went on from a run that was stopped."
    if summary.duplicates:
        lines.append(f"{summary.duplicates:,} files have the same bytes as another and share its entry.")
    if summary.skipped:
        most_first = sorted(summary.skipped.items(), key=lambda pair: -pair[1])
        reasons = ", ".join(f"{number:,} {reason}" for reason, number in most_first)
        where = f"listed in {listed}" if listed else f"kivuko index --skipped {gallery} lists them"
        lines.append(f"Skipped: {reasons}; {where}.")
        if "HEIC" in summary.skipped:
            lines.append("To read HEIC: pip install 'kivuko[heic]', then give this command again.")
    lines += [f'Next: kivuko search {gallery} "paka mweusi"', f"      kivuko serve {gallery}"]
    return lines


@dataclass
class IndexBar:
    """Shows how many files are done, how fast, and what became of them; in a log, a line now and then."""

    progress: Progress
    _task: int | None = None
    _total: int | None = None
    _began: float = field(default_factory=time.monotonic)
    _shown: float = 0.0
    _line: float = field(default_factory=time.monotonic)

    def planned(self, total: int | None) -> None:
        """See gallery.indexing.IndexWatch."""
        self._began, self._total = time.monotonic(), total
        self._task = int(self.progress.add_task("indexing", total=total, figures=""))

    def went(self, counts: Counts) -> None:
        """See gallery.indexing.IndexWatch."""
        from kivuko.cli.progress import console

        now = time.monotonic()
        if self._task is None or (now - self._shown < 0.2 and counts.seen != self._total):
            return
        self._shown = now
        speed = counts.seen / max(1e-6, now - self._began)
        figures = f"{speed:,.0f} images/s · {counts.new:,} new · {sum(counts.skipped.values()):,} skipped"
        self.progress.update(self._task, completed=counts.seen, figures=figures)  # type: ignore[arg-type]
        if not console.is_terminal and now - self._line > 15:
            self._line = now
            console.print(f"indexing: {counts.seen:,} files · {figures}", soft_wrap=True)
