"""WIT: images of Wikipedia with the descriptions that stand below them, as IGLUE tests on or as Google publishes it.

Srinivasan et al., "WIT: Wikipedia-based Image Text Dataset" (SIGIR 2021); Bugliarello et al., "IGLUE" (ICML 2022). On
disk: IGLUE's ``annotations/test_LANGUAGE.jsonl``, or ``wit_v1.test.*.tsv.gz`` with a line of headings; both have
``language``, ``image_url`` and ``caption_reference_description``. WIT publishes no files of images: IMAGES is the
folder that they were fetched to, each named by the last part of its address or, for IGLUE, by ``wit_ix``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from kivuko.datasets.captions.caption_set import CaptionSet, Gathering, Image, Request, code_of
from kivuko.datasets.captions.image_folder import ImageFolder, endings
from kivuko.datasets.collections.streams import json_lines, text_lines
from kivuko.errors import DataError, at

NAME = "wit"
_CAPTION = "caption_reference_description"
NOTES = (
    "each language searches the images of its own articles: galleries differ in size and kind between languages",
    "captions are Wikipedia's: many are names that an image does not show, and some fit several images",
)


def read_wit(request: Request) -> CaptionSet:
    """Read ``test_*.jsonl`` (or ``val_*.jsonl``) or ``wit_v1.test.*.tsv*`` in PATH, or the one file that PATH is.

    Raises:
        DataError: no such file, or a line without an address.
    """
    gathered = Gathering()
    root = request.path if request.path.is_dir() else request.path.parent
    folder = ImageFolder(request.images or root)
    codes: dict[str, str] = {}
    for file in _files(request):
        gathered.files[file] = None
        for place, row in _rows(file):
            url, written = row.get("image_url"), row.get("language")
            if not isinstance(url, str) or not url or not isinstance(written, str) or not written:
                raise DataError(f"{place}: no 'image_url' and 'language'; is this a file of WIT?")
            code = codes.get(written) or codes.setdefault(written, code_of(written, place))
            if url not in gathered.images:
                gathered.add_image(Image(url, folder.find(*_names(url, row)), f"{unquote(_last(url))[:120]} ({place})"))
            gathered.add_captions(url, code, [row.get(_CAPTION) or ""], place)
    return _own_images(gathered).finish(NAME, request.split, request.path, NOTES, gallery="language")


def _own_images(gathered: Gathering) -> Gathering:
    """Leave out the images without any description; no language would search them."""
    told = {image for own in gathered.captions.values() for image in own}
    gathered.images = {name: image for name, image in gathered.images.items() if name in told}
    return gathered


def _files(request: Request) -> list[Path]:
    if request.path.is_file():
        return [request.path]
    part = "test" if request.split == "test" else "val"
    for folder in (request.path / "annotations", request.path):
        if found := sorted([*folder.glob(f"{part}_*.jsonl"), *folder.glob(f"wit_v1.{part}.*.tsv*")]):
            return found
    raise DataError(f"{request.path}: no {part}_LANGUAGE.jsonl and no wit_v1.{part}.*.tsv.gz in it; check the path")


def _rows(file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if ".tsv" not in file.name:
        for number, row in json_lines(file):
            yield at(file, number), row
        return
    headings: list[str] = []
    for number, line in text_lines(file):
        cells = line.split("\t")
        if not headings:
            headings = cells
        elif line.strip():
            yield at(file, number), dict(zip(headings, cells, strict=False))


def _names(url: str, row: Mapping[str, Any]) -> list[str]:
    """Return what the image's file may be called, the surest first."""
    found = [*endings(str(row["wit_ix"]))] if row.get("wit_ix") else []
    last = _last(url)
    return [*found, unquote(last), last, unquote(last).replace(" ", "_")]


def _last(url: str) -> str:
    return url.partition("?")[0].rpartition("/")[2]
