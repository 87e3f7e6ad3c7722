"""The GPU, which only the tests that are about it see."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_SEEN = "CUDA_VISIBLE_DEVICES"
_BEFORE = "CUDA_VISIBLE_DEVICES_BEFORE_TESTS"

needs_gpu = pytest.mark.skipif(not Path("/dev/nvidiactl").exists(), reason="needs a CUDA GPU")


def hide_gpu() -> None:
    """Let no library find a GPU: on the CPU the same seed gives the same bits, and most tests hold results to that."""
    os.environ.setdefault(_BEFORE, os.environ.get(_SEEN, "all"))  # a test worker inherits what was hidden already
    os.environ[_SEEN] = ""


def environment_with_gpu() -> dict[str, str]:
    """Return the environment in which a process sees what was there before it was hidden."""
    found = {name: value for name, value in os.environ.items() if name != _SEEN}
    if (before := found.pop(_BEFORE)) != "all":
        found[_SEEN] = before
    return found
