"""``kivuko search``: search images with a sentence in any trained language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kivuko.cli.options import sources_options
from kivuko.errors import GalleryError, KivukoError, UsageError

if TYPE_CHECKING:
    from PIL import Image
    from rich.table import Table

    from kivuko.search import EmojiHit


@click.command("search", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("gallery", type=click.Path(path_type=Path))
@click.argument("query", nargs=-1)
@click.option("-k", "--top", type=click.IntRange(1, 100), default=10, show_default=True, help="Number of results.")
@click.option(
    "--where", multiple=True, metavar="CONDITION",
    help='Only images of which this holds, like "license=cc0" or "width>=800" (=, !=, <, <=, >, >=, ~ contains). '
    "Said again: all must hold.",
)  # fmt: skip
@click.option("--like", type=int, metavar="ID", help="Search with an image of the gallery instead of a QUERY.")
@click.option("--image", "asked_image", type=click.Path(path_type=Path), help="Search with an image's file.")
@click.option("--model", type=click.Path(path_type=Path), help="Model's folder.  [default: the gallery's own]")
@click.option("--index", "kind", default="auto", show_default=True, metavar="KIND", help="flat, hnsw, ivf or auto.")
@click.option(
    "--storage", default="auto", show_default=True, metavar="NUMBERS",
    help="What the index keeps: float32, float16, int8 or auto.",
)  # fmt: skip
@click.option("--image", "image", type=click.Path(path_type=Path), help="Also write the results as an image (PNG).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON Lines instead of a table.")
@click.option("--preview/--no-preview", default=None, help="Show the images in the terminal.  [default: where it can]")
@sources_options
def command(
    gallery: Path,
    query: tuple[str, ...],
    top: int,
    where: tuple[str, ...],
    like: int | None,
    asked_image: Path | None,
    model: Path | None,
    kind: str,
    storage: str,
    image: Path | None,
    as_json: bool,
    preview: bool | None,
    cldr: Path | None,
    font: Path | None,
) -> None:
    """Search GALLERY with QUERY, in any language that its model was trained on.

    GALLERY is what 'kivuko index' made. With a model's folder in its place, the emoji that Kivuko brings are searched.

    \b
    Examples:
      kivuko search my.gallery "paka mweusi"
      kivuko search my.gallery काळी मांजर --where "license=cc0" --where "width>=800"
      kivuko search my.gallery --like 17
      kivuko search my.gallery --image photo.jpg --json
      kivuko search kivuko-demo/model "paka mweusi" --image out.png
    """
    from kivuko.files import refuse_unwritable

    if image is not None:
        if image.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
            raise UsageError(f"--image {image}: end the name in .png, .jpg or .webp.")
        refuse_unwritable(image)
    if preview and not as_json:
        from kivuko.cli.preview import way_to_show

        way_to_show(preview)
    _check_question(query, like, asked_image)
    if _is_gallery(gallery):
        _check_conditions(gallery, where)  # before the model is loaded, which takes longest
        from kivuko.cli.search_gallery import Asked, search_gallery

        asked = Asked(query, like, asked_image, top, where)
        search_gallery(gallery, model, asked, kind, storage, image, as_json, preview)
        return
    for option, said in {
        "--where": where, "--like": like is not None, "--image": asked_image, "--model": model,
        "--index": kind != "auto", "--storage": storage != "auto",
    }.items():  # fmt: skip
        if said:
            hint = f"Make one: kivuko index {gallery} --dataset emoji --out emoji.gallery"
            raise UsageError(f"{option} is for galleries, and {gallery} is a model. {hint}")
    _search_emoji(gallery, " ".join(query), top, image, as_json, preview, cldr, font)


def _check_question(query: tuple[str, ...], like: int | None, image: Path | None) -> None:
    """Raise UsageError unless exactly one thing is searched for, and words are words; before anything is loaded."""
    given = [bool(query), like is not None, image is not None]
    how = 'a few words ("paka mweusi"), --like ID or --image FILE.'
    if not any(given):
        raise UsageError(f"QUERY is missing: write {how}")
    if sum(given) > 1:
        raise UsageError(f"more than one thing to search for: write only {how}")
    if query:
        from kivuko.search.query import clean_query

        clean_query(" ".join(query))


def _is_gallery(path: Path) -> bool:
    """Tell a gallery from a model.

    Raises:
        GalleryError: the path is neither.
    """
    if (path / "gallery.sqlite").is_file():
        return True
    if (path / "modules.json").is_file():
        return False
    if not path.exists():
        raise GalleryError(f"{path}: no such gallery or model. 'kivuko index' makes a gallery, 'kivuko demo' a model.")
    raise GalleryError(
        f"{path}: neither a gallery nor a model (no gallery.sqlite and no modules.json in it). "
        "'kivuko index MODEL photos/ --out my.gallery' makes a gallery."
    )


def _check_conditions(gallery: Path, where: tuple[str, ...]) -> None:
    """Raise UsageError if a condition is none, or asks for a field that no image has."""
    from kivuko.search.filter import parse_filter, refuse_unknown_fields

    if conditions := parse_filter(where):
        from kivuko.search.store import GalleryStore

        with GalleryStore.open(gallery) as store:
            refuse_unknown_fields(conditions, store)


def _search_emoji(
    model: Path, query: str, top: int, image: Path | None, as_json: bool, preview: bool | None,
    cldr: Path | None, font: Path | None,
) -> None:  # fmt: skip
    """Search the emoji world's images with a model that has no gallery yet."""
    import json

    from kivuko.cli.data import load_gallery, load_world
    from kivuko.cli.preview import show_images
    from kivuko.cli.progress import out as screen
    from kivuko.encoders.model import has_images, load_encoder
    from kivuko.errors import ModelError
    from kivuko.search.query import clean_query, encode_queries, unheard_words

    text = clean_query(query)
    loaded = load_encoder(model)
    if not has_images(loaded):
        raise ModelError(f"{model}: encodes text only, so it cannot search images. Distill it with an image tower.")
    vector = encode_queries(loaded, [text], str(model))[0]
    world = load_world((), cldr, font)
    gallery = load_gallery(loaded, world)
    hits = gallery.search(vector, top)
    images = [world.image(hit.image) for hit in hits]
    unknown = unheard_words(loaded, text)
    if as_json:
        for rank, hit in enumerate(hits, start=1):
            found = {
                "rank": rank, "emoji": hit.sequence, "name": hit.name, "score": round(hit.score, 6),
                "unknown_words": unknown,
            }  # fmt: skip
            click.echo(json.dumps(found, ensure_ascii=False))
    else:
        show_images(images, preview)
        screen.print(hits_table(text, hits))
        print_readings(loaded, text, unknown)
    if image is not None:
        draw_hits(text, images, [hit.name for hit in hits], image)
        if not as_json:
            screen.print(f"image: {image}", soft_wrap=True)


def hits_table(text: str, hits: Sequence[EmojiHit]) -> Table:
    """Return the results as a table for the terminal."""
    from kivuko.evaluation.tables import compact_table

    table = compact_table(text)
    for heading in ("", "emoji", "English name", "cosine"):
        table.add_column(heading, justify="right" if heading in ("", "cosine") else "left")
    for rank, hit in enumerate(hits, start=1):
        table.add_row(str(rank), hit.sequence, hit.name, f"{hit.score:.3f}")
    return table


def print_readings(model: Any, text: str, unknown: Sequence[str]) -> None:
    """Say which words of a query the model reads otherwise than written, and which are unknown to it."""
    from kivuko.cli.progress import out as screen
    from kivuko.encoders.spelling import misspelled_words

    for word, readings in misspelled_words(model, text).items():
        screen.print(f"'{word}' read as {_shares(readings)}", style="dim", soft_wrap=True, markup=False)
    if unknown:
        told = f"Not in the model's vocabulary: {', '.join(unknown)}"
        screen.print(told, soft_wrap=True, markup=False, highlight=False)


def _shares(readings: Mapping[str, float]) -> str:
    return ", ".join(f"{word} ({share:.0%})" for word, share in list(readings.items())[:3])


def draw_hits(text: str, images: Sequence[Image.Image], captions: Sequence[str], place: Path) -> None:
    """Write the query and its images, best first and captioned, as one image; the name's ending says which format.

    Raises:
        KivukoError: there is nothing to draw, or it cannot be written.
    """
    from kivuko.files import atomic_path
    from kivuko.fonts import script_of
    from kivuko.report.result_image import ResultRow, results_image

    if not images:
        raise KivukoError(f"{place}: nothing was found, so there is nothing to draw. Loosen --where.")
    kind = "JPEG" if place.suffix.lower() in (".jpg", ".jpeg") else place.suffix[1:].upper()
    with atomic_path(place) as temporary:
        row = ResultRow(text, "", script_of(text), "", images, captions=captions)
        results_image([row], "").save(temporary, format=kind)
