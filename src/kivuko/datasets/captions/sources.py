"""Where the caption sets that may be fetched lie on the network, and the parts each consists of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kivuko.errors import UsageError

_XTD = "https://raw.githubusercontent.com/adobe-research/Cross-lingual-Test-Dataset-XTD10/main"
_IGLUE = "https://raw.githubusercontent.com/e-bug/iglue/main/datasets"
_MULTI30K = "https://raw.githubusercontent.com/multi30k/dataset/master/data/task1"


@dataclass(frozen=True)
class RemoteFile:
    """One file of a set.

    ``place``: where it goes, relative to the set's folder; an archive is unpacked into the folder ``into`` and then
    removed. ``pictures``: gigabytes that the user may have already.
    """

    url: str
    place: str
    into: str | None = None
    pictures: bool = False


@dataclass(frozen=True)
class RemoteSet:
    """What a set consists of; ``also``: what must be got elsewhere, in a sentence."""

    files: tuple[RemoteFile, ...]
    licence: str
    also: str = ""


def _xtd() -> tuple[RemoteFile, ...]:
    folders = {"XTD10": "es it ko pl ru tr zh", "MIC": "en de fr", "STAIR": "jp"}
    captions = [
        RemoteFile(f"{_XTD}/{folder}/test_1kcaptions_{code}.txt", f"{folder}/test_1kcaptions_{code}.txt")
        for folder, codes in folders.items()
        for code in codes.split()
    ]
    return (RemoteFile(f"{_XTD}/XTD10/test_image_names.txt", "XTD10/test_image_names.txt"), *captions)


def _multi30k() -> tuple[RemoteFile, ...]:
    part = "test_2016_flickr"
    captions = [
        RemoteFile(f"{_MULTI30K}/raw/{part}.{c}.gz", f"data/task1/raw/{part}.{c}.gz") for c in ["en", "de", "fr", "cs"]
    ]
    names = f"image_splits/{part}.txt"
    return (RemoteFile(f"{_MULTI30K}/{names}", f"data/task1/{names}"), *captions)


SETS: Mapping[str, RemoteSet] = {
    "xm3600": RemoteSet(
        files=(
            RemoteFile("https://google.github.io/crossmodal-3600/web-data/captions.zip", "captions.zip", into="."),
            RemoteFile(
                "https://open-images-dataset.s3.amazonaws.com/crossmodal-3600/images.tgz",
                "images.tgz",
                into="images",
                pictures=True,
            ),
        ),
        licence="CC BY 4.0 (captions); the pictures' own licences are in image_attributions.csv of the set's page",
    ),
    "xtd": RemoteSet(
        files=_xtd(),
        licence="Adobe's research licence, see the repository's LICENSE.md",
        also="the pictures are MSCOCO's of 2014 (train and val), from cocodataset.org",
    ),
    "xflickrco": RemoteSet(
        files=tuple(
            RemoteFile(f"{_IGLUE}/xFlickrCO/annotations/{code}/test.jsonl", f"annotations/{code}/test.jsonl")
            for code in ["de", "en", "es", "id", "ja", "ru", "tr", "zh"]
        ),
        licence="see IGLUE's repository",
        also="the pictures are Flickr30k's and MSCOCO's val2014",
    ),
    "wit": RemoteSet(
        files=tuple(
            RemoteFile(f"{_IGLUE}/wit/annotations/test_{code}.jsonl", f"annotations/test_{code}.jsonl")
            for code in ["ar", "bg", "da", "el", "en", "et", "id", "ja", "ko", "tr", "vi"]
        ),
        licence="CC BY-SA 3.0",
        also="the pictures are Wikimedia Commons', at the address that each line gives",
    ),
    "multi30k": RemoteSet(
        files=_multi30k(),
        licence="see Multi30k's repository",
        also="the pictures are Flickr30k's, which its authors give on request",
    ),
}


def remote_set(name: str) -> RemoteSet:
    """Return what is known of a set that may be fetched.

    Raises:
        UsageError: it is not one of them.
    """
    if name not in SETS:
        raise UsageError(f"{name} cannot be fetched; these can: {', '.join(SETS)}. Others: name their local copy")
    return SETS[name]
