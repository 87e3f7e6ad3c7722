"""Sets whose captions are JSON: Crossmodal-3600, xFlickr&CO, WIT, MSCOCO and sets like it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from kivuko.datasets.captions.builder import CaptionFormat, ImageFolder, Request, Row, SetBuilder, as_texts
from kivuko.datasets.captions.caption_set import CaptionSet
from kivuko.datasets.captions.line_sets import COCO_FOLDERS, FLICKR_FOLDERS
from kivuko.errors import DataError, at
from kivuko.streams import byte_stream, json_lines, text_lines

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
        key = row.get("image/key")
        if not isinstance(key, str) or not key:
            raise DataError(f"{place}: no 'image/key'; is this Crossmodal-3600's captions.jsonl?")
        if key in keys:
            raise DataError(f"{place}: image {key!r} is named a second time; fetch the file again")
        keys.add(key)
        name = f"{key}.jpg"
        captions = (
            (code, _xm3600_texts(value, code, place)) for code, value in row.items() if not code.startswith("image/")
        )
        yield Row(place, key, (f"images/{name}", name), captions, name)


def _xm3600_texts(value: Any, code: str, place: str) -> list[Any]:
    captions = value.get("caption") if isinstance(value, dict) else None
    if not isinstance(captions, list):
        raise DataError(f"{place}: {code!r} has no list under 'caption'; fetch the file again")
    return captions


# xFlickr&CO: 2,000 images, half of Flickr30k and half of MSCOCO's validation set, one caption each in 8 languages.
# Bugliarello et al., "IGLUE" (ICML 2022). On disk: annotations/LANGUAGE/test.jsonl, a line per image with "sentences"
# (a list), "id" and "img_path".

_XFLICKRCO_NOTES = (
    "one caption per image: text-to-image figures are not comparable with those of sets that have five",
    "half of the images are of Flickr30k, half of MSCOCO's validation set of 2014",
)


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
        name = row.get("img_path")
        if not isinstance(name, str) or not name or "sentences" not in row:
            raise DataError(f"{place}: no 'img_path' and 'sentences'; is this an annotation file of xFlickr&CO?")
        paths = [*(f"{folder}/{name}" for folder in (*FLICKR_FOLDERS, *COCO_FOLDERS)), name]
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
    root = request.path if request.path.is_dir() else request.path.parent
    files = _wit_files(request)
    builder = SetBuilder(ImageFolder(request.images or root), files=files)
    for file in files:
        builder.add(_wit_rows(file))
    builder.drop_images_without_captions()
    return builder.build("wit", request.split, request.path, _WIT_NOTES, gallery="language")


def _wit_files(request: Request) -> list[Path]:
    if request.path.is_file():
        return [request.path]
    part = "test" if request.split == "test" else "val"
    for folder in (request.path / "annotations", request.path):
        if files := sorted([*folder.glob(f"{part}_*.jsonl"), *folder.glob(f"wit_v1.{part}.*.tsv*")]):
            return files
    raise DataError(f"{request.path}: no {part}_LANGUAGE.jsonl and no wit_v1.{part}.*.tsv.gz in it; check the path")


def _wit_rows(file: Path) -> Iterator[Row]:
    for number, row in _wit_table(file) if ".tsv" in file.name else json_lines(file):
        place = at(file, number)
        url, code = row.get("image_url"), row.get("language")
        if not isinstance(url, str) or not url or not isinstance(code, str) or not code:
            raise DataError(f"{place}: no 'image_url' and 'language'; is this a file of WIT?")
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
        builder.add(_coco_annotations(images, annotations, str(file)))
    else:
        split = request.split
        builder.add(_coco_karpathy(images, {"test": "test", "validation": "val"}[split], str(file)))
    per_image = sum(len(texts) for own in builder.captions.values() for texts in own.values()) / max(
        1, sum(len(own) for own in builder.captions.values())
    )
    note = (
        f"{per_image:.1f} captions per image: five against one moves text-to-image figures by about 20 points; "
        "say which, and the size of the gallery"
    )
    return builder.build("coco", split, file, [note])


def _coco_list(rows: list[Any], file: str) -> Iterator[Row]:
    for number, row in enumerate(rows):
        place = f"{file}, entry {number}"
        name = _coco_text(row, "image", place)
        yield Row(place, name, (name, f"images/{name}"), [(None, as_texts(row.get("caption")))])


def _coco_annotations(images: list[Any], annotations: list[Any], file: str) -> Iterator[Row]:
    names: dict[str, str] = {}
    for number, row in enumerate(images):
        place = f"{file}, images entry {number}"
        name = _coco_text(row, "file_name", place)
        names[_coco_key(row, "id", place)] = name
        yield Row(place, name, (name, f"images/{name}"))
    for number, row in enumerate(annotations):
        place = f"{file}, annotations entry {number}"
        key = _coco_key(row, "image_id", place)
        if key not in names:
            raise DataError(f"{place}: a caption of image {key}, which 'images' does not have; fetch the file again")
        yield Row(place, names[key], (), [(None, [row.get("caption")])])


def _coco_karpathy(images: list[Any], split: str, file: str) -> Iterator[Row]:
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
        yield Row(place, name, (path, f"images/{path}"), [(None, [one.get("raw") for one in sentences])], path)


def _coco_text(row: Any, name: str, place: str) -> str:
    value = row.get(name) if isinstance(row, dict) else None
    if not isinstance(value, str) or not value:
        raise DataError(f"{place}: no {name!r}; {_COCO_KINDS} are read")
    return value


def _coco_key(row: Any, name: str, place: str) -> str:
    value = row.get(name) if isinstance(row, dict) else None
    if not isinstance(value, (str, int)) or isinstance(value, bool):
        raise DataError(f"{place}: no {name!r}; {_COCO_KINDS} are read")
    return str(value)


def _read_json(path: Path) -> Any:
    with byte_stream(path) as stream:
        content = stream.read(_COCO_LARGEST + 1)
    if len(content) > _COCO_LARGEST:
        raise DataError(f"{path}: over {_COCO_LARGEST >> 30} GiB of JSON; give one object per line (.jsonl) instead")
    try:
        return json.loads(content.decode("utf-8-sig"))
    except json.JSONDecodeError as problem:
        raise DataError(f"{at(path, problem.lineno)}: not JSON ({problem.msg}); fetch the file again") from problem
    except UnicodeDecodeError as problem:
        line = content.count(b"\n", 0, problem.start) + 1
        raise DataError(f"{at(path, line)}: not UTF-8; convert the file, or fetch it again") from problem
    except (ValueError, RecursionError) as problem:  # numbers of thousands of digits, thousands of brackets
        raise DataError(f"{path}: JSON that cannot be read ({problem}); fetch the file again") from problem


XM3600 = CaptionFormat("xm3600", _read_xm3600)
XFLICKRCO = CaptionFormat("xflickrco", _read_xflickrco)
WIT = CaptionFormat("wit", _read_wit, ("test", "validation"))
COCO = CaptionFormat("coco", _read_coco, ("test", "validation"), own=True)
