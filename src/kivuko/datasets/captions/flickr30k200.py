"""Flickr30k-200: the captions of Flickr30k's 1,000 test images, translated by NLLB into the languages of FLORES-200.

Visheratin, "NLLB-CLIP" (arXiv 2309.01859). On disk: ``filenames.txt`` and a file for each FLORES code, such as
``swh_Latn.txt``, line n being the caption of image n; English in ``eng_Latn.txt`` or ``eng_captions.txt``.
"""

from __future__ import annotations

from kivuko.datasets.captions.caption_set import CaptionSet, Gathering, Request, code_of
from kivuko.datasets.captions.image_folder import ImageFolder
from kivuko.datasets.captions.line_captions import add_images, add_lines, read_names
from kivuko.datasets.captions.xtd import FLORES_FILE, TRANSLATED
from kivuko.errors import DataError

NAME = "flickr30k200"
_NAMES = ("filenames.txt", "test_image_names.txt")
BELOW = ("images", "flickr30k_images", "flickr30k-images")
_ENGLISH = "eng_captions.txt"


def read_flickr30k200(request: Request) -> CaptionSet:
    """Read the captions of every language that is there, and find the images below PATH or IMAGES.

    Raises:
        DataError: no list of names, no captions, or a file whose lines do not fit the list.
    """
    root = request.path
    names = next((file for name in _NAMES if (file := root / name).is_file()), None)
    if names is None:
        raise DataError(
            f"{root}: no {_NAMES[0]} in it; name the folder that holds it and the captions, swh_Latn.txt and so on"
        )
    gathered = Gathering()
    images = add_images(gathered, names, read_names(names), ImageFolder(request.images or root), BELOW)
    for file in sorted(root.iterdir()):
        match = FLORES_FILE.fullmatch(file.name)
        written = match[1] if match else "eng" if file.name == _ENGLISH else None
        if written and (code := code_of(written, str(file))) not in gathered.captions:
            add_lines(gathered, file, code, images, names)
    one = "one caption per image, of the five that Flickr30k has: text-to-image figures are not those of Flickr30k"
    return gathered.finish(NAME, "test", root, [one, TRANSLATED])
