"""Multi30k: Flickr30k's images with captions in English, German, French and Czech.

Elliott, Frank, Sima'an and Specia, "Multi30K: Multilingual English-German Image Descriptions" (2016). On disk, as the
repository has it: ``data/task1/raw/PART.LANGUAGE.gz`` and ``data/task1/image_splits/PART.txt``: one caption per
image, English and its translations; ``data/task2/raw/PART.N.LANGUAGE.gz``: five captions per image, N from 1 to 5,
that people wrote independently in English and in German.
"""

from __future__ import annotations

import re
from pathlib import Path

from kivuko.datasets.captions.caption_set import CaptionSet, Gathering, Request, code_of
from kivuko.datasets.captions.flickr30k200 import BELOW as FLICKR_BELOW
from kivuko.datasets.captions.image_folder import ImageFolder
from kivuko.datasets.captions.line_captions import add_images, add_lines, read_names
from kivuko.datasets.captions.xtd import BELOW as COCO_BELOW
from kivuko.errors import DataError, UsageError

NAME = "multi30k"
PARTS = ("test_2016_flickr", "test_2017_flickr", "test_2017_mscoco", "test_2018_flickr", "val", "task2")
_FILE = re.compile(r"(?P<part>[a-z0-9_]+)\.(?:(?P<number>[1-5])\.)?(?P<language>[a-z]{2})(?:\.gz)?")


def read_multi30k(request: Request) -> CaptionSet:
    """Read one part: ``test_2016_flickr`` or ``val`` by the split, or the part that is asked for by name.

    ``task2`` is the part of five independent captions per image, test or validation by the split.

    Raises:
        UsageError: no such part.
        DataError: no captions of it, or files whose lines do not fit the list of images.
    """
    default = "test_2016_flickr" if request.split == "test" else "val"
    part = request.part or default
    if part not in PARTS:
        raise UsageError(f"multi30k has no part {part!r}; it has {', '.join(PARTS)}")
    task = "task1"
    if part == "task2":
        part, task = "test_2016" if request.split == "test" else "val", "task2"
    raw, splits = _folders(request.path, task)
    files = sorted(
        (match["number"] or "", file, match["language"])
        for file in raw.iterdir()
        if (match := _FILE.fullmatch(file.name))
        and match["part"] == part
        and bool(match["number"]) == (task == "task2")
    )
    if not files:
        raise DataError(f"{raw}: no captions named {part}.en.gz or so; name the folder of multi30k's repository")
    names = _names(splits, part)
    gathered = Gathering()
    folder = ImageFolder(request.images or request.path)
    images = add_images(gathered, names, read_names(names, _name), folder, [*FLICKR_BELOW, *COCO_BELOW])
    for _, file, written in files:
        add_lines(gathered, file, code_of(written, str(file)), images, names)
    split = part if task == "task1" else f"task2/{part}"
    return gathered.finish(NAME, split, request.path, _notes(task, part, images))


def _folders(root: Path, task: str) -> tuple[Path, Path]:
    """Return the folder of captions and the one of the lists of images."""
    for base in (root / "data" / task, root / task, root):
        if (base / "raw").is_dir():
            splits = base / "image_splits"
            return base / "raw", splits if splits.is_dir() else base / "raw"
    if root.is_dir():
        return root, root
    raise DataError(f"{root}: no such folder; name the folder of multi30k's repository")


def _names(splits: Path, part: str) -> Path:
    for name in (f"{part}.txt", f"{part}_images.txt"):
        if (file := splits / name).is_file():
            return file
    raise DataError(
        f"{splits / part}.txt: missing; it names the image of each caption. It is in multi30k's image_splits"
    )


def _name(line: str) -> str:
    """Return the image's name: the COCO part writes ``NAME.jpg#CAPTION``."""
    return line.strip().partition("#")[0]


def _notes(task: str, part: str, images: list[str]) -> list[str]:
    told = (
        "five captions per image: text-to-image figures are about 20 points from those with one"
        if task == "task2"
        else "one caption per image, translated from the English: figures are not comparable with sets that have five"
    )
    training = sum(name.startswith("COCO_train") for name in images)
    leak = f"{training:,} of the {len(images):,} images are of MSCOCO's training set"
    own = {"val": ["this is Multi30k's validation part, not its test"]}.get(part, [])
    return [told, *([leak] if training else []), *own]
