"""Peak memory of indexing, of the process and its workers together, in a process of its own."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.process_tree import process_tree

_ROOT = Path(__file__).parent.parent
_EVERY = 0.25  # seconds between two looks


def measure_memory(photos: Path, gallery: Path, tower: Path, workers: int) -> dict[str, Any]:
    """Index a folder in a new process; return its peak, MiB of proportional set size summed over the process tree.

    Pages that several processes share count once in that sum. None where the system does not tell.
    """
    command = [sys.executable, "-m", "benchmarks.indexing_memory", str(photos), str(gallery), str(tower)]
    process = subprocess.Popen([*command, "--workers", str(workers)], cwd=_ROOT, stderr=subprocess.PIPE, text=True)
    peak, looks = 0, 0
    while process.poll() is None:
        peak, looks = max(peak, _tree(process.pid)), looks + 1
        time.sleep(_EVERY)
    said = process.stderr.read() if process.stderr else ""
    if process.returncode:
        raise RuntimeError(said.strip() or f"indexing ended with status {process.returncode}")
    return {"peak_mib": round(peak / 2**20, 1) if peak else None, "looks": looks}


def _tree(root: int) -> int:
    """Return the bytes that a process and all its descendants hold now."""
    total = 0
    for number in process_tree(root):
        try:
            lines = Path(f"/proc/{number}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


def main() -> None:
    """Index a folder as ``kivuko index`` does."""
    from kivuko.search.building import index_images
    from kivuko.search.encoding import TowerEncoder
    from kivuko.search.sources import FolderSource

    parser = argparse.ArgumentParser()
    for name in ("photos", "gallery", "tower"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    asked = parser.parse_args()
    from benchmarks.indexing_setting import load_tower

    encoder = TowerEncoder(load_tower(asked.tower))
    index_images(encoder, [FolderSource(asked.photos)], asked.gallery, model=asked.tower, workers=asked.workers)


if __name__ == "__main__":
    main()
