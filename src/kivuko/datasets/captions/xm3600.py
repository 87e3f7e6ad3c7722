"""Crossmodal-3600: 3,600 images with captions written in 36 languages.

Thapliyal, Pont-Tuset, Chen and Soricut, "Crossmodal-3600: A Massively Multilingual Multimodal Evaluation Dataset"
(EMNLP 2022). On disk: ``captions.jsonl``, one image a line, with ``image/key``, and under each language's code an
object whose ``caption`` is a list; images in ``images/KEY.jpg``.
"""

from __future__ import annotations

from typing import Any

from kivuko.datasets.captions.caption_set import CaptionSet, Gathering, Image, Request, code_of
from kivuko.datasets.captions.image_folder import ImageFolder
from kivuko.datasets.collections.streams import json_lines
from kivuko.errors import DataError, at

NAME = "xm3600"
_CAPTIONS = "captions.jsonl"
NOTES = (
    "with every caption a query and with the first alone (--captions first) figures differ, and published ones are "
    "either: name the protocol with each figure",
    "Bengali (bn) has one caption per image, Maori (mi) about 1.3, the others two or more: image-to-text figures are "
    "not comparable between them",
    "quz is Cuzco Quechua; quy (Ayacucho) is another language: a model taught quy is not asked in its own here",
)


def read_xm3600(request: Request) -> CaptionSet:
    """Read ``PATH/captions.jsonl`` and find ``PATH/images``; PATH may name the captions file itself.

    Raises:
        DataError: a file is missing or malformed, or an image is named twice.
    """
    file = request.path if request.path.is_file() else request.path / _CAPTIONS
    folder = ImageFolder(request.images or file.parent)
    gathered = Gathering(files={file: None})
    codes: dict[str, str] = {}
    for number, row in json_lines(file):
        place = at(file, number)
        key = row.get("image/key")
        if not isinstance(key, str) or not key:
            raise DataError(f"{place}: no 'image/key'; is this Crossmodal-3600's captions.jsonl?")
        if key in gathered.images:
            raise DataError(f"{place}: image {key!r} is named a second time; fetch the file again")
        name = f"{key}.jpg"
        gathered.add_image(Image(key, folder.find(f"images/{name}", name), f"{name} ({place})"))
        for written, value in row.items():
            if not written.startswith("image/"):
                code = codes.get(written) or codes.setdefault(written, code_of(written, place))
                gathered.add_captions(key, code, _captions(value, written, place), place)
    return gathered.finish(NAME, "test", file, NOTES)


def _captions(value: Any, written: str, place: str) -> list[Any]:
    captions = value.get("caption") if isinstance(value, dict) else None
    if not isinstance(captions, list):
        raise DataError(f"{place}: {written!r} has no list under 'caption'; fetch the file again")
    return captions
