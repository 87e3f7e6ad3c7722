"""``kivuko search``: search pictures with a sentence in any trained language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kivuko.cli.options import sources_options
from kivuko.errors import ModelError, UsageError

if TYPE_CHECKING:
    from PIL import Image
    from rich.table import Table

    from kivuko.gallery import Hit


@click.command("search", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("query", nargs=-1, required=True)
@click.option("-k", "--top", type=click.IntRange(1, 100), default=10, show_default=True, help="Number of results.")
@click.option("--image", "picture", type=click.Path(path_type=Path), help="Also write the results as a picture (PNG).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON Lines instead of a table.")
@sources_options
def command(
    model: Path,
    query: tuple[str, ...],
    top: int,
    picture: Path | None,
    as_json: bool,
    cldr: Path | None,
    font: Path | None,
) -> None:
    """Search the emoji gallery with QUERY, in any language that MODEL was trained on.

    \b
    Examples:
      kivuko search kivuko-demo/model "paka mweusi"
      kivuko search kivuko-demo/model काळी मांजर --image out.png
    """
    import json

    import numpy as np

    from kivuko.bitext import clean_text
    from kivuko.cli.data import load_gallery, load_world
    from kivuko.cli.progress import out as screen
    from kivuko.encoders.bundle import encode_texts, has_images, knows, load_bundle
    from kivuko.encoders.spelling_module import misspelt_words
    from kivuko.files import refuse_unwritable

    try:
        " ".join(query).encode()
    except UnicodeEncodeError as problem:
        raise UsageError("the query is not UTF-8 text: set the terminal to UTF-8 and write it again.") from problem
    text = clean_text(" ".join(query))  # as the bitext was
    if not text:
        raise UsageError('the query is empty: write a few words, for example "paka mweusi".')
    if picture is not None and picture.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise UsageError(f"--image {picture}: end the name in .png, .jpg or .webp.")
    if picture is not None:
        refuse_unwritable(picture)
    bundle = load_bundle(model)
    if not has_images(bundle):
        raise ModelError(f"{model}: encodes text only, so it cannot search pictures. Distil it with an image tower.")
    if not knows(bundle, text):
        raise UsageError(f"'{text[:80]}': no part of it is in the model's vocabulary. Try other words.")
    world = load_world((), cldr, font)
    gallery = load_gallery(bundle, world)
    vector = encode_texts(bundle, [text])[0]
    if not np.isfinite(vector).all():
        raise ModelError(f"{model}: gives vectors that are no numbers (NaN). Delete the folder and make it again.")
    if not vector.any():
        raise UsageError(f"'{text[:80]}': no part of it is in the model's vocabulary. Try other words.")
    hits = gallery.search(vector, top)
    if as_json:
        for rank, hit in enumerate(hits, start=1):
            found = {"rank": rank, "emoji": hit.sequence, "name": hit.name, "score": round(hit.score, 6)}
            click.echo(json.dumps(found, ensure_ascii=False))
    else:
        screen.print(hits_table(text, hits))
        for word, readings in misspelt_words(bundle, text).items():
            screen.print(f"'{word}' read as {_shares(readings)}", style="dim", soft_wrap=True, markup=False)
    if picture is not None:
        draw_hits(text, [world.picture(hit.image) for hit in hits], picture)
        if not as_json:
            screen.print(f"picture: {picture}", soft_wrap=True)


def hits_table(text: str, hits: Sequence[Hit]) -> Table:
    """Return the results as a table for the terminal."""
    from kivuko.report.tables import compact_table

    table = compact_table(text)
    for heading in ("", "emoji", "English name", "cosine"):
        table.add_column(heading, justify="right" if heading in ("", "cosine") else "left")
    for rank, hit in enumerate(hits, start=1):
        table.add_row(str(rank), hit.sequence, hit.name, f"{hit.score:.3f}")
    return table


def _shares(readings: Mapping[str, float]) -> str:
    return ", ".join(f"{word} ({share:.0%})" for word, share in list(readings.items())[:3])


def draw_hits(text: str, pictures: Sequence[Image.Image], place: Path) -> None:
    """Write the query and its pictures, best first, as one image; the name's ending says which format."""
    from kivuko.files import atomic_path
    from kivuko.report.lettering import script_of
    from kivuko.report.picture import ResultRow, results_picture

    kind = "JPEG" if place.suffix.lower() in (".jpg", ".jpeg") else place.suffix[1:].upper()
    with atomic_path(place) as temporary:
        results_picture([ResultRow(text, "", script_of(text), "", pictures)], "").save(temporary, format=kind)
