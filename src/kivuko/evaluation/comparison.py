"""Two objectives on the same queries: how large is the difference, how sure, and would it survive a paired test?

The unit is the cluster (in the emoji world the concept): queries for one thing, in whatever language and under whatever
seed, stand or fall together. Each cluster's value is its share of the mean over languages, averaged over seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kivuko.errors import DataError
from kivuko.evaluation.intervals import Interval, paired_difference, percentiles, resampled_means, seed_interval
from kivuko.evaluation.query_scores import PerQueryScores
from kivuko.evaluation.significance import RandomisationTest, randomisation_test

Seed = int | None


@dataclass(frozen=True)
class Comparison:
    """``first`` against ``second``: two objectives' mean over languages of one measure.

    ``difference``: first - second, with a bootstrap interval over clusters. ``relative``: first / second - 1, likewise;
    None where second's mean is zero in some sample. ``over_seeds``: the difference of each seed's means, with a t
    interval; where an objective has no seed its one value stands beside each seed of the other. ``test``: a paired
    randomisation test over clusters on the same difference.
    """

    first: str
    second: str
    means: tuple[float, float]
    difference: Interval
    relative: Interval | None
    over_seeds: Interval
    test: RandomisationTest


def compare(first: Sequence[PerQueryScores], second: Sequence[PerQueryScores], languages: Sequence[str]) -> Comparison:
    """Compare two objectives on one measure, subset, data set, split and bitext size.

    Args:
        first, second: an objective's blocks, one per language and seed; blocks of other languages are ignored.
        languages: the mean is over these, each language counting the same.

    Raises:
        DataError: a language is missing on one side, queries differ, or the sides share no seed.
    """
    tables = [_by_seed(blocks, languages) for blocks in (first, second)]
    names = [_objective(blocks) for blocks in (first, second)]
    clusters = [sorted({cluster for seed in table.values() for cluster in seed}) for table in tables]
    if clusters[0] != clusters[1]:
        raise DataError(f"{names[0]} and {names[1]} were not measured on the same queries; measure both again")
    a, b = (_mean_over_seeds(table, clusters[0]) for table in tables)
    return Comparison(
        names[0], names[1], (float(a.mean()), float(b.mean())),
        difference=paired_difference(a, b), relative=_relative(a, b),
        over_seeds=seed_interval(_seed_differences(tables[0], tables[1], names)), test=randomisation_test(a, b),
    )  # fmt: skip


def seed_means(blocks: Sequence[PerQueryScores], languages: Sequence[str]) -> dict[Seed, float]:
    """Return the mean over languages of the mean over queries, for each seed.

    Raises:
        DataError: a seed lacks a language.
    """
    return {seed: float(np.mean(list(table.values()))) for seed, table in _by_seed(blocks, languages).items()}


def _by_seed(blocks: Sequence[PerQueryScores], languages: Sequence[str]) -> dict[Seed, dict[str, float]]:
    """Each cluster's share of the mean over languages, times the number of clusters: their mean is that mean."""
    shares: dict[Seed, dict[str, float]] = {}
    seen: dict[Seed, list[str]] = {}
    for block in blocks:
        if block.language not in languages:
            continue
        seed = block.condition.seed
        table = shares.setdefault(seed, {})
        seen.setdefault(seed, []).append(block.language)
        weight = 1 / (len(block.values) * len(languages))
        for cluster, value in zip(block.clusters or block.query_ids, block.values, strict=True):
            table[cluster] = table.get(cluster, 0.0) + float(value) * weight
    if not shares:
        raise DataError(f"no scores in {', '.join(languages)} to compare; run the study again")
    for seed, found in seen.items():
        if sorted(found) != sorted(languages):
            raise DataError(
                f"{_objective(blocks)}, seed {seed}: has scores in {', '.join(sorted(found))}, but "
                f"{', '.join(sorted(languages))} are compared, each once; run the study again"
            )
    return {seed: {name: share * len(table) for name, share in table.items()} for seed, table in shares.items()}


def _mean_over_seeds(table: dict[Seed, dict[str, float]], clusters: Sequence[str]) -> NDArray[np.float64]:
    if any(len(values) != len(clusters) for values in table.values()):
        raise DataError("the seeds of one objective were not measured on the same queries; measure them again")
    return np.array([np.mean([values[cluster] for values in table.values()]) for cluster in clusters])


def _relative(a: NDArray[np.float64], b: NDArray[np.float64]) -> Interval | None:
    means = resampled_means(np.column_stack([a, b]), 2000, np.random.default_rng(0))  # [resamples, 2]
    if not (means[:, 1] > 0).all() or not b.mean() > 0:
        return None
    low, high = percentiles(means[:, 0] / means[:, 1] - 1, 0.95)
    return Interval(float(a.mean() / b.mean() - 1), low, high, len(a))


def _seed_differences(
    first: dict[Seed, dict[str, float]], second: dict[Seed, dict[str, float]], names: Sequence[str]
) -> list[float]:
    means = [{seed: float(np.mean(list(table.values()))) for seed, table in side.items()} for side in (first, second)]
    one, other = means
    if None in one or None in other:  # a system without training runs, beside each run of the other
        return [x - y for x in one.values() for y in other.values()]
    shared = [seed for seed in one if seed in other]
    if not shared:
        raise DataError(f"{names[0]} and {names[1]} share no seed, so they cannot be paired; run the study again")
    return [one[seed] - other[seed] for seed in shared]


def _objective(blocks: Sequence[PerQueryScores]) -> str:
    return next((block.condition.objective for block in blocks), "nothing")
