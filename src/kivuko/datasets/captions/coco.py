"""Captions in the ways of MSCOCO: its own files, Karpathy's splits, and lists of images with their captions.

Lin et al., "Microsoft COCO" (ECCV 2014); Karpathy and Fei-Fei (CVPR 2015). On disk one JSON file:

- COCO's own, and STAIR's: ``images`` (``id``, ``file_name``) and ``annotations`` (``image_id``, ``caption``);
- Karpathy's ``dataset_coco.json`` and ``dataset_flickr30k.json``: ``images`` with ``filename``, ``filepath``, ``split``
  and ``sentences``, each with ``raw``;
- a list of ``{"image": "val2014/NAME.jpg", "caption": [...]}``, as ``coco_karpathy_test.json`` is.
"""

from __future__ import annotations

from typing import Any

from kivuko.datasets.captions.caption_set import CaptionSet, Gathering, Image, Request, as_texts, code_of
from kivuko.datasets.captions.image_folder import ImageFolder
from kivuko.datasets.captions.json_file import read_json
from kivuko.errors import DataError

NAME = "coco"
_SPLITS = {"test": "test", "validation": "val"}
_KINDS = "COCO's images and annotations, Karpathy's images with sentences, or a list of image and caption"


def read_coco(request: Request) -> CaptionSet:
    """Read one file; captions are English unless the request names a language.

    Raises:
        DataError: the file is none of the three kinds, or an entry of it lacks what its kind has.
    """
    file = request.path
    if not file.is_file():
        raise DataError(f"{file}: no such file; name the JSON file of captions")
    folder = ImageFolder(request.images or file.parent)
    code = code_of(request.language or "en", str(file))
    found = read_json(file)
    gathered = Gathering(files={file: None})
    split = request.split
    if isinstance(found, list):
        _add_list(gathered, found, folder, code, str(file))
        split = "all"
    elif not isinstance(found, dict) or not isinstance(images := found.get("images"), list):
        raise DataError(f"{file}: not captions in a way of COCO's ({_KINDS})")
    elif isinstance(annotations := found.get("annotations"), list):
        _add_annotations(gathered, images, annotations, folder, code, str(file))
        split = "all"
    else:
        _add_karpathy(gathered, images, _SPLITS[request.split], folder, code, str(file))
    gathered_set = gathered.finish(NAME, split, file)
    per_image = gathered_set.per_image(code)
    note = (
        f"{per_image:.1f} captions per image: five against one moves text-to-image figures by about 20 points; "
        "say which, and the size of the gallery"
    )
    return gathered.finish(NAME, split, file, [note])


def _add_list(gathered: Gathering, rows: list[Any], folder: ImageFolder, code: str, file: str) -> None:
    for number, row in enumerate(rows):
        place = f"{file}, entry {number}"
        name = _text(row, "image", place)
        gathered.add_image(_image(name, name, folder, place))
        gathered.add_captions(name, code, as_texts(row.get("caption")), place)


def _add_annotations(
    gathered: Gathering, images: list[Any], annotations: list[Any], folder: ImageFolder, code: str, file: str
) -> None:
    ids: dict[str, str] = {}
    for number, row in enumerate(images):
        place = f"{file}, images entry {number}"
        name = _text(row, "file_name", place)
        ids[_key(row, "id", place)] = name
        gathered.add_image(_image(name, name, folder, place))
    for number, row in enumerate(annotations):
        place = f"{file}, annotations entry {number}"
        key = _key(row, "image_id", place)
        if key not in ids:
            raise DataError(f"{place}: a caption of image {key}, which 'images' does not have; fetch the file again")
        gathered.add_captions(ids[key], code, [row.get("caption")], place)


def _add_karpathy(
    gathered: Gathering, images: list[Any], split: str, folder: ImageFolder, code: str, file: str
) -> None:
    for number, row in enumerate(images):
        place = f"{file}, images entry {number}"
        name = _text(row, "filename", place)
        if row.get("split") != split:
            continue
        sentences = row.get("sentences")
        if not isinstance(sentences, list) or not all(isinstance(one, dict) for one in sentences):
            raise DataError(f"{place}: no list of 'sentences'; {_KINDS} are read")
        below = row.get("filepath")
        path = f"{below}/{name}" if isinstance(below, str) and below else name
        gathered.add_image(_image(name, path, folder, place))
        gathered.add_captions(name, code, [one.get("raw") for one in sentences], place)


def _image(key: str, path: str, folder: ImageFolder, place: str) -> Image:
    return Image(key, folder.find(path, f"images/{path}"), f"{path} ({place})")


def _text(row: Any, name: str, place: str) -> str:
    value = row.get(name) if isinstance(row, dict) else None
    if not isinstance(value, str) or not value:
        raise DataError(f"{place}: no {name!r}; {_KINDS} are read")
    return value


def _key(row: Any, name: str, place: str) -> str:
    value = row.get(name) if isinstance(row, dict) else None
    if not isinstance(value, (str, int)) or isinstance(value, bool):
        raise DataError(f"{place}: no {name!r}; {_KINDS} are read")
    return str(value)
