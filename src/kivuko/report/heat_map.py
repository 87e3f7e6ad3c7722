"""Figures of records as text, and labels moved apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kivuko.evaluation import Record

Key = tuple[str, str, str, str]  # objective, language, subset, measure


def index_records(records: Iterable[Record]) -> dict[Key, Record]:
    """Return the clean (unattacked) records by (objective, language, subset, measure); later ones win."""
    return {(r.objective, r.language, r.subset, r.measure): r for r in records if r.attack is None}


def with_interval(record: Record | None) -> str:
    """Write ``0.412 [0.380, 0.447]``; a dash where there is no record."""
    return "–" if record is None else f"{record.value:.3f} [{record.low:.3f}, {record.high:.3f}]"


def plain(record: Record | None) -> str:
    """Write ``0.412``; a dash where there is no record."""
    return "–" if record is None else f"{record.value:.3f}"


def spread_apart(heights: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move ascending heights apart to ``gap``, each as little as may be, staying between ``low`` and ``high``."""
    moved = list(heights)
    for _ in range(200):
        for place in range(1, len(moved)):
            short = gap - (moved[place] - moved[place - 1])
            if short > 0:
                moved[place - 1] -= short / 2
                moved[place] += short / 2
        for place, height in enumerate(moved):
            moved[place] = min(max(height, low), high)
    return moved
