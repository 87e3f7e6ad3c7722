"""One writer at a time: a lock that the system lets go of when its process ends, however it ends."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from kivuko.errors import GalleryError

LOCK = ".lock"


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Hold a gallery's lock.

    Raises:
        GalleryError: another process holds it.
    """
    number = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if not _taken(number):
            raise GalleryError(f"{folder}: another 'kivuko index' is at work on it. Wait until it ends.")
        yield
    finally:
        os.close(number)


def _taken(number: int) -> bool:
    try:
        if os.name == "nt":  # pragma: no cover
            import msvcrt

            msvcrt.locking(number, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined, unused-ignore]
        else:
            import fcntl

            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
