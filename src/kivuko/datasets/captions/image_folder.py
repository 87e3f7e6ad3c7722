"""Where the images lie that a set names: found by path, or by name anywhere below a folder."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from kivuko.errors import DataError


class ImageFolder:
    """A folder of images, as deep as anyone has unpacked them.

    The folder is walked once, and only if an image is not where its name says: hidden folders are passed over, links
    to folders are not followed.

    Args:
        path: the folder.

    Raises:
        DataError: it is no folder.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_dir():
            raise DataError(f"{path}: no such folder of images; check the path")
        self.path = path
        self._by_name: dict[str, list[str]] | None = None

    def find(self, *names: str) -> Path | None:
        """Return the image that has one of these names, the first that is found; None if there is none.

        Args:
            names: relative to the folder, such as ``images/a.jpg`` or ``a.jpg``.

        Raises:
            DataError: the folder holds several of that name, so that it is not known which is meant.
        """
        names = tuple(name for name in names if _is_name(name))
        for name in names:
            place = self.path / name
            if _is_file(place):
                return place
        for name in names:
            if found := self._index().get(Path(name).name):
                if len(found) > 1:
                    raise DataError(
                        f"{self.path}: holds two images named {Path(name).name}: {found[0]} and {found[1]}; "
                        "name the folder of this set's own images after a comma"
                    )
                return self.path / found[0]
        return None

    def _index(self) -> dict[str, list[str]]:
        if self._by_name is None:
            self._by_name = {}
            for folder, inside, files in os.walk(self.path):
                inside[:] = sorted(name for name in inside if not name.startswith("."))
                below = os.path.relpath(folder, self.path)
                for name in files:
                    where = name if below == "." else f"{below}/{name}"
                    self._by_name.setdefault(name, []).append(where)
        return self._by_name


def endings(name: str, known: Iterable[str] = ("jpg", "jpeg", "png", "webp")) -> list[str]:
    """Return the names that an image may have of which only the first part is known."""
    return [f"{name}.{ending}" for ending in known]


def _is_name(name: str) -> bool:
    try:
        return 0 < len(os.fsencode(name)) < 4096 and "\0" not in name
    except UnicodeEncodeError:  # half of a surrogate pair, as JSON may hold
        return False


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file system takes
        return False
