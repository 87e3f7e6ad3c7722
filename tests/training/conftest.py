"""What the tests of training share."""

from __future__ import annotations

import pytest


@pytest.fixture
def tiny_run(tmp_path):
    """A small distillation, all of its parts fresh."""
    from tiny_run import TinyRun

    return TinyRun(tmp_path / "teacher")
