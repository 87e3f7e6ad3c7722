"""``kivuko search`` in a gallery: with words, with one of its images, or with an image's file."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from PIL import Image
from rich.table import Table

from kivuko.cli.preview import show_images
from kivuko.cli.progress import bars, late_task
from kivuko.cli.progress import out as screen
from kivuko.cli.search import draw_hits, print_readings
from kivuko.errors import UsageError
from kivuko.evaluation.tables import compact_table
from kivuko.search.filter import parse_filter
from kivuko.search.gallery import Gallery
from kivuko.search.index import choose_index
from kivuko.search.items import Hit
from kivuko.search.query import clean_query
from kivuko.search.store import GalleryStore


@dataclass(frozen=True)
class Asked:
    """What is searched for: ``query`` words, ``like`` an image of the gallery, or an ``image`` in a file."""

    query: tuple[str, ...]
    like: int | None
    image: Path | None
    top: int
    where: tuple[str, ...]


def search_gallery(
    path: Path, model: Path | None, asked: Asked, kind: str, storage: str, drawing: Path | None, as_json: bool,
    preview: bool | None,
) -> None:  # fmt: skip
    """Search, print, and draw.

    Raises:
        KivukoError: in one line what is wrong with the question, the gallery or the model.
    """
    text = clean_query(" ".join(asked.query)) if asked.query else ""
    where = parse_filter(asked.where)
    choose_index(0, 1, kind, storage)  # so that a wrong name is told at once
    looked_at = _read_image(asked.image) if asked.image is not None else None
    searcher: Any = None
    with bars() as shown:
        progress = late_task(shown, "building the index")
        if asked.like is not None and model is None:  # its vector is there: no model is needed
            gallery = Gallery.open(path, index=kind, storage=storage, progress=progress)
        else:
            from kivuko.search.searcher import Searcher

            searcher = Searcher.open(path, model, index=kind, storage=storage, progress=progress)
            gallery = searcher.gallery
    unknown: tuple[str, ...] = ()
    with gallery:
        if asked.like is not None:
            title = f"like {asked.like}"
            try:
                hits = gallery.like(asked.like, asked.top, where)
            except KeyError as problem:
                raise UsageError(f"--like {asked.like}: {path} has no image of that number.") from problem
        elif looked_at is not None:
            title = f"like {asked.image}"
            hits = gallery.search(searcher.encode_image(looked_at)[None], asked.top, where)[0]
        else:
            title = text
            hits = searcher.search([text], asked.top, where)[0]
            unknown = searcher.unknown_words(text)
        images = _thumbnails(gallery.store, hits) if drawing or not as_json else []
        if as_json:
            for rank, hit in enumerate(hits, start=1):
                click.echo(json.dumps(_as_json(rank, hit) | {"unknown_words": unknown}, ensure_ascii=False))
        else:
            show_images(images, preview)
            screen.print(_table(title, hits))
            if not hits:
                screen.print("Nothing passes the filter." if where else "Nothing was found.")
            if text:
                print_readings(searcher.model, text, unknown)
        if drawing is not None:
            draw_hits(title, images, [_shown(hit.item.caption or hit.item.key) for hit in hits], drawing)
            if not as_json:
                screen.print(f"image: {drawing}", soft_wrap=True)


def _read_image(path: Path) -> Image.Image:
    from kivuko.encoders.images import RefusedImage, decode
    from kivuko.search.decoding import read_place
    from kivuko.search.items import FilePlace

    try:
        return decode(read_place(FilePlace(str(path))))
    except RefusedImage as problem:
        told = f"{problem.reason}: {problem.detail}" if problem.detail else problem.reason
        raise UsageError(f"--image {path}: {told}. Name an image's file.") from problem


def _thumbnails(store: GalleryStore, hits: Sequence[Hit]) -> list[Image.Image]:
    """Return small images of the hits; a gray one where there is none."""
    found = []
    for hit in hits:
        content = store.thumbnail(hit.item.id)
        if content is None:
            found.append(Image.new("RGB", (64, 64), "lightgrey"))
        else:
            with Image.open(io.BytesIO(content), formats=("JPEG", "WEBP")) as image:
                found.append(image.convert("RGB"))
    return found


def _as_json(rank: int, hit: Hit) -> dict[str, Any]:
    item = hit.item
    return {
        "rank": rank, "id": item.id, "key": item.key, "caption": item.caption, "score": round(hit.score, 6),
        "width": item.width, "height": item.height, "copies": item.copies, "metadata": dict(item.metadata),
    }  # fmt: skip


def _table(title: str, hits: Sequence[Hit]) -> Table:
    table = compact_table(title)
    captioned = any(hit.item.caption for hit in hits)
    table.add_column("", justify="right")
    table.add_column("id", justify="right")
    table.add_column("image", overflow="fold")
    if captioned:
        table.add_column("caption", overflow="fold")
    table.add_column("cosine", justify="right")
    for rank, hit in enumerate(hits, start=1):
        said = [_shown(hit.item.caption or "")] if captioned else []
        table.add_row(str(rank), str(hit.item.id), _shown(hit.item.key), *said, f"{hit.score:.3f}")
    return table


def _shown(text: str) -> str:
    """Return text of unknown origin for a terminal: without control characters, and not too long."""
    visible = "".join(letter if letter.isprintable() or letter == "\u200d" else " " for letter in text)
    return visible if len(visible) <= 120 else visible[:119] + "…"
