"""Runs a test module in a process of its own: how Triton works is settled when it is imported."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest


def in_a_process(
    module: str, cache: Path, inherited: Mapping[str, str] = os.environ, **environment: str
) -> dict[str, Any]:
    """Return what the module prints as JSON when it is run; Triton's cache goes into ``cache``."""
    kept = {
        name: value for name, value in inherited.items() if not name.startswith("TRITON_") and name != "PYTHONSAFEPATH"
    }
    path = os.pathsep.join(filter(None, (str(Path(__file__).parents[1]), kept.get("PYTHONPATH"))))
    own = {"OMP_NUM_THREADS": "1", "PYTHONPATH": path, "TRITON_CACHE_DIR": str(cache)}
    done = subprocess.run(
        [sys.executable, module], capture_output=True, text=True, timeout=600, env=kept | own | environment
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="triton is not installed: pip install triton"
)
