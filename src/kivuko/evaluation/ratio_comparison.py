"""Two objectives' robustness ratios on the same queries: how different, how sure, and by luck?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kivuko.errors import DataError
from kivuko.evaluation.comparison import Comparison, Seed
from kivuko.evaluation.concept_samples import BOOTSTRAP, Aligned, Bootstrap, Floats, aligned, concept_samples
from kivuko.evaluation.intervals import Interval, percentiles, seed_interval
from kivuko.evaluation.query_scores import PerQueryScores
from kivuko.evaluation.significance import RandomisationTest

Sides = tuple[Sequence[PerQueryScores], Sequence[PerQueryScores]]
"""An objective's blocks of one measure, clean and attacked."""

_CHUNK_TRIALS = 2000


def compare_ratios(
    first: Sides,
    second: Sides,
    languages: Sequence[str],
    *,
    bootstrap: Bootstrap = BOOTSTRAP,
    trials: int = 10_000,
    seed: int = 0,
) -> Comparison | None:
    """Compare robust / clean, each a mean over languages and seeds (see
    :class:`~kivuko.evaluation.robustness.Robustness`).

    The test exchanges, concept by concept, both objectives' clean and attacked scores together: if the two were the
    same, either pair could have come from either. Its statistic is the difference of the ratios.

    Returns:
        As :func:`~kivuko.evaluation.comparison.compare`, of ratios; None where an objective finds nothing, clean, in
        some sample or under some seed, for it has no ratio.

    Raises:
        DataError: a language or seed is missing on one side, or the objectives were not measured on the same queries.
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
    if drawn.share(1, 0) is None or drawn.share(3, 2) is None or any(None in ratios.values() for ratios in by_seed):
        return None
    means = (float(drawn.means[1] / drawn.means[0]), float(drawn.means[3] / drawn.means[2]))
    relative = None
    if (drawn.samples[:, 3] > 0).all() and means[1] > 0:
        samples = drawn.samples[:, 1] / drawn.samples[:, 0] / (drawn.samples[:, 3] / drawn.samples[:, 2])
        relative = Interval(means[0] / means[1] - 1, *percentiles(samples - 1, bootstrap.level), drawn.clusters)
    return Comparison(
        names[0], names[1], means,
        difference=drawn.interval(lambda m: m[..., 1] / m[..., 0] - m[..., 3] / m[..., 2]), relative=relative,
        over_seeds=seed_interval(_seed_differences(by_seed)),
        test=_test(_cluster_sums(columns, clusters), trials, seed),
    )  # fmt: skip


def _check_same(sides: Sequence[dict[str, Aligned]], names: Sequence[str]) -> None:
    for code, scores in sides[0].items():
        if list(scores.clusters) != list(sides[1][code].clusters):
            raise DataError(f"{names[0]} and {names[1]} were not measured on the same queries; measure both again")


def _ratios_by_seed(side: dict[str, Aligned]) -> dict[Seed, float | None]:
    means = np.mean([scores.values.mean(2) for scores in side.values()], axis=0)  # [2, seeds]
    seeds = next(iter(side.values())).seeds
    return {
        seed: float(robust / clean) if clean > 0 else None for seed, (clean, robust) in zip(seeds, means.T, strict=True)
    }


def _seed_differences(by_seed: Sequence[dict[Seed, float | None]]) -> list[float]:
    one, other = by_seed
    if None in one or None in other:  # a system without training runs, beside each run of the other
        return [float(a or 0) - float(b or 0) for a in one.values() for b in other.values()]
    shared = [seed for seed in one if seed in other]
    if not shared:
        raise DataError("the objectives share no seed, so they cannot be paired; run the study again")
    return [float(one[seed] or 0) - float(other[seed] or 0) for seed in shared]


def _cluster_sums(columns: dict[str, Floats], clusters: dict[str, Sequence[str]]) -> Floats:
    """Each cluster's share of the four means over languages: [clusters, 4]."""
    names = sorted({name for code in columns for name in clusters[code]})
    place = {name: row for row, name in enumerate(names)}
    sums = np.zeros((len(names), 4))
    for code, table in columns.items():
        np.add.at(sums, [place[name] for name in clusters[code]], table / (len(table) * len(columns)))
    return sums


def _test(sums: Floats, trials: int, seed: int) -> RandomisationTest:
    observed = _difference(sums.sum(0)[None])[0]
    swaps = sums[:, [2, 3, 0, 1]] - sums
    rng = np.random.default_rng(seed)
    count = 0
    for start in range(0, trials, _CHUNK_TRIALS):
        size = min(_CHUNK_TRIALS, trials - start)
        swapped = rng.integers(2, size=(size, len(sums)), dtype=np.int8).astype(np.float64)
        # Sums that are equal on paper differ by rounding; without slack such ties would be lost.
        count += int((np.abs(_difference(sums.sum(0) + swapped @ swaps)) >= abs(observed) - 1e-12).sum())
    return RandomisationTest(float(observed), (1 + count) / (1 + trials), len(sums), trials)


def _difference(means: Floats) -> NDArray[np.float64]:
    """[trials, 4] to the difference of ratios [trials]; where a side has lost all its clean scores its ratio is 0."""
    ratios = [
        np.divide(means[:, at + 1], means[:, at], out=np.zeros(len(means)), where=means[:, at] > 1e-15) for at in (0, 2)
    ]
    return np.asarray(ratios[0] - ratios[1])
