"""Published sets of images with captions, each read from the files that its authors publish.

XTD, Flickr30k-200 and Multi30k have a text file per language, of which line n is the caption of the n-th image;
Crossmodal-3600, xFlickr&CO, WIT, MSCOCO and sets like it have JSON.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from kivuko.datasets.captions.caption_set import (
    CaptionFormat,
    CaptionSet,
    ImageFolder,
    Request,
    Row,
    SetBuilder,
    as_texts,
    code_of,
)
from kivuko.errors import DataError, UsageError, at
from kivuko.streams import byte_stream, json_lines, parse_json, text_lines
from kivuko.text import pluralize

_COCO_FOLDERS = ("images", "train2014", "val2014")
_FLICKR_FOLDERS = ("images", "flickr30k_images", "flickr30k-images")
_LONGEST = 16_384  # letters of one line; a longer one is no caption
_FLORES_FILE = re.compile(r"([a-z]{3}_[A-Z][a-z]{3})\.txt(\.gz)?")
_TRANSLATED = (
    "captions of the FLORES files are machine translations by NLLB: figures favor models trained on its output, and "
    "say little of how people write"
)
_ONE_CAPTION = "one caption per image: text-to-image figures are not comparable with those of sets that have five"


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
    images = _add_lines(builder, names, _COCO_FOLDERS, files)
    notes = [_ONE_CAPTION]
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
    _add_lines(builder, names, _FLICKR_FOLDERS, files)
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
    images = _add_lines(
        builder, names, (*_FLICKR_FOLDERS, *_COCO_FOLDERS), ((code, file) for _, file, code in files),
        lambda line: line.strip().partition("#")[0],  # the COCO part writes NAME.jpg#CAPTION
    )  # fmt: skip
    notes = [
        "five captions per image: text-to-image figures are about 20 points from those with one"
        if task == "task2"
        else "one caption per image, translated from the English: figures are not comparable with sets that have five"
    ]
    if leak := _of_coco_training(images):
        notes.append(leak)
    if part == "val":
        notes.append("this is Multi30k's validation part, not its test")
    return builder.build("multi30k", part if task == "task1" else f"task2/{part}", request.path, notes)


def _multi30k_folders(root: Path, task: str) -> tuple[Path, Path]:
    for base in (root / "data" / task, root / task, root):
        if (base / "raw").is_dir():
            splits = base / "image_splits"
            return base / "raw", splits if splits.is_dir() else base / "raw"
    if root.is_dir():
        return root, root
    raise DataError(f"{root}: no such folder; name the folder of multi30k's repository")


def _add_lines(
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
        lines = _lines(file, len(images))
        if len(lines) != len(images):
            raise DataError(
                f"{file}: has {pluralize(len(lines), 'line')}, but {names.name} names "
                f"{pluralize(len(images), 'image')}; line n must be the caption of image n. Fetch both files again"
            )
        for number, (image, text) in enumerate(zip(images, lines, strict=True), start=1):
            builder.add_captions(image, code, [text], at(file, number))
    return images


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


# Crossmodal-3600: 3,600 images with captions written in 36 languages. Thapliyal, Pont-Tuset, Chen and Soricut,
# "Crossmodal-3600: A Massively Multilingual Multimodal Evaluation Dataset" (EMNLP 2022). On disk: captions.jsonl, one
# image a line, with "image/key", and under each language's code an object whose "caption" is a list; images in
# images/KEY.jpg.

_XM3600_NOTES = (
    "with every caption a query and with the first alone (--captions first) figures differ, and published ones are "
    "either: name the protocol with each figure",
    "Bengali (bn) has one caption per image, Maori (mi) about 1.3, the others two or more: image-to-text figures are "
    "not comparable between them",
    "quz is Cuzco Quechua; quy (Ayacucho) is another language: a model trained on quy is not tested in it here",
)


def _read_xm3600(request: Request) -> CaptionSet:
    file = request.path if request.path.is_file() else request.path / "captions.jsonl"
    builder = SetBuilder(ImageFolder(request.images or file.parent), files=[file])
    builder.add(_xm3600_rows(file))
    return builder.build("xm3600", "test", file, _XM3600_NOTES)


def _xm3600_rows(file: Path) -> Iterator[Row]:
    keys: set[str] = set()
    for number, row in json_lines(file):
        place = at(file, number)
        key = _text_of(row, "image/key", f"{place}: no 'image/key'; is this Crossmodal-3600's captions.jsonl?")
        if key in keys:
            raise DataError(f"{place}: image {key!r} is named a second time; fetch the file again")
        keys.add(key)
        captions = []
        for code, value in row.items():
            if not code.startswith("image/"):
                texts = value.get("caption") if isinstance(value, dict) else None
                if not isinstance(texts, list):
                    raise DataError(f"{place}: {code!r} has no list under 'caption'; fetch the file again")
                captions.append((code, texts))
        yield Row(place, key, (f"images/{key}.jpg", f"{key}.jpg"), captions, f"{key}.jpg")


# xFlickr&CO: 2,000 images, half of Flickr30k and half of MSCOCO's validation set, one caption each in 8 languages.
# Bugliarello et al., "IGLUE" (ICML 2022). On disk: annotations/LANGUAGE/test.jsonl, a line per image with "sentences"
# (a list), "id" and "img_path".

_XFLICKRCO_NOTES = (_ONE_CAPTION, "half of the images are of Flickr30k, half of MSCOCO's validation set of 2014")


def _read_xflickrco(request: Request) -> CaptionSet:
    root = request.path
    base = root / "annotations" if (root / "annotations").is_dir() else root
    files = sorted(base.glob("*/test.jsonl"))
    if not files:
        raise DataError(f"{base}: no LANGUAGE/test.jsonl in it; name the folder of xFlickrCO, or its annotations")
    builder = SetBuilder(ImageFolder(request.images or root), files=files)
    for file in files:
        builder.add(_xflickrco_rows(file))
    return builder.build("xflickrco", "test", root, _XFLICKRCO_NOTES)


def _xflickrco_rows(file: Path) -> Iterator[Row]:
    for number, row in json_lines(file):
        place = at(file, number)
        missing = f"{place}: no 'img_path' and 'sentences'; is this an annotation file of xFlickr&CO?"
        name = _text_of(row, "img_path", missing)
        if "sentences" not in row:
            raise DataError(missing)
        paths = [*(f"{folder}/{name}" for folder in (*_FLICKR_FOLDERS, *_COCO_FOLDERS)), name]
        yield Row(place, name, paths, [(file.parent.name, as_texts(row["sentences"]))])


# WIT: images of Wikipedia with the descriptions below them, as IGLUE tests on or as Google publishes it. Srinivasan et
# al., "WIT: Wikipedia-based Image Text Dataset" (SIGIR 2021). On disk: IGLUE's annotations/test_LANGUAGE.jsonl, or
# wit_v1.test.*.tsv.gz with a line of headings; both have "language", "image_url" and "caption_reference_description".
# WIT publishes no image files: IMAGES is the folder that they were downloaded to, each named by the last part of its
# address or, for IGLUE, by "wit_ix".

_WIT_NOTES = (
    "each language searches the images of its own articles: galleries differ in size and kind between languages",
    "captions are Wikipedia's: many are names that an image does not show, and some fit several images",
)


def _read_wit(request: Request) -> CaptionSet:
    path = request.path
    files = [path] if path.is_file() else _wit_files(path, "test" if request.split == "test" else "val")
    builder = SetBuilder(ImageFolder(request.images or (path if path.is_dir() else path.parent)), files=files)
    for file in files:
        builder.add(_wit_rows(file))
    described = {image for own in builder.captions.values() for image in own}  # no language would search the others
    builder.images = {name: image for name, image in builder.images.items() if name in described}
    return builder.build("wit", request.split, path, _WIT_NOTES, gallery="language")


def _wit_files(path: Path, part: str) -> list[Path]:
    for folder in (path / "annotations", path):
        if files := sorted([*folder.glob(f"{part}_*.jsonl"), *folder.glob(f"wit_v1.{part}.*.tsv*")]):
            return files
    raise DataError(f"{path}: no {part}_LANGUAGE.jsonl and no wit_v1.{part}.*.tsv.gz in it; check the path")


def _wit_rows(file: Path) -> Iterator[Row]:
    for number, row in _wit_table(file) if ".tsv" in file.name else json_lines(file):
        place = at(file, number)
        missing = f"{place}: no 'image_url' and 'language'; is this a file of WIT?"
        url, code = _text_of(row, "image_url", missing), _text_of(row, "language", missing)
        last = url.partition("?")[0].rpartition("/")[2]
        index = row.get("wit_ix")
        by_index = [f"{index}.{ending}" for ending in ("jpg", "jpeg", "png", "webp")] if index else []
        names = [*by_index, unquote(last), last, unquote(last).replace(" ", "_")]
        captions = [(code, [row.get("caption_reference_description") or ""])]
        yield Row(place, url, names, captions, unquote(last)[:120])


def _wit_table(file: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    headings: list[str] = []
    for number, line in text_lines(file):
        cells = line.split("\t")
        if not headings:
            headings = cells
        elif line.strip():
            yield number, dict(zip(headings, cells, strict=False))


def _text_of(row: Any, name: str, missing: str) -> str:
    value = row.get(name) if isinstance(row, dict) else None
    if not isinstance(value, str) or not value:
        raise DataError(missing)
    return value


# MSCOCO. Lin et al., "Microsoft COCO" (ECCV 2014); Karpathy and Fei-Fei (CVPR 2015). On disk one JSON file, of three
# kinds:
# - COCO's own, and STAIR's: "images" ("id", "file_name") and "annotations" ("image_id", "caption");
# - Karpathy's dataset_coco.json and dataset_flickr30k.json: "images" with "filename", "filepath", "split" and
#   "sentences", each with "raw";
# - a list of {"image": "val2014/NAME.jpg", "caption": [...]}, as coco_karpathy_test.json is.

_COCO_KINDS = "COCO's images and annotations, Karpathy's images with sentences, or a list of image and caption"
_COCO_LARGEST = 2 << 30  # bytes; COCO's largest file of captions has 90 MB; in memory, ten times a file's size


def _read_coco(request: Request) -> CaptionSet:
    file = request.path
    if not file.is_file():
        raise DataError(f"{file}: no such file; name the JSON file of captions")
    builder = SetBuilder(ImageFolder(request.images or file.parent), request.language or "en", [file])
    content = _read_json(file)
    split = "all"
    if isinstance(content, list):
        builder.add(_coco_list(content, str(file)))
    elif not isinstance(content, dict) or not isinstance(images := content.get("images"), list):
        raise DataError(f"{file}: not captions in a way of COCO's ({_COCO_KINDS})")
    elif isinstance(annotations := content.get("annotations"), list):
        builder.add(_coco_annotations(images, annotations, str(file), builder.left_out))
    else:
        split = request.split
        builder.add(_coco_karpathy(images, {"test": "test", "validation": "val"}[split], str(file)))
    built = builder.build("coco", split, file)
    note = (
        f"{built.per_image(*built.languages):.1f} captions per image: five against one moves text-to-image figures by "
        "about 20 points; say which, and the size of the gallery"
    )
    return replace(built, notes=(note,))


def _coco_list(rows: list[Any], file: str) -> Iterator[Row]:
    for number, row in enumerate(rows):
        place = f"{file}, entry {number}"
        name = _coco_text(row, "image", place)
        yield Row(place, name, (name, f"images/{name}"), [(None, as_texts(row.get("caption")))])


def _coco_annotations(images: list[Any], annotations: list[Any], file: str, left_out: Counter[str]) -> Iterator[Row]:
    names: dict[str, str] = {}
    for number, row in enumerate(images):
        place = f"{file}, images entry {number}"
        name = _coco_text(row, "file_name", place)
        key = _coco_key(row, "id", place)
        if names.setdefault(key, name) != name:
            raise DataError(f"{place}: the id {key} is of two images, {names[key]} and {name}; give each its own")
        yield Row(place, name, (name, f"images/{name}"))
    for number, row in enumerate(annotations):
        place = f"{file}, annotations entry {number}"
        key = _coco_key(row, "image_id", place)
        if key not in names:
            raise DataError(f"{place}: a caption of image {key}, which 'images' does not have; fetch the file again")
        if "caption" in row:
            yield Row(place, names[key], (), [(None, [row["caption"]])])
        else:
            left_out["annotation without a caption"] += 1


def _coco_karpathy(images: list[Any], split: str, file: str) -> Iterator[Row]:
    paths: dict[str, str] = {}  # of the first image of a name, whose id is its name; of others it is the path
    for number, row in enumerate(images):
        place = f"{file}, images entry {number}"
        name = _coco_text(row, "filename", place)
        if row.get("split") != split:
            continue
        sentences = row.get("sentences")
        if not isinstance(sentences, list) or not all(isinstance(one, dict) for one in sentences):
            raise DataError(f"{place}: no list of 'sentences'; {_COCO_KINDS} are read")
        folder = row.get("filepath")
        path = f"{folder}/{name}" if isinstance(folder, str) and folder else name
        key = name if paths.setdefault(name, path) == path else path
        yield Row(place, key, (path, f"images/{path}"), [(None, [one.get("raw") for one in sentences])], path)


def _coco_text(row: Any, name: str, place: str) -> str:
    return _text_of(row, name, f"{place}: no {name!r}; {_COCO_KINDS} are read")


def _coco_key(row: Any, name: str, place: str) -> str:
    value = row.get(name) if isinstance(row, dict) else None
    if type(value) is int or (type(value) is float and value.is_integer()):  # pandas writes 1.0
        return str(int(value))
    return _coco_text(row, name, place)


def _read_json(path: Path) -> Any:
    with byte_stream(path) as stream:
        content = stream.read(_COCO_LARGEST + 1)
    if len(content) > _COCO_LARGEST:
        raise DataError(f"{path}: over {_COCO_LARGEST >> 30} GiB of JSON; give one object per line (.jsonl) instead")
    try:
        return parse_json(content.decode("utf-8-sig"))
    except json.JSONDecodeError as problem:
        raise DataError(f"{at(path, problem.lineno)}: not JSON ({problem.msg}); fetch the file again") from problem
    except UnicodeDecodeError as problem:
        line = content.count(b"\n", 0, problem.start) + 1
        raise DataError(f"{at(path, line)}: not UTF-8; convert the file, or fetch it again") from problem


PUBLISHED = (
    CaptionFormat("xm3600", _read_xm3600),
    CaptionFormat("xtd", _read_xtd),
    CaptionFormat("multi30k", _read_multi30k, ("test", "validation"), with_parts=True),
    CaptionFormat("xflickrco", _read_xflickrco),
    CaptionFormat("wit", _read_wit, ("test", "validation")),
    CaptionFormat("flickr30k200", _read_flickr30k200),
    CaptionFormat("coco", _read_coco, ("test", "validation"), own=True),
)
