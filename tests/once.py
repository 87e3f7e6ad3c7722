"""What takes long and is only read is made once for all test workers."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from filelock import FileLock

Made = TypeVar("Made")


def shared_folder(factory: pytest.TempPathFactory) -> Path:
    """Return the folder of this test run that its workers share."""
    own = factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], Made]) -> tuple[Path, Made]:
    """Return a folder and what ``make(folder)`` gave when the first worker to ask called it; pickled in between."""
    folder = shared_folder(factory) / name
    with FileLock(f"{folder}.lock"):
        told = folder.with_name(f"{name}.pickle")
        if not told.exists():
            folder.mkdir()
            found = make(folder)
            told.write_bytes(pickle.dumps(found))
        return folder, pickle.loads(told.read_bytes())
