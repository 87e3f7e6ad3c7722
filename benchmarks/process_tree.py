"""A process and all that it started, directly or not, as Linux tells them."""

from __future__ import annotations

import os
from pathlib import Path


def process_tree(root: int) -> list[int]:
    """Return the numbers of a process and its living descendants; none where the system does not tell."""
    children: dict[int, list[int]] = {}
    for place in Path("/proc").glob("[0-9]*"):
        fields = _fields(int(place.name))
        if fields:
            children.setdefault(int(fields[1]), []).append(int(place.name))
    found: list[int] = []
    waiting = [root] if children else []
    while waiting:
        number = waiting.pop()
        found.append(number)
        waiting += children.get(number, [])
    return found


def seconds_of_tree(root: int) -> float:
    """Return the processor time of a process, of its living descendants, and of all of their ended ones."""
    ticks = 0
    for number in process_tree(root):
        fields = _fields(number)
        ticks += sum(int(value) for value in fields[11:15])  # own and of ended children, user and system
    return ticks / os.sysconf("SC_CLK_TCK")


def _fields(number: int) -> list[str]:
    """Return what /proc/NUMBER/stat says from the state on, nothing for a process that has ended."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
