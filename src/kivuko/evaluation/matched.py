"""Two objectives under attack: at equal clean accuracy, and by the share of accuracy that is left.

A better model has more to lose. So models are compared when matched in clean accuracy (:func:`matched`), or by their
ratios robust / clean (:func:`compare_ratios`).

Matching: the better objective is brought down to the other's clean mean by mixing it with itself, trained on less
bitext (or the worse one up, by its models trained on more). With weight w a query's score is w times the larger model's
plus 1 - w times the smaller one's, clean and attacked alike: the mean of a system that sends each query to one of the
two by lot. A single model of just that clean accuracy may be more or less robust. The weight is estimated from the same
queries and held fixed, so in a bootstrap sample the clean means are equal on average, not exactly.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kivuko.errors import DataError, UsageError
from kivuko.evaluation.comparison import PairedComparison, Seed, compare_scores, seed_differences, seed_means
from kivuko.evaluation.mixtures import (
    BOOTSTRAP,
    Aligned,
    Bootstrap,
    Floats,
    aligned,
    concept_samples,
    mixture,
    on_queries_of,
)
from kivuko.evaluation.records import PerQueryScores
from kivuko.evaluation.statistics import Interval, RandomizationTest, percentiles, seed_interval


@dataclass(frozen=True, eq=False)
class Point:
    """One objective at one bitext size: blocks of one measure; clean means are over the attacked queries alone."""

    size: int
    clean: Sequence[PerQueryScores]
    robust: Sequence[PerQueryScores]


Level = tuple[float, Point]  # a clean mean and its point


@dataclass(frozen=True)
class Matched:
    """A comparison of robust scores at equal clean means, or the ``reason`` that there is none."""

    comparison: PairedComparison | None
    target: float  # the clean mean of both
    mixed: str | None = None  # the objective that was moved there, if one was
    sizes: tuple[int, int] | None = None  # bitext sizes that it was mixed from, the lower clean mean first
    weight: float | None = None  # of the model with the higher clean mean, in [0, 1]
    reason: str = ""


def matched(first: Sequence[Point], second: Sequence[Point], languages: Sequence[str], size: int) -> Matched:
    """Compare two objectives under one attack at equal clean means.

    ``first``, ``second``: each at several bitext sizes, ``size`` among them, with the same seeds. Without a comparison
    where neither side can be moved ("not bracketed").
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


def _match(pair: tuple[Level, Level], fixed: Point, target: float, languages: Sequence[str], moved: int) -> Matched:
    """Mix a pair of points of one objective up to the target, and compare with the other objective's point."""
    (low, weaker), (high, stronger) = pair
    weight = (target - low) / (high - low)
    blend = mixture([(weight, stronger.robust), (1 - weight, weaker.robust)])
    sides = (blend, fixed.robust) if moved == 0 else (fixed.robust, blend)
    comparison = compare_scores(sides[0], sides[1], languages)
    return Matched(comparison, target, _objective(stronger), (weaker.size, stronger.size), float(weight))


def _by_clean_mean(points: Sequence[Point], languages: Sequence[str]) -> list[Level]:
    return sorted(((_clean_mean(point, languages), point) for point in points), key=lambda level: level[0])


def _clean_mean(point: Point, languages: Sequence[str]) -> float:
    kept = on_queries_of(point.clean, [block for block in point.robust if block.language in languages])
    return float(np.mean(list(seed_means(kept, languages).values())))


def _at(side: Sequence[Level], size: int) -> Level:
    levels = [level for level in side if level[1].size == size]
    if len(levels) != 1:
        sizes = ", ".join(str(point.size) for _, point in side)
        raise UsageError(f"size {size} is needed once; the objective has the sizes {sizes or 'none'}")
    return levels[0]


def _bracket(side: Sequence[Level], target: float) -> tuple[Level, Level] | None:
    """Return the neighbors, by clean mean, that hold the target between them."""
    return next(((a, b) for a, b in itertools.pairwise(side) if a[0] <= target <= b[0] and a[0] < b[0]), None)


def _not_bracketed(better: Sequence[Level], worse: Sequence[Level], size: int) -> str:
    (lowest, weakest), (highest, strongest) = better[0], worse[-1]
    return (
        f"not bracketed at {size:,} pairs: {_objective(weakest)} has a clean mean of {lowest:.3f} even at its weakest "
        f"({weakest.size:,} pairs), {_objective(strongest)} one of {highest:.3f} at its best ({strongest.size:,} pairs)"
    )


def _objective(point: Point) -> str:
    if not point.clean:
        raise DataError(f"there are no clean scores at {point.size} pairs; measure them")
    return point.clean[0].condition.objective


Sides = tuple[Sequence[PerQueryScores], Sequence[PerQueryScores]]  # clean and attacked

_CHUNK_TRIALS = 2000


def compare_ratios(
    first: Sides,
    second: Sides,
    languages: Sequence[str],
    *,
    bootstrap: Bootstrap = BOOTSTRAP,
    trials: int = 10_000,
    seed: int = 0,
) -> PairedComparison | None:
    """Compare robust / clean, each a mean over languages and seeds; None where a clean mean is zero in a sample.

    The test exchanges, concept by concept, both objectives' clean and attacked scores together. Its statistic is the
    difference of the ratios.
    """
    sides = [aligned(list(side), languages) for side in (first, second)]
    names = [side[0][0].condition.objective for side in (first, second)]
    _check_same(sides, names)
    clusters = {code: scores.clusters for code, scores in sides[0].items()}
    columns = {
        code: np.concatenate([side[code].values.mean(1) for side in sides]).T  # [queries, 4]: clean, attacked, twice
        for code in languages
    }
    drawn = concept_samples(columns, clusters, bootstrap)
    by_seed = [_ratios_by_seed(side) for side in sides]
    undefined = any(math.isnan(ratio) for side in by_seed for ratio in side.values())
    if drawn.share(1, 0) is None or drawn.share(3, 2) is None or undefined:
        return None
    means = (float(drawn.means[1] / drawn.means[0]), float(drawn.means[3] / drawn.means[2]))
    relative = None
    if (drawn.samples[:, 3] > 0).all() and means[1] > 0:
        samples = drawn.samples[:, 1] / drawn.samples[:, 0] / (drawn.samples[:, 3] / drawn.samples[:, 2])
        relative = Interval(means[0] / means[1] - 1, *percentiles(samples - 1, bootstrap.level), drawn.clusters)
    return PairedComparison(
        names[0], names[1], means,
        difference=drawn.interval(lambda m: m[..., 1] / m[..., 0] - m[..., 3] / m[..., 2]), relative=relative,
        over_seeds=seed_interval(seed_differences(by_seed, names)),
        test=_test(_cluster_sums(columns, clusters), trials, seed),
    )  # fmt: skip


def _check_same(sides: Sequence[dict[str, Aligned]], names: Sequence[str]) -> None:
    for code, scores in sides[0].items():
        if list(scores.clusters) != list(sides[1][code].clusters):
            raise DataError(f"{names[0]} and {names[1]} were not measured on the same queries; measure both again")


def _ratios_by_seed(side: dict[str, Aligned]) -> dict[Seed, float]:
    means = np.mean([scores.values.mean(2) for scores in side.values()], axis=0)  # [2, seeds]
    seeds = next(iter(side.values())).seeds
    return {
        seed: float(robust / clean) if clean > 0 else math.nan
        for seed, (clean, robust) in zip(seeds, means.T, strict=True)
    }


def _cluster_sums(columns: dict[str, Floats], clusters: dict[str, Sequence[str]]) -> Floats:
    """Return each cluster's share of the four means over languages: [clusters, 4]."""
    names = sorted({name for code in columns for name in clusters[code]})
    place = {name: row for row, name in enumerate(names)}
    sums = np.zeros((len(names), 4))
    for code, table in columns.items():
        np.add.at(sums, [place[name] for name in clusters[code]], table / (len(table) * len(columns)))
    return sums


def _test(sums: Floats, trials: int, seed: int) -> RandomizationTest:
    observed = _ratio_difference(sums.sum(0)[None])[0]
    swaps = sums[:, [2, 3, 0, 1]] - sums
    rng = np.random.default_rng(seed)
    count = 0
    for start in range(0, trials, _CHUNK_TRIALS):
        size = min(_CHUNK_TRIALS, trials - start)
        swapped = rng.integers(2, size=(size, len(sums)), dtype=np.int8).astype(np.float64)
        # Sums that are equal on paper differ by rounding; without slack such ties would be lost.
        count += int((np.abs(_ratio_difference(sums.sum(0) + swapped @ swaps)) >= abs(observed) - 1e-12).sum())
    return RandomizationTest(float(observed), (1 + count) / (1 + trials), len(sums), trials)


def _ratio_difference(means: Floats) -> NDArray[np.float64]:
    """Map [trials, 4] to the difference of ratios [trials]; the ratio of a side with no clean score is 0."""
    ratios = [
        np.divide(means[:, at + 1], means[:, at], out=np.zeros(len(means)), where=means[:, at] > 1e-15) for at in (0, 2)
    ]
    return np.asarray(ratios[0] - ratios[1])
