"""How much memory a contender needs at its peak, measured in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.transport_contenders import Contender, Task, contenders
from benchmarks.transport_grid import Cell
from benchmarks.transport_inputs import Inputs, build

_ROOT = Path(__file__).parent.parent


def measure_memory(contender: Contender, cell: Cell, inputs: Inputs) -> dict[str, Any]:
    """Return how far a call's peak lies above what the process held before, as bytes and as multiple of the cost's.

    The inputs are there before and so do not count; what the call returns does. None where the system does not tell.
    """
    size = inputs.cost.numel() * inputs.cost.element_size()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "cost.npy"
        np.save(file, inputs.cost.numpy())
        # Without this, what was freed before may be used again and so not be counted.
        environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
        command = [sys.executable, "-m", "benchmarks.transport_memory"]
        command += [contender.name, str(file), str(cell.regularization), str(torch.get_num_threads())]
        done = subprocess.run(command, env=environment, cwd=_ROOT, capture_output=True, text=True, check=False)
    peak = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None
    return {
        "contender": contender.name, "label": contender.label, **cell.record(), "size": cell.size, "cost_bytes": size,
        "peak_bytes": peak, "multiple": None if peak is None else peak / size,
        "note": "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["failed"])[-1],
    }  # fmt: skip


def _child(arguments: Sequence[str]) -> None:
    """Print how many bytes the peak of one call lies above the state before it."""
    name, file, regularization, threads = arguments
    torch.set_num_threads(int(threads))
    contender = next(one for one in contenders() if one.name == name)
    tiny = Task(build("random", 4, 4, 4), 0.5, worst_iterations=100, careful=False)
    contender.prepare(tiny).run()
    cost = torch.from_numpy(np.load(file))
    batch, n, m = cost.shape
    inputs = Inputs(cost, torch.full((batch, n), 1 / n), torch.full((batch, m), 1 / m))
    ready = contender.prepare(Task(inputs, float(regularization), worst_iterations=150, careful=False))
    del inputs, cost  # a contender that keeps them does so in ``ready``; they are held either way before the call
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = _status("VmRSS")
    result = ready.run()
    print(json.dumps(_status("VmHWM") - before))
    del result


def _status(field: str) -> int:
    """Return a field of this process's status in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise KeyError(field)


if __name__ == "__main__":
    _child(sys.argv[1:])
