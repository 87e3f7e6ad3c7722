"""How much memory a solve takes beside the costs it is given."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")

# Solving a tiny batch first pays for what is loaded and compiled once.
MEASURE = r"""
import json, re, sys, torch
from pathlib import Path
from kivuko import transport

def peak():  # of this process: what getrusage tells, a process inherits from the one that started it
    return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])

torch.set_num_threads(1)
torch.manual_seed(0)
options = json.loads(sys.argv[1])
transport.solve(torch.rand(4, 64, 64), **options)
cost = torch.rand(2048, 64, 64)
before = peak()
transport.solve(cost, **options)
print((peak() - before) / cost.nbytes)
"""


@pytest.mark.parametrize(
    "options",
    [{"backend": "numba"}, {"backend": "torch"}, {"method": "sinkhorn_log"}],
    ids=lambda o: "-".join(o.values()),
)
def test_solving_takes_less_than_four_times_the_memory_of_the_costs(options) -> None:
    if options.get("backend") == "numba":
        pytest.importorskip("numba", reason="numba is not installed: pip install 'kivuko[fast]'")
    ran = subprocess.run(
        [sys.executable, "-c", MEASURE, json.dumps(options)],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert float(ran.stdout) < 4
