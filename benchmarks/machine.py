"""What a benchmark ran on: enough to judge its timings by, and nothing that names the machine or its user."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time
from pathlib import Path
from typing import Any

from benchmarks.process_tree import seconds_of_tree

PACKAGES = ("torch", "numpy", "numba", "POT", "ott-jax", "jax", "jaxlib", "geomloss")


def describe_machine() -> dict[str, Any]:
    """Return processor, cores, memory, system and the versions of the packages that take part."""
    import torch  # not before a benchmark has said how its threads wait

    return {
        "processor": _processor(),
        "cores": usable_cores(),
        "torch_threads": torch.get_num_threads(),
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY", "default"),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


class Interference:
    """How much of the machine other processes took while this one and those it started were timed.

    Timings are only as good as this is small: threads that wait for one another wait for the slowest.
    """

    def __init__(self) -> None:
        self._busy, self._own, self._clock = _busy_seconds(), seconds_of_tree(os.getpid()), time.perf_counter()

    def share(self) -> float | None:
        """Return the share of all cores' time that others took since this was made, None where it is not known."""
        if self._busy is None or (busy := _busy_seconds()) is None:
            return None
        others = busy - self._busy - (seconds_of_tree(os.getpid()) - self._own)
        return max(0.0, others) / ((time.perf_counter() - self._clock) * (os.cpu_count() or 1))


def _busy_seconds() -> float | None:
    """Return how long the cores have been busy since the system started, taken together."""
    try:
        ticks = [int(value) for value in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    except OSError:
        return None
    idle, waiting = ticks[3:5]
    return (sum(ticks) - idle - waiting) / os.sysconf("SC_CLK_TCK")


def usable_cores() -> int:
    """Return how many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    """Return the processor's model name and its widest vector instructions, as Linux tells them."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    facts = dict(line.split(":", 1) for line in text.split("\n\n")[0].splitlines() if ":" in line)
    facts = {key.strip(): value.strip() for key, value in facts.items()}
    flags = facts.get("flags", "").split()
    vectors = next((name for flag, name in (("avx512f", "AVX-512"), ("avx2", "AVX2")) if flag in flags), "")
    parts = [facts.get("model name", platform.machine()), f"family {facts.get('cpu family', '?')}", vectors]
    return ", ".join(part for part in parts if part)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
