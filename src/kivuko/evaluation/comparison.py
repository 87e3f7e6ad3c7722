"""Two objectives on the same queries: how large is the difference, how sure, and would it survive a paired test?

The unit is the cluster (in the emoji world the concept): queries for one thing, in whatever language and under whatever
seed, stand or fall together. Each cluster's value is its share of the mean over languages, averaged over seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kivuko.errors import DataError
from kivuko.evaluation.records import PerQueryScores
from kivuko.evaluation.statistics import (
    Interval,
    RandomizationTest,
    cluster_resampled_means,
    paired_difference,
    percentiles,
    randomization_test,
    resampled_means,
    seed_interval,
)

Seed = int | None


@dataclass(frozen=True)
class Comparison:
    """``first`` against ``second``: two objectives' mean over languages of one measure.

    ``difference``: first - second, with a bootstrap interval over clusters. ``relative``: first / second - 1, likewise;
    None where second's mean is zero in some sample. ``over_seeds``: the difference of each seed's means, with a t
    interval; where an objective has no seed its one value stands beside each seed of the other. ``test``: a paired
    randomization test over clusters on the same difference.
    """

    first: str
    second: str
    means: tuple[float, float]
    difference: Interval
    relative: Interval | None
    over_seeds: Interval
    test: RandomizationTest


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
        over_seeds=seed_interval(_seed_differences(tables[0], tables[1], names)), test=randomization_test(a, b),
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


# Systems put together query by query: a weighted sum of per-query scores.
#
# A mean over attacks, the area under a curve and a mixture of two models are all such sums. Since each query keeps a
# value of its own, what is put together can be compared, bootstrapped and tested like any single system.

Part = tuple[float, Sequence[PerQueryScores]]
Key = tuple[str, int | None]
"""Language and seed: what a block is found by among the blocks of one objective under one condition."""


def mixture(parts: Sequence[Part], measure: str | None = None) -> list[PerQueryScores]:
    """Return the weighted sum of parts, block by block.

    Args:
        parts: a weight and the blocks of one condition each, one block per language and seed. The result has the
            languages and seeds of the first part, and its conditions.
        measure: what the sum is called; the first part's measure unless said.

    Returns:
        One block per language and seed, over the queries that every part has there, in the first part's order: where
        one attack was made on fewer queries than another, the sum speaks of those alone.

    Raises:
        DataError: no part, a language and seed that a part lacks or holds twice, or no query in common.
    """
    if not parts:
        raise DataError("there is nothing to put together; give at least one part")
    tables = [(weight, by_key(blocks)) for weight, blocks in parts]
    return [_sum([(weight, _found(table, key)) for weight, table in tables], measure) for key in tables[0][1]]


def mean_of(parts: Sequence[Sequence[PerQueryScores]], measure: str | None = None) -> list[PerQueryScores]:
    """Return the plain mean of parts, such as one objective's scores under several attacks; see :func:`mixture`."""
    return mixture([(1 / len(parts), blocks) for blocks in parts], measure)


def by_key(blocks: Sequence[PerQueryScores]) -> dict[Key, PerQueryScores]:
    """Find each block by its language and seed.

    Raises:
        DataError: two blocks of one language and seed.
    """
    found: dict[Key, PerQueryScores] = {}
    for block in blocks:
        key = (block.language, block.condition.seed)
        if key in found:
            raise DataError(f"{_named(block)}: given twice; give one block per language and seed")
        found[key] = block
    return found


def on_queries_of(blocks: Sequence[PerQueryScores], others: Sequence[PerQueryScores]) -> list[PerQueryScores]:
    """Return, for each of ``others``, the block of its language and seed, with its queries alone.

    Raises:
        DataError: a language, seed or query that ``blocks`` lacks.
    """
    table = by_key(blocks)
    return [kept_rows(_found(table, key), other.query_ids) for key, other in by_key(others).items()]


def kept_rows(block: PerQueryScores, query_ids: Sequence[str]) -> PerQueryScores:
    """Return the block with these queries alone, in this order; the block itself where nothing changes.

    Raises:
        DataError: a query that the block lacks.
    """
    if list(query_ids) == list(block.query_ids):
        return block
    rows = {name: row for row, name in enumerate(block.query_ids)}
    if absent := [name for name in query_ids if name not in rows]:
        raise DataError(f"{_named(block)}: has no query {absent[0]!r}; measure the same queries everywhere")
    kept = [rows[name] for name in query_ids]
    clusters = None if block.clusters is None else [block.clusters[row] for row in kept]
    return replace(block, query_ids=list(query_ids), values=block.values[kept], clusters=clusters)


def _found(table: Mapping[Key, PerQueryScores], key: Key) -> PerQueryScores:
    if key not in table:
        raise DataError(
            f"nothing was measured in {key[0]!r} with seed {key[1]} under one of the conditions; run it again"
        )
    return table[key]


def _sum(parts: Sequence[tuple[float, PerQueryScores]], measure: str | None) -> PerQueryScores:
    first = parts[0][1]
    kept = [block for _, block in parts]
    if any(block.query_ids != first.query_ids for block in kept):
        shared = set(first.query_ids).intersection(*(block.query_ids for block in kept))
        if not shared:
            raise DataError(f"{_named(first)}: no query was measured under every condition; run the measurements again")
        kept = [kept_rows(block, [name for name in first.query_ids if name in shared]) for block in kept]
    values = np.sum([weight * block.values for (weight, _), block in zip(parts, kept, strict=True)], axis=0)
    return replace(kept[0], values=values, measure=measure or first.measure)


def _named(block: PerQueryScores) -> str:
    return f"{block.measure} of {block.condition.objective!r} in {block.language!r}, seed {block.condition.seed}"


Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Bootstrap:
    """How samples are drawn; see :func:`kivuko.evaluation.statistics.cluster_resampled_means`."""

    level: float = 0.95
    resamples: int = 2000
    seed: int = 0


BOOTSTRAP = Bootstrap()
"""What is drawn unless something else is asked for."""


@dataclass(frozen=True, eq=False)
class Aligned:
    """One language's ``values`` under several conditions [conditions, seeds, queries], and ``clusters`` [queries]."""

    values: Floats
    clusters: Sequence[str]
    seeds: Sequence[int | None]


@dataclass(frozen=True, eq=False)
class ConceptSamples:
    """``means``: [columns], over languages; ``samples``: [resamples, columns]; ``clusters``: how many there are."""

    means: Floats
    samples: Floats
    clusters: int
    level: float

    def interval(self, worked_out: Callable[[Floats], Floats]) -> Interval:
        """Return what is worked out from the means, with its interval; ``worked_out`` maps [..., columns] to [...]."""
        low, high = percentiles(worked_out(self.samples), self.level)
        return Interval(float(worked_out(self.means)), low, high, self.clusters)

    def share(self, part: int, whole: int) -> Interval | None:
        """Return column ``part`` over column ``whole``; None where the whole is zero in some sample."""
        if not (self.samples[:, whole] > 0).all() or not self.means[whole] > 0:
            return None
        return self.interval(lambda means: np.asarray(means[..., part] / means[..., whole]))


def aligned(conditions: Sequence[Sequence[PerQueryScores]], languages: Sequence[str]) -> dict[str, Aligned]:
    """Bring one objective's scores under several conditions into step, language by language.

    Args:
        conditions: the blocks of each condition, one per language and seed; those of other languages are ignored.

    Returns:
        Each language, over the seeds of the first condition and the queries of the last.

    Raises:
        DataError: a language or seed is missing somewhere or given twice, or a query of the last condition is not in
            another.
    """
    if not languages:
        raise DataError("there is no language to take a mean over; name at least one")
    tables = [by_key([block for block in blocks if block.language in languages]) for blocks in conditions]
    keys = set(tables[0])
    if any(set(table) != keys for table in tables):
        raise DataError("the conditions were not measured in the same languages and seeds; measure them again")
    seeds = sorted({seed for _, seed in keys}, key=lambda seed: (seed is not None, seed))
    if absent := [(code, seed) for code in languages for seed in seeds if (code, seed) not in keys] or (
        [] if keys else [(languages[0], None)]
    ):
        raise DataError(f"there are no scores in {absent[0][0]!r} with seed {absent[0][1]}; measure them too")
    return {code: _one_language(tables, code, seeds) for code in languages}


def concept_samples(
    columns: Mapping[str, Floats], clusters: Mapping[str, Sequence[str]], bootstrap: Bootstrap
) -> ConceptSamples:
    """Draw clusters anew, in all languages together, and average over languages.

    Args:
        columns: language to [queries, columns].
        clusters: language to the cluster of each query.
    """
    samples = [
        cluster_resampled_means(table, clusters[code], bootstrap.resamples, bootstrap.seed)
        for code, table in columns.items()
    ]
    return ConceptSamples(
        means=np.mean([table.mean(0) for table in columns.values()], axis=0), samples=np.mean(samples, axis=0),
        clusters=len({name for code in columns for name in clusters[code]}), level=bootstrap.level,
    )  # fmt: skip


def _one_language(tables: Sequence[Mapping[Key, PerQueryScores]], code: str, seeds: Sequence[int | None]) -> Aligned:
    last = tables[-1][code, seeds[0]]
    rows = [[kept_rows(table[code, seed], last.query_ids).values for seed in seeds] for table in tables]
    # Queries without a cluster stand each by itself, also beside another language's query of the same name.
    return Aligned(np.array(rows), last.clusters or [f"{code}/{name}" for name in last.query_ids], seeds)


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
        over_seeds=seed_interval(_seed_log_ratios(by_seed)),
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


def _seed_log_ratios(by_seed: Sequence[dict[Seed, float | None]]) -> list[float]:
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


def _test(sums: Floats, trials: int, seed: int) -> RandomizationTest:
    observed = _difference(sums.sum(0)[None])[0]
    swaps = sums[:, [2, 3, 0, 1]] - sums
    rng = np.random.default_rng(seed)
    count = 0
    for start in range(0, trials, _CHUNK_TRIALS):
        size = min(_CHUNK_TRIALS, trials - start)
        swapped = rng.integers(2, size=(size, len(sums)), dtype=np.int8).astype(np.float64)
        # Sums that are equal on paper differ by rounding; without slack such ties would be lost.
        count += int((np.abs(_difference(sums.sum(0) + swapped @ swaps)) >= abs(observed) - 1e-12).sum())
    return RandomizationTest(float(observed), (1 + count) / (1 + trials), len(sums), trials)


def _difference(means: Floats) -> NDArray[np.float64]:
    """[trials, 4] to the difference of ratios [trials]; where a side has lost all its clean scores its ratio is 0."""
    ratios = [
        np.divide(means[:, at + 1], means[:, at], out=np.zeros(len(means)), where=means[:, at] > 1e-15) for at in (0, 2)
    ]
    return np.asarray(ratios[0] - ratios[1])
