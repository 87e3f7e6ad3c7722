"""A gallery that is made anew beside the old one, and takes its place in two renames that a kill may come between."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from pathlib import Path

from kivuko.errors import GalleryError, KivukoError
from kivuko.gallery.schema import DATABASE, open_to_read, read_meta
from kivuko.gallery.writer import Making


def numbers_to_go_on_from(path: Path) -> dict[str, str]:
    """Return where generations, files and pictures are counted from, so that a reader never takes new for old."""
    try:
        with contextlib.closing(open_to_read(path)) as database:
            meta = read_meta(database)
        generation = int(meta["published"]) + 1
        return {"first_generation": str(generation), "next_segment": meta["next_segment"], "contents": meta["contents"]}
    except (KivukoError, KeyError, ValueError, sqlite3.DatabaseError):
        return {}  # damaged: that is why it is made anew


def fits(folder: Path, making: Making, first: dict[str, str]) -> bool:
    """Tell whether a rebuild that was stopped was one of the same."""
    try:
        with contextlib.closing(open_to_read(folder)) as database:
            meta = read_meta(database)
    except (KivukoError, sqlite3.DatabaseError):
        return False
    same = meta.get("fingerprint") == making.fingerprint and meta.get("storage") == (making.storage or "float16")
    return same and meta.get("first_generation") == first.get("first_generation", "1")


def swap(new: Path, path: Path) -> None:
    """Let a gallery take another's place; ``prepare_folder`` ends what a kill interrupts."""
    aside = _aside(path)
    path.rename(aside)
    new.rename(path)
    shutil.rmtree(aside)


def prepare_folder(path: Path) -> None:
    """Make the gallery's folder; finish a swap that a kill interrupted.

    Raises:
        GalleryError: something that is not a gallery stands there.
    """
    if _aside(path).is_dir():
        if path.exists():
            shutil.rmtree(_aside(path))
        else:
            _aside(path).rename(path)
    if path.exists() and not path.is_dir():
        raise GalleryError(f"{path}: a file stands there. Choose another --out.")
    if path.is_dir() and not (path / DATABASE).exists() and any(one.name != ".lock" for one in path.iterdir()):
        raise GalleryError(f"{path}: exists and is not a gallery; nothing was written. Choose another --out.")
    path.mkdir(parents=True, exist_ok=True)


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.replaced")
