"""Sets with one text file per language, line n being the caption of the n-th image: XTD, Flickr30k-200, Multi30k."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from kivuko.datasets.captions.builder import CaptionFormat, ImageFolder, Request, Row, SetBuilder, code_of
from kivuko.datasets.captions.caption_set import CaptionSet
from kivuko.errors import DataError, UsageError, at
from kivuko.streams import text_lines
from kivuko.text import pluralize

COCO_FOLDERS = ("images", "train2014", "val2014")
FLICKR_FOLDERS = ("images", "flickr30k_images", "flickr30k-images")
_LONGEST = 16_384  # letters of one line; a longer one is no caption
_FLORES_FILE = re.compile(r"([a-z]{3}_[A-Z][a-z]{3})\.txt(\.gz)?")
_TRANSLATED = (
    "captions of the FLORES files are machine translations by NLLB: figures favor models trained on its output, and "
    "say little of how people write"
)


# XTD: 1,000 images of MSCOCO with one caption each in 7 languages, 11 with its relatives, or some 200. Aggarwal and
# Kale, "Towards Zero-shot Cross-lingual Image Retrieval" (arXiv 2012.05107). On disk: test_image_names.txt and
# test_1kcaptions_CODE.txt, in one folder or in the repository's XTD10, MIC (German, French, English) and STAIR
# (Japanese). XTD-200 has test_image_names.txt and a file for each FLORES code, swh_Latn.txt.

_XTD_FILE = re.compile(r"test_1kcaptions_([A-Za-z]{2,3})\.txt(\.gz)?")


def _read_xtd(request: Request) -> CaptionSet:
    root = request.path
    folders = [folder for name in (".", "XTD10", "MIC", "STAIR") if (folder := root / name).is_dir()]
    names = _first_file(folder / "test_image_names.txt" for folder in folders)
    if names is None:
        raise DataError(
            f"{root}: no test_image_names.txt in it or in its XTD10; name the folder that XTD was unpacked to"
        )
    files = _first_of_each_language(
        (match[1], file)
        for folder in folders
        for file in sorted(folder.iterdir())
        if (match := _XTD_FILE.fullmatch(file.name) or _FLORES_FILE.fullmatch(file.name))
    )
    builder = SetBuilder(ImageFolder(request.images or root))
    images = _add_set(builder, names, COCO_FOLDERS, files)
    notes = ["one caption per image: text-to-image figures are not comparable with those of sets that have five"]
    if leak := _of_coco_training(images):
        notes.append(
            f"{leak}: a teacher or a bitext that has seen COCO has seen them. Look for the captions in the training "
            "text: kivuko bitext check --against"
        )
    if any("_" in code for code, _ in files):
        notes.append(_TRANSLATED)
    return builder.build("xtd", "test", root, notes)


# Flickr30k-200: the captions of Flickr30k's 1,000 test images, translated by NLLB into the languages of FLORES-200.
# Visheratin, "NLLB-CLIP" (arXiv 2309.01859). On disk: filenames.txt and a file for each FLORES code, such as
# swh_Latn.txt; English in eng_Latn.txt or eng_captions.txt.


def _read_flickr30k200(request: Request) -> CaptionSet:
    root = request.path
    names = _first_file(root / name for name in ("filenames.txt", "test_image_names.txt"))
    if names is None:
        raise DataError(
            f"{root}: no filenames.txt in it; name the folder that holds it and the captions, swh_Latn.txt and so on"
        )
    files = _first_of_each_language(
        (match[1] if match else "eng", file)
        for file in sorted(root.iterdir())
        if (match := _FLORES_FILE.fullmatch(file.name)) or file.name == "eng_captions.txt"
    )
    builder = SetBuilder(ImageFolder(request.images or root))
    _add_set(builder, names, FLICKR_FOLDERS, files)
    one = "one caption per image, of the five that Flickr30k has: text-to-image figures are not those of Flickr30k"
    return builder.build("flickr30k200", "test", root, [one, _TRANSLATED])


# Multi30k: Flickr30k's images with captions in English, German, French and Czech. Elliott, Frank, Sima'an and Specia,
# "Multi30K: Multilingual English-German Image Descriptions" (2016). On disk, as the repository has it:
# data/task1/raw/PART.LANGUAGE.gz and data/task1/image_splits/PART.txt: one caption per image, English and its
# translations; data/task2/raw/PART.N.LANGUAGE.gz: five captions per image, N from 1 to 5, that people wrote
# independently in English and in German.

_PARTS = ("test_2016_flickr", "test_2017_flickr", "test_2017_mscoco", "test_2018_flickr", "val", "task2")
_MULTI30K_FILE = re.compile(r"(?P<part>[a-z0-9_]+)\.(?:(?P<number>[1-5])\.)?(?P<language>[a-z]{2})(?:\.gz)?")


def _read_multi30k(request: Request) -> CaptionSet:
    part = request.part or ("test_2016_flickr" if request.split == "test" else "val")
    if part not in _PARTS:
        raise UsageError(f"multi30k has no part {part!r}; it has {', '.join(_PARTS)}")
    task = "task1"
    if part == "task2":
        part, task = "test_2016" if request.split == "test" else "val", "task2"
    raw, splits = _multi30k_folders(request.path, task)
    files = sorted(
        (match["number"] or "", file, match["language"])
        for file in raw.iterdir()
        if (match := _MULTI30K_FILE.fullmatch(file.name))
        and match["part"] == part
        and bool(match["number"]) == (task == "task2")
    )
    if not files:
        raise DataError(f"{raw}: no captions named {part}.en.gz or so; name the folder of multi30k's repository")
    names = _first_file(splits / name for name in (f"{part}.txt", f"{part}_images.txt"))
    if names is None:
        raise DataError(
            f"{splits / part}.txt: missing; it names the image of each caption. It is in multi30k's image_splits"
        )
    builder = SetBuilder(ImageFolder(request.images or request.path))
    below = (*FLICKR_FOLDERS, *COCO_FOLDERS)
    images = _add_set(
        builder, names, below, ((code, file) for _, file, code in files),
        lambda line: line.strip().partition("#")[0],  # the COCO part writes NAME.jpg#CAPTION
    )  # fmt: skip
    return builder.build(
        "multi30k", part if task == "task1" else f"task2/{part}", request.path, _multi30k_notes(task, part, images)
    )


def _multi30k_folders(root: Path, task: str) -> tuple[Path, Path]:
    for base in (root / "data" / task, root / task, root):
        if (base / "raw").is_dir():
            splits = base / "image_splits"
            return base / "raw", splits if splits.is_dir() else base / "raw"
    if root.is_dir():
        return root, root
    raise DataError(f"{root}: no such folder; name the folder of multi30k's repository")


def _multi30k_notes(task: str, part: str, images: list[str]) -> list[str]:
    notes = [
        "five captions per image: text-to-image figures are about 20 points from those with one"
        if task == "task2"
        else "one caption per image, translated from the English: figures are not comparable with sets that have five"
    ]
    if leak := _of_coco_training(images):
        notes.append(leak)
    if part == "val":
        notes.append("this is Multi30k's validation part, not its test")
    return notes


def _add_set(
    builder: SetBuilder,
    names: Path,
    below: Sequence[str],
    files: Iterable[tuple[str, Path]],
    clean: Callable[[str], str] = str.strip,
) -> list[str]:
    """Add the images that a file names and the captions of (language, file); return the images' names.

    ``below``: subfolders of this set's images. ``clean``: from a line to an image's name.
    """
    images = [clean(line) for line in _lines(names)]
    if not images:
        raise DataError(f"{names}: names no image; fetch the file again")
    if "" in images:
        raise DataError(f"{at(names, images.index('') + 1)}: a blank line among the names; fetch the file again")
    builder.files.append(names)
    builder.add(
        Row(at(names, number), name, [*(f"{folder}/{name}" for folder in below), name])
        for number, name in enumerate(images, start=1)
    )
    for code, file in files:
        builder.files.append(file)
        builder.add(_caption_rows(file, code, images, names))
    return images


def _caption_rows(file: Path, code: str, images: Sequence[str], names: Path) -> Iterator[Row]:
    lines = _lines(file, len(images))
    if len(lines) != len(images):
        raise DataError(
            f"{file}: has {pluralize(len(lines), 'line')}, but {names.name} names {pluralize(len(images), 'image')}; "
            "line n must be the caption of image n. Fetch both files again"
        )
    for number, (image, text) in enumerate(zip(images, lines, strict=True), start=1):
        yield Row(at(file, number), image, (), [(code, [text])])


def _lines(file: Path, least: int = 0) -> list[str]:
    """Return the lines of a file, without blank ones at the end if there are more than ``least``."""
    lines: list[str] = []
    for number, line in text_lines(file):
        if len(line) > _LONGEST:
            raise DataError(f"{at(file, number)}: a line of {len(line):,} letters is no caption; check the file")
        lines.append(line)
    while len(lines) > least and not lines[-1].strip():
        lines.pop()
    return lines


def _first_of_each_language(written: Iterable[tuple[str, Path]]) -> list[tuple[str, Path]]:
    """Keep the first file of each language: MIC has English as XTD10 does."""
    by_code: dict[str, tuple[str, Path]] = {}
    for code, file in written:
        by_code.setdefault(code_of(code, str(file)), (code, file))
    return list(by_code.values())


def _first_file(files: Iterable[Path]) -> Path | None:
    return next((file for file in files if file.is_file()), None)


def _of_coco_training(images: Sequence[str]) -> str:
    """Return a note on images of MSCOCO's training set, empty if there are none."""
    training = sum(name.startswith("COCO_train") for name in images)
    return f"{training:,} of the {len(images):,} images are of MSCOCO's training set" if training else ""


XTD = CaptionFormat("xtd", _read_xtd)
FLICKR30K200 = CaptionFormat("flickr30k200", _read_flickr30k200)
MULTI30K = CaptionFormat("multi30k", _read_multi30k, ("test", "validation"), with_parts=True)
