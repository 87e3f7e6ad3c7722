"""Unpacking what was fetched: into a folder of its own, nothing outside of it, whole or not at all."""

from __future__ import annotations

import shutil
import tarfile
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from kivuko.errors import DataError


def unpack(archive: Path, folder: Path) -> int:
    """Unpack a ``.zip``, ``.tgz`` or ``.tar.gz`` into ``folder``, which may exist; return how many files it holds.

    Files are unpacked beside the folder first and moved into it when all are there. Absolute paths, paths that lead
    out of the folder, links and devices are refused.

    Raises:
        DataError: the archive is damaged, or holds what is refused.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".unpacking-") as name:
            place = Path(name)
            if zipfile.is_zipfile(archive):
                _unzip(archive, place)
            else:
                with tarfile.open(archive, "r:*") as tar:
                    tar.extractall(place, filter="data")
            return _move(place, folder)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, NotImplementedError, RuntimeError) as problem:
        raise DataError(f"{archive}: cannot be unpacked ({problem}). Delete it and fetch it again.") from problem


def _unzip(archive: Path, place: Path) -> None:
    with zipfile.ZipFile(archive) as packed:
        for name in packed.namelist():
            path = PurePosixPath(name.replace("\\", "/"))
            if path.is_absolute() or ".." in path.parts or (path.parts and ":" in path.parts[0]):
                raise DataError(f"{archive}: holds {name!r}, which leads out of its folder; it was not unpacked")
        packed.extractall(place)


def _move(place: Path, folder: Path) -> int:
    count = 0
    for path in sorted(place.rglob("*")):
        if path.is_file():
            target = folder / path.relative_to(place)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(path, target)
            count += 1
    return count
