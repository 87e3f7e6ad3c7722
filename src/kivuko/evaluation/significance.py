"""Is a difference more than luck? A paired randomisation test, and a correction for asking often."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from kivuko.errors import DataError, UsageError
from kivuko.evaluation.intervals import paired_values

_CHUNK_CELLS = 1_000_000


@dataclass(frozen=True)
class RandomisationTest:
    """``difference``: the mean of a - b; ``p_value`` in (0, 1]; ``n`` queries; ``trials`` sign flips."""

    difference: float
    p_value: float
    n: int
    trials: int


def randomisation_test(a: ArrayLike, b: ArrayLike, trials: int = 10_000, seed: int = 0) -> RandomisationTest:
    """Two-sided paired randomisation test (Fisher's sign flips) on the mean difference over queries.

    If the two systems were the same, either value of a query could have come from either; so each
    difference may change its sign. ``p = (1 + count) / (1 + trials)``, where ``count`` trials had a mean
    at least as far from zero as the observed one; the ones added count the observed labelling itself and
    keep p valid and above zero. The smallest p possible is 1 / (1 + trials).

    Smucker, Allan & Carterette, "A comparison of statistical significance tests for information
    retrieval evaluation", CIKM 2007.

    Args:
        a, b: [n] each, finite, element i of both belonging to query i.
        trials: random sign assignments, at least 1.
        seed: of the signs; the same arguments give the same p.

    Raises:
        DataError: lengths that differ, no value, or one that is not finite.
        UsageError: ``trials`` below 1.
    """
    if trials < 1:
        raise UsageError(f"trials is {trials}; it must be at least 1 (10000 is usual)")
    differences = paired_values(a, b)
    total = float(differences.sum())
    flippable = differences[differences != 0]  # a zero stays zero under either sign
    if not len(flippable):
        return RandomisationTest(0.0, 1.0, len(differences), trials)
    # Sums that are equal on paper differ by rounding; without slack such ties would be lost.
    threshold = abs(total) - 1e-12 * float(np.abs(flippable).sum())
    rng = np.random.default_rng(seed)
    chunk = max(1, _CHUNK_CELLS // len(flippable))
    count = 0
    for start in range(0, trials, chunk):
        size = min(chunk, trials - start)
        kept = rng.integers(2, size=(size, len(flippable)), dtype=np.int8).astype(np.float64)
        sums = 2 * (kept @ flippable) - flippable.sum()  # [size]
        count += int((np.abs(sums) >= threshold).sum())
    return RandomisationTest(total / len(differences), (1 + count) / (1 + trials), len(differences), trials)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjust a family of p-values so that the chance of any false finding in it stays below the level.

    Reject where the adjusted value is at most the level (0.05). Step-down: the k-th smallest of m is
    multiplied by m - k + 1, capped at 1, and never below a smaller one's.

    Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics
    6, 1979.

    Args:
        p_values: what was asked to its p-value in [0, 1]. The family is every question asked together,
            including those whose answer disappoints.

    Returns:
        The same keys, in the same order, to adjusted p-values in [0, 1]; empty for an empty family.

    Raises:
        DataError: a p-value outside [0, 1].
    """
    for question, p in p_values.items():
        if not 0 <= p <= 1:
            raise DataError(f"the p-value of {question!r} is {p}; it must lie in [0, 1]")
    adjusted: dict[str, float] = {}
    floor = 0.0
    for position, (question, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        floor = max(floor, min(1.0, (len(p_values) - position) * p))
        adjusted[question] = floor
    return {question: adjusted[question] for question in p_values}
