"""Sets whose captions stand in one text file per language, line n belonging to the n-th name of a list of images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from kivuko.datasets.captions.caption_set import Gathering, Image
from kivuko.datasets.captions.image_folder import ImageFolder
from kivuko.datasets.collections.streams import text_lines
from kivuko.errors import DataError, at
from kivuko.text import pluralize

_LONGEST = 16_384  # letters of one line; a longer one is no caption


def read_names(file: Path, clean: Callable[[str], str] = str.strip) -> list[str]:
    """Return the names of images in a file, one a line; blank lines at its end do not count.

    Raises:
        DataError: the file cannot be read, holds no name, or a blank line among them.
    """
    names = [clean(line) for line in _lines(file)]
    if not names:
        raise DataError(f"{file}: names no image; fetch the file again")
    if "" in names:
        raise DataError(f"{at(file, names.index('') + 1)}: a blank line among the names; fetch the file again")
    return names


def add_images(
    gathered: Gathering, file: Path, names: Sequence[str], folder: ImageFolder, below: Sequence[str] = ()
) -> list[str]:
    """Take in the images that a file names, and return their ids, one per name.

    Args:
        below: subfolders of the folder that images of this set are kept in.
    """
    gathered.files[file] = None
    for number, name in enumerate(names, start=1):
        found = folder.find(*(f"{sub}/{name}" for sub in below), name)
        gathered.add_image(Image(name, found, f"{name} ({at(file, number)})"))
    return list(names)


def add_lines(gathered: Gathering, file: Path, code: str, images: Sequence[str], names: Path) -> None:
    """Take in one language's captions, the n-th line being the caption of the n-th image.

    Raises:
        DataError: the file cannot be read, or has more or fewer lines than there are images.
    """
    gathered.files[file] = None
    lines = _lines(file, len(images))
    if len(lines) != len(images):
        raise DataError(
            f"{file}: has {pluralize(len(lines), 'line')}, but {names.name} names {pluralize(len(images), 'image')}; "
            "line n must be the caption of image n. Fetch both files again"
        )
    for number, (image, text) in enumerate(zip(images, lines, strict=True), start=1):
        gathered.add_captions(image, code, [text], at(file, number))


def _lines(file: Path, least: int = 0) -> list[str]:
    """Return the lines of a file, less the blank ones at its end where there are more than ``least``."""
    lines: list[str] = []
    for number, line in text_lines(file):
        if len(line) > _LONGEST:
            raise DataError(f"{at(file, number)}: a line of {len(line):,} letters is no caption; check the file")
        lines.append(line)
    while len(lines) > least and not lines[-1].strip():
        lines.pop()
    return lines
