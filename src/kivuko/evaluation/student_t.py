"""Quantiles of Student's t distribution, so that a seed interval needs no statistics package."""

from __future__ import annotations

import math


def two_sided_t(level: float, degrees: int) -> float:
    """Return t such that a Student variable lies within [-t, t] with probability ``level``.

    Args:
        level: in (0, 1).
        degrees: degrees of freedom, at least 1.

    Bisection on the closed form for whole degrees of freedom (Abramowitz & Stegun 1964, 26.7.3-26.7.4).
    """
    # With t = sqrt(degrees) tan(angle) the probability rises with the angle, which has a finite range.
    low, high = 0.0, math.pi / 2
    for _ in range(100):
        middle = (low + high) / 2
        if _probability_within(middle, degrees) < level:
            low = middle
        else:
            high = middle
    return math.sqrt(degrees) * math.tan(low)


def _probability_within(angle: float, degrees: int) -> float:
    """P(-t <= T <= t) for t = sqrt(degrees) tan(angle)."""
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = degrees % 2
    term = cosine if odd else 1.0
    total = 0.0
    for index in range(2 + odd, degrees + 1, 2):
        total += term
        term *= cosine * cosine * (index - 1) / index
    return (angle + sine * total) * 2 / math.pi if odd else sine * total
