"""Labels of a plot that keep apart."""

from __future__ import annotations

from collections.abc import Sequence


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
