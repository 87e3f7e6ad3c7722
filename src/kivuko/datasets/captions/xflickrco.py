"""xFlickr&CO: 2,000 images, half of Flickr30k and half of MSCOCO's validation set, one caption each in 8 languages.

Bugliarello et al., "IGLUE" (ICML 2022). On disk: ``annotations/LANGUAGE/test.jsonl``, a line per image with
``sentences`` (a list), ``id`` and ``img_path``.
"""

from __future__ import annotations

from pathlib import Path

from kivuko.datasets.captions.caption_set import CaptionSet, Gathering, Image, Request, as_texts, code_of
from kivuko.datasets.captions.flickr30k200 import BELOW as FLICKR_BELOW
from kivuko.datasets.captions.image_folder import ImageFolder
from kivuko.datasets.captions.xtd import BELOW as COCO_BELOW
from kivuko.datasets.collections.streams import json_lines
from kivuko.errors import DataError, at

NAME = "xflickrco"
_FILE = "test.jsonl"
_BELOW = (*FLICKR_BELOW, *COCO_BELOW)
NOTES = (
    "one caption per image: text-to-image figures are not comparable with those of sets that have five",
    "half of the images are of Flickr30k, half of MSCOCO's validation set of 2014",
)


def read_xflickrco(request: Request) -> CaptionSet:
    """Read ``PATH/annotations/*/test.jsonl`` (or ``PATH/*/test.jsonl``) and find the images below PATH or IMAGES.

    Raises:
        DataError: no captions, or a line without an image or sentences.
    """
    root = request.path
    base = root / "annotations" if (root / "annotations").is_dir() else root
    files = sorted(base.glob(f"*/{_FILE}"))
    if not files:
        raise DataError(f"{base}: no LANGUAGE/{_FILE} in it; name the folder of xFlickrCO, or its annotations")
    folder = ImageFolder(request.images or root)
    gathered = Gathering()
    for file in files:
        gathered.files[file] = None
        _add(gathered, file, code_of(file.parent.name, str(file)), folder)
    return gathered.finish(NAME, "test", root, NOTES)


def _add(gathered: Gathering, file: Path, code: str, folder: ImageFolder) -> None:
    for number, row in json_lines(file):
        place = at(file, number)
        name = row.get("img_path")
        if not isinstance(name, str) or not name or "sentences" not in row:
            raise DataError(f"{place}: no 'img_path' and 'sentences'; is this an annotation file of xFlickr&CO?")
        if name not in gathered.images:
            found = folder.find(*(f"{sub}/{name}" for sub in _BELOW), name)
            gathered.add_image(Image(name, found, f"{name} ({place})"))
        gathered.add_captions(name, code, as_texts(row["sentences"]), place)
