"""XTD: 1,000 images of MSCOCO with one caption each in 7 languages, 11 with its relatives, or some 200.

Aggarwal and Kale, "Towards Zero-shot Cross-lingual Image Retrieval" (arXiv 2012.05107). On disk:
``test_image_names.txt`` and ``test_1kcaptions_CODE.txt``, in one folder or in the repository's ``XTD10``, ``MIC``
(German, French, English) and ``STAIR`` (Japanese). XTD-200 has ``test_image_names.txt`` and a file for each FLORES
code, ``swh_Latn.txt``.
"""

from __future__ import annotations

import re
from pathlib import Path

from kivuko.datasets.captions.caption_set import CaptionSet, Gathering, Request, code_of
from kivuko.datasets.captions.image_folder import ImageFolder
from kivuko.datasets.captions.line_captions import add_images, add_lines, read_names
from kivuko.errors import DataError

NAME = "xtd"
NAMES = "test_image_names.txt"
BELOW = ("images", "train2014", "val2014")  # where COCO's images lie
_FOLDERS = (".", "XTD10", "MIC", "STAIR")
_FILE = re.compile(r"test_1kcaptions_([A-Za-z]{2,3})\.txt(\.gz)?")
FLORES_FILE = re.compile(r"([a-z]{3}_[A-Z][a-z]{3})\.txt(\.gz)?")
TRANSLATED = (
    "captions of the FLORES files are machine translations by NLLB: figures favor models that were taught by it, and "
    "say little of how people write"
)


def read_xtd(request: Request) -> CaptionSet:
    """Read the captions of every language that is there, and find the images below PATH or IMAGES.

    Raises:
        DataError: no list of names, no captions, or a file whose lines do not fit the list.
    """
    root = request.path
    folders = [place for name in _FOLDERS if (place := root / name).is_dir()]
    names = next((file for place in folders if (file := place / NAMES).is_file()), None)
    if names is None:
        raise DataError(f"{root}: no {NAMES} in it or in its XTD10; name the folder that XTD was unpacked to")
    gathered = Gathering()
    images = add_images(gathered, names, read_names(names), ImageFolder(request.images or root), BELOW)
    translated = False
    for file, written in caption_files(folders):
        code = code_of(written, str(file))
        if code not in gathered.captions:  # MIC's English beside XTD10's
            add_lines(gathered, file, code, images, names)
            translated |= "_" in written
    return gathered.finish(NAME, "test", root, [*_notes(images), *([TRANSLATED] if translated else [])])


def caption_files(folders: list[Path]) -> list[tuple[Path, str]]:
    """Return the files of captions and the language as each file's name writes it."""
    found = []
    for folder in folders:
        for file in sorted(folder.iterdir()):
            if match := _FILE.fullmatch(file.name) or FLORES_FILE.fullmatch(file.name):
                found.append((file, match[1]))
    return found


def _notes(images: list[str]) -> list[str]:
    training = sum(name.startswith("COCO_train") for name in images)
    one = "one caption per image: text-to-image figures are not comparable with those of sets that have five"
    if not training:
        return [one]
    return [
        one,
        f"{training:,} of the {len(images):,} images are of MSCOCO's training set: a teacher or a bitext that has "
        "seen COCO has seen them. Look for the captions in the training text: kivuko bitext check --against",
    ]
