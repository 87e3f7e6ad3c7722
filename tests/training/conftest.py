"""Let the distillation tests import the tiny run that lies beside them, under any import mode."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def tiny_run(tmp_path):
    """A small distillation, all of its parts fresh."""
    from tiny_run import TinyRun

    return TinyRun(tmp_path / "teacher")
