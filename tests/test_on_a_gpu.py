"""On a CUDA GPU, where there is one, everything gives what it gives on the CPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gpu import environment_with_gpu, needs_gpu


@needs_gpu
def test_a_gpu_gives_what_the_cpu_gives():
    import on_a_gpu
    from kivuko.training.recipes import shipped_recipes

    trained = [name for name in shipped_recipes() if name != "m2m"]
    command = [sys.executable, str(Path(on_a_gpu.__file__)), *trained]
    done = subprocess.run(command, capture_output=True, text=True, env=environment_with_gpu(), timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout)
    failed = {name: problem for name, problem in told["checks"].items() if problem}
    assert set(told["checks"]) == set(on_a_gpu.CHECKS)
    assert not failed, "\n".join(f"{name}: {problem}" for name, problem in failed.items())
    assert told["learned"] == pytest.approx(on_a_gpu.learned(trained), abs=0.1)
