"""Two objectives at the same clean accuracy: a better model has more to lose, so it may fall further for that alone.

**How models are matched.** Each objective was trained at several bitext sizes. The one that is better at the size asked
is brought down to the other's clean mean by mixing it with itself, trained on less: with weight w a query's score is w
times the larger model's plus 1 - w times the smaller one's, clean and attacked alike. Where it was not trained on so
little, the worse one is brought up to the better one's clean mean in the same way, by its models that were trained on
more. Such a mixture is no guess: it is what is measured, in the mean, of a system that sends each query to the one
model with probability w and to the other otherwise.

**What it assumes.** That a worse model of the same objective is one that saw less bitext. A single model of just that
clean accuracy, trained on a size between the two, may be more or less robust than the mixture if robustness does not
grow in proportion with clean accuracy between the two sizes. The weight is worked out from the same queries and then
held fixed: in a bootstrap sample the clean means are equal on average, not exactly, which makes intervals a little
wider. The test exchanges each concept's scores under the attack, and is exact if the mixture and the other objective
are the same.

(Mixing with a system that finds nothing, instead, would scale clean and attacked scores by one factor: that is
comparing robustness ratios.)
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kivuko.errors import DataError, UsageError
from kivuko.evaluation.comparison import PairedComparison, compare_scores, seed_means
from kivuko.evaluation.mixtures import mixture, on_queries_of
from kivuko.evaluation.records import PerQueryScores


@dataclass(frozen=True, eq=False)
class Point:
    """One objective at one bitext size: blocks of one measure before and after an attack, by language and seed.

    The attack may have been made on fewer queries; clean means are then over those alone.
    """

    size: int
    clean: Sequence[PerQueryScores]
    robust: Sequence[PerQueryScores]


Stand = tuple[float, Point]
"""A point and its clean mean, over languages and seeds."""


@dataclass(frozen=True)
class Matched:
    """A comparison of robust scores at equal clean means, or why there is none.

    Attributes:
        comparison: first against second, on the attacked scores; None where ``reason`` says why.
        target: the clean mean, over languages and seeds, at which both stand.
        mixed: the objective that was moved there; None where both stood there already, or nothing was compared.
        sizes: the bitext sizes that it was mixed from, the one with the lower clean mean first.
        weight: of the model with the higher clean mean, in [0, 1].
    """

    comparison: PairedComparison | None
    target: float
    mixed: str | None = None
    sizes: tuple[int, int] | None = None
    weight: float | None = None
    reason: str = ""


def matched(first: Sequence[Point], second: Sequence[Point], languages: Sequence[str], size: int) -> Matched:
    """Compare two objectives under one attack at equal clean means.

    Args:
        first, second: each objective at several bitext sizes; ``size`` must be among them. All seeds of a size have to
            be there at the others, so that a seed is mixed with itself.
        languages: the means are over these, each language counting the same.
        size: sentence pairs per language at which both are taken. The better one is then brought down to the other's
            clean mean or, where its sizes do not reach down so far, the other one up.

    Returns:
        The comparison of the attacked scores; without one where neither can be moved ("not bracketed").

    Raises:
        UsageError: an objective lacks ``size``, or holds a size twice.
        DataError: blocks that cannot be compared or mixed.
    """
    sides = [_by_clean_mean(points, languages) for points in (first, second)]
    at = [_at(side, size) for side in sides]
    (first_mean, one), (second_mean, other) = at
    if np.isclose(first_mean, second_mean, rtol=0, atol=1e-12):
        return Matched(compare_scores(one.robust, other.robust, languages), first_mean)
    better = int(second_mean > first_mean)
    for moved in (better, 1 - better):
        target = at[1 - moved][0]
        if (pair := _bracket(sides[moved], target)) is not None:
            return _match(pair, at[1 - moved][1], target, languages, moved)
    return Matched(None, min(first_mean, second_mean), reason=_not_bracketed(sides[better], sides[1 - better], size))


def _match(pair: tuple[Stand, Stand], fixed: Point, target: float, languages: Sequence[str], moved: int) -> Matched:
    """Mix a pair of points of one objective up to the target, and compare with the other objective's point."""
    (low, weaker), (high, stronger) = pair
    weight = (target - low) / (high - low)
    blend = mixture([(weight, stronger.robust), (1 - weight, weaker.robust)])
    sides = (blend, fixed.robust) if moved == 0 else (fixed.robust, blend)
    comparison = compare_scores(sides[0], sides[1], languages)
    return Matched(comparison, target, _objective(stronger), (weaker.size, stronger.size), float(weight))


def _by_clean_mean(points: Sequence[Point], languages: Sequence[str]) -> list[Stand]:
    return sorted(((_clean_mean(point, languages), point) for point in points), key=lambda stand: stand[0])


def _clean_mean(point: Point, languages: Sequence[str]) -> float:
    kept = on_queries_of(point.clean, [block for block in point.robust if block.language in languages])
    return float(np.mean(list(seed_means(kept, languages).values())))


def _at(side: Sequence[Stand], size: int) -> Stand:
    found = [stand for stand in side if stand[1].size == size]
    if len(found) != 1:
        sizes = ", ".join(str(point.size) for _, point in side)
        raise UsageError(f"size {size} was asked for, once; the objective has the sizes {sizes or 'none'}")
    return found[0]


def _bracket(side: Sequence[Stand], target: float) -> tuple[Stand, Stand] | None:
    """Return the neighbors, by clean mean, that hold the target between them."""
    return next(((a, b) for a, b in itertools.pairwise(side) if a[0] <= target <= b[0] and a[0] < b[0]), None)


def _not_bracketed(better: Sequence[Stand], worse: Sequence[Stand], size: int) -> str:
    (lowest, weakest), (highest, strongest) = better[0], worse[-1]
    return (
        f"not bracketed at {size:,} pairs: {_objective(weakest)} has a clean mean of {lowest:.3f} even at its weakest "
        f"({weakest.size:,} pairs), {_objective(strongest)} one of {highest:.3f} at its best ({strongest.size:,} pairs)"
    )


def _objective(point: Point) -> str:
    if not point.clean:
        raise DataError(f"there are no clean scores at {point.size} pairs; measure them")
    return point.clean[0].condition.objective
