"""``kivuko search``: search images with words in any language of the model, or with an image."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kivuko.cli.options import PATH, index_options, sources_options
from kivuko.cli.output import show, show_json
from kivuko.errors import KivukoError, UsageError

if TYPE_CHECKING:
    from PIL import Image
    from rich.table import Table

    from kivuko.search.background import Closeness
    from kivuko.search.items import Hit
    from kivuko.search.searcher import Searcher
    from kivuko.search.store import IndexStore

_SHEET_ENDINGS = (".png", ".jpg", ".jpeg", ".webp")
_LONGEST = 120  # characters of a key or a caption that are shown
_FEW = 3  # images that are shown where none is close


@click.command("search")
@click.argument("index", type=PATH)
@click.argument("query", nargs=-1)
@click.option("-k", "--top", type=click.IntRange(1, 100), default=10, show_default=True, help="Number of results.")
@click.option(
    "--where", multiple=True, metavar="CONDITION",
    help='Only images that meet a condition such as "license=cc0" or "width>=800" (=, !=, <, <=, >, >=, ~ contains). '
    "Repeatable: all must hold.",
)  # fmt: skip
@click.option("--image", type=PATH, metavar="FILE", help="Search by an image instead of a QUERY.")
@click.option("--like", type=int, metavar="ID", help="Search by an image of the index instead of a QUERY.")
@click.option("--anyway", is_flag=True, help="Show all results although none is a close match.")
@index_options
@click.option("--save", type=PATH, metavar="FILE", help="Also write the results as an image.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON Lines instead of a table.")
@click.option("--preview/--no-preview", default=None, help="Show the images in the terminal.  [default: where it can]")
@sources_options
def command(
    index: Path,
    query: tuple[str, ...],
    top: int,
    where: tuple[str, ...],
    image: Path | None,
    like: int | None,
    anyway: bool,
    model: Path | None,
    kind: str,
    storage: str,
    save: Path | None,
    as_json: bool,
    preview: bool | None,
    cldr: Path | None,
    font: Path | None,
) -> None:
    """Search INDEX with QUERY, in any language of its model.

    'kivuko index' builds an INDEX. If it is the folder of a model, the emoji that come with Kivuko are searched.

    If no image is much closer to QUERY than to random words, a line says so, and only the nearest three are shown.

    \b
    Examples:
      kivuko search my.index "paka mweusi"
      kivuko search my.index काळी मांजर --where "license=cc0" --where "width>=800"
      kivuko search my.index --image photo.jpg --json
      kivuko search my.index --like 17
      kivuko search kivuko-demo/model "paka mweusi" --save results.png
    """
    from kivuko.cli.preview import show_images, way_to_show
    from kivuko.files import refuse_unwritable

    if save is not None:
        if save.suffix.lower() not in _SHEET_ENDINGS:
            raise UsageError(f"--save {save}: end the name in .png, .jpg or .webp.")
        refuse_unwritable(save)
    if preview and not as_json:
        way_to_show(preview)
    text = _check_query(" ".join(query) if query else None, like, image)
    from kivuko.search.searcher import Searcher

    with Searcher(index, model, kind=kind, storage=storage, cldr=cldr, font=font) as searcher:
        if image is not None:
            title, hits = f"like {image}", searcher.search_image(image, top, where)
        elif like is not None:
            title, hits = f"like {like}", searcher.like(like, top, where)
        else:
            title, hits = text, searcher.search(text, top, where)
        unknown = searcher.unknown_words(text) if text else ()
        closeness = searcher.closeness(hits) if text else None
        images = thumbnails(searcher.index.store, hits) if save or not as_json else []
        if as_json:
            about = {"unknown_words": unknown, **_closeness_as_json(closeness)}
            for rank, hit in enumerate(hits, start=1):
                show_json(_as_json(rank, hit) | about)
        else:
            far = closeness is not None and not closeness.close
            shown = hits[:_FEW] if far and not anyway else hits
            show_images(images[: len(shown)], preview)
            if far:
                more = "" if len(shown) == len(hits) else f", of which {len(shown)} are shown (--anyway shows all)"
                show(f"No close match for '{text}': these are only the nearest images{more}.")
            show(hits_table(title, shown, dim=far))
            if not hits:
                show("Nothing passes the filter." if where else "There are no results.")
            if text:
                _print_readings(searcher, text, unknown)
        if save is not None:
            draw_hits(title, images, [_shown(hit.item.caption or hit.item.key) for hit in hits], save)
            if not as_json:
                show(f"results: {save}")


def _check_query(query: str | None, like: int | None, image: Path | None) -> str:
    """Return the cleaned query, empty for an image; UsageError unless there is exactly one thing to search for."""
    given = [query is not None, like is not None, image is not None]
    ways = 'a few words ("paka mweusi"), --image FILE or --like ID.'
    if not any(given):
        raise UsageError(f"QUERY is missing: write {ways}")
    if sum(given) > 1:
        hint = ""
        if image is not None and image.suffix.lower() in _SHEET_ENDINGS:
            hint = f" To write the results as an image: --save {image}"
        raise UsageError(f"more than one thing to search for: write only {ways}{hint}")
    if query is None:
        return ""
    from kivuko.search.filter import clean_query

    return clean_query(query)


def thumbnails(store: IndexStore, hits: Sequence[Hit]) -> list[Image.Image]:
    """Return thumbnails of the hits; a gray one where there is none."""
    from PIL import Image

    images = []
    for hit in hits:
        content = store.thumbnail(hit.item.id)
        if content is None:
            images.append(Image.new("RGB", (64, 64), "lightgrey"))
        else:
            with Image.open(io.BytesIO(content), formats=("JPEG", "WEBP")) as image:
                images.append(image.convert("RGB"))
    return images


def hits_table(title: str, hits: Sequence[Hit], *, dim: bool = False) -> Table:
    from kivuko.evaluation.tables import compact_table

    table = compact_table(title)
    table.style = "dim" if dim else "none"
    captioned = any(hit.item.caption for hit in hits)
    table.add_column("", justify="right")
    table.add_column("id", justify="right")
    table.add_column("image", overflow="fold")
    if captioned:
        table.add_column("caption", overflow="fold")
    table.add_column("cosine", justify="right")
    for rank, hit in enumerate(hits, start=1):
        caption = [_shown(hit.item.caption or "")] if captioned else []
        table.add_row(str(rank), str(hit.item.id), _shown(hit.item.key), *caption, f"{hit.score:.3f}")
    return table


def draw_hits(title: str, images: Sequence[Image.Image], captions: Sequence[str], file: Path) -> None:
    """Write the query and its results, with captions, as one image; the ending of the file is its format."""
    from kivuko.files import atomic_path
    from kivuko.report.result_image import ResultRow, results_image
    from kivuko.text import script_of

    if not images:
        raise KivukoError(f"{file}: there are no results, so there is nothing to draw. Loosen --where.")
    kind = "JPEG" if file.suffix.lower() in (".jpg", ".jpeg") else file.suffix[1:].upper()
    with atomic_path(file) as temporary:
        row = ResultRow(title, "", script_of(title), "", images, captions=captions)
        results_image([row], "").save(temporary, format=kind)


def _as_json(rank: int, hit: Hit) -> dict[str, Any]:
    item = hit.item
    return {
        "rank": rank, "id": item.id, "key": item.key, "caption": item.caption, "score": round(hit.score, 6),
        "width": item.width, "height": item.height, "copies": item.copies, "metadata": dict(item.metadata),
    }  # fmt: skip


def _closeness_as_json(closeness: Closeness | None) -> dict[str, Any]:
    if closeness is None:
        return {"close": None, "closeness": None}
    return {"close": closeness.close, "closeness": round(closeness.share, 6)}


def _print_readings(searcher: Searcher, text: str, unknown: Sequence[str]) -> None:
    """Print the misspelled and unknown words of a query with their readings, and its out-of-vocabulary words."""

    for word, readings in searcher.readings(text).items():
        show(f"'{word}' read as {_shares(readings)}")
    if unknown:
        show(f"Not in the model's vocabulary: {', '.join(unknown)}")


def _shares(readings: Mapping[str, float]) -> str:
    return ", ".join(f"{word} ({share:.0%})" for word, share in list(readings.items())[:3])


def _shown(text: str) -> str:
    """Return text for a terminal, without control characters, and shortened."""
    visible = "".join(letter if letter.isprintable() or letter == "\u200d" else " " for letter in text)
    return visible if len(visible) <= _LONGEST else visible[: _LONGEST - 1] + "…"
