"""Runs a test module in a process of its own: how Triton works is settled when it is imported."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def in_a_process(module: str, cache: Path, **environment: str) -> dict[str, Any]:
    """Return what the module prints as JSON when it is run; Triton's cache goes into ``cache``."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TRITON_")}
    done = subprocess.run(
        [sys.executable, module], capture_output=True, text=True, timeout=600,
        env=inherited | {"OMP_NUM_THREADS": "1", "TRITON_CACHE_DIR": str(cache)} | environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="triton is not installed: pip install triton"
)
