"""The share of accuracy that an attack leaves, and two objectives compared by it, or at equal clean accuracy.

A share is always taken of means over queries, then languages, then seeds, never as a mean of shares: a query that
scored zero before the attack shows nothing of its harm. Intervals are bootstraps over clusters (concepts), drawn
together before and after, in all languages and seeds.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kivuko.errors import DataError, UsageError
from kivuko.evaluation.comparison import PairedComparison, Seed, compare_scores, seed_differences, seed_means
from kivuko.evaluation.measures import ACCURACY_DROP, RATIO, SUCCESS_OF_CORRECT
from kivuko.evaluation.records import PerQueryScores, Record, record_of
from kivuko.evaluation.statistics import (
    Interval,
    RandomizationTest,
    cluster_resampled_means,
    percentiles,
    seed_interval,
)

RESAMPLES = 2000
_ENOUGH = 1e-9  # a reciprocal rank may be stored one rounding below 1
_CHUNK_TRIALS = 2000

Floats = NDArray[np.float64]
Blocks = Sequence[PerQueryScores]
Key = tuple[str, Seed]  # language and seed


@dataclass(frozen=True)
class Robustness:
    """One objective under one attack at one budget."""

    # Mean after the attack over the mean before it: 1 where the attack takes nothing; None where clean is zero in some
    # sample. The "robustness ratio" of BEARD (arXiv 2411.09265) is another: how far the usual attack is from the worst.
    ratio: Interval | None
    accuracy_drop: Interval  # success as Co-Attack's README counts it: accuracy before minus accuracy after
    # Success as SGA counts it (Lu et al. 2023): of the queries answered correctly before, the share that fails after.
    success_of_correct: Interval | None


def robustness(clean: Blocks, attacked: Blocks, languages: Sequence[str]) -> Robustness:
    """Compare one objective's scores after an attack with those before it, over the attacked queries.

    A query counts as answered correctly from the value 1 on: of MAP or R@1 with one right answer, the first place.
    """
    both = aligned([clean, attacked], languages)
    columns = {}
    for language, scores in both.items():
        before, after = scores.values  # [seeds, queries] each
        right, still = before >= 1 - _ENOUGH, after >= 1 - _ENOUGH
        parts = [before, after, right, still, right & ~still]
        columns[language] = np.stack([part.astype(np.float64).mean(0) for part in parts], axis=1)  # [queries, 5]
    drawn = concept_samples(columns, both)
    return Robustness(
        ratio=drawn.share(1, 0), accuracy_drop=drawn.interval(lambda m: m[..., 2] - m[..., 3]),
        success_of_correct=drawn.share(4, 2),
    )  # fmt: skip


def robustness_records(clean: Blocks, attacked: Blocks, groups: Mapping[str, Sequence[str]]) -> list[Record]:
    """Return one record per group and measure of robustness, of one objective and seed, under the attacked condition.

    ``groups``: name to languages. Measures are "robustness ratio" (of MAP), "accuracy_drop" and "success_of_correct"
    (of R@1); those without a value are left out.
    """
    conditions = {block.condition for block in attacked}
    if len(conditions) != 1:
        raise DataError(f"{len(conditions)} conditions were given; make records of one at a time")
    first = attacked[0]
    records = []
    for group, languages in groups.items():
        result = robustness(clean, attacked, languages)
        queries = sum(len(block.values) for block in attacked if block.language in languages)
        values = {
            RATIO: result.ratio, ACCURACY_DROP: result.accuracy_drop, SUCCESS_OF_CORRECT: result.success_of_correct
        }  # fmt: skip
        records += [
            record_of(first.condition, interval, queries, subset=first.subset, language=group, measure=measure)
            for measure, interval in values.items()
            if interval is not None
        ]
    return records


def resource_gap(clean: Blocks, attacked: Blocks, low: Sequence[str], high: Sequence[str]) -> Interval | None:
    """Return the robustness ratio of high-resource languages minus that of low-resource ones.

    None where a group's clean mean is zero in some sample.
    """
    groups = []
    for languages in (low, high):
        both = aligned([clean, attacked], languages)
        groups.append(concept_samples({code: scores.values.mean(1).T for code, scores in both.items()}, both))
    ratios = [group.share(1, 0) for group in groups]
    if ratios[0] is None or ratios[1] is None:
        return None
    samples = [group.samples[:, 1] / group.samples[:, 0] for group in groups]
    ends = percentiles(samples[1] - samples[0])
    return Interval(ratios[1].mean - ratios[0].mean, *ends, max(group.clusters for group in groups))


def accuracy_radius_area(clean: Blocks, attacked: Mapping[float, Blocks], languages: Sequence[str]) -> Interval:
    """Return the area under the curve of accuracy against budget, as a share of the largest area possible, in [0, 1].

    ``attacked``: budget to blocks. Trapezoids over the budgets, 0 (clean) included, divided by the largest one.
    """
    areas = aligned([area_scores(clean, attacked)], languages)
    columns = {code: scores.values[0].mean(0)[:, None] for code, scores in areas.items()}  # [queries, 1]
    return concept_samples(columns, areas).interval(lambda means: means[..., 0])


def area_scores(clean: Blocks, attacked: Mapping[float, Blocks]) -> list[PerQueryScores]:
    """Return each query's own area under its curve, as the measure "area of ..." of the clean condition."""
    budgets = sorted(attacked)
    if not budgets or not all(np.isfinite(budget) and budget > 0 for budget in budgets):
        raise UsageError(f"budgets are {budgets}; give at least one, each above 0 (clean counts as 0)")
    weights = trapezoid_weights([0.0, *budgets])
    parts = [clean, *(attacked[budget] for budget in budgets)]
    return mixture(list(zip(weights, parts, strict=True)), f"area of {clean[0].measure}" if clean else None)


def trapezoid_weights(places: Sequence[float]) -> list[float]:
    """Return the weight of the value at each place, ascending, in the trapezoid rule divided by the whole width.

    >>> trapezoid_weights([0, 1, 2])
    [0.25, 0.5, 0.25]
    """
    weights = [0.0] * len(places)
    for place, (left, right) in enumerate(itertools.pairwise(places)):
        weights[place] += (right - left) / 2
        weights[place + 1] += (right - left) / 2
    return [weight / (places[-1] - places[0]) for weight in weights]


# Sums of scores. A mean over attacks, the area under a curve and a mixture of two models are all weighted sums. Each
# query keeps a value, so a sum can be compared, bootstrapped and tested like any single system.


def mixture(parts: Sequence[tuple[float, Blocks]], measure: str | None = None) -> list[PerQueryScores]:
    """Return the weighted sum of parts, a block per language and seed of the first, over the queries that all share.

    DataError for a language and seed that a part lacks or holds twice, or no query in common.
    """
    if not parts:
        raise DataError("there is nothing to sum; give at least one part")
    tables = [(weight, _by_key(blocks)) for weight, blocks in parts]
    return [_sum([(weight, _block_of(table, key)) for weight, table in tables], measure) for key in tables[0][1]]


def on_queries_of(blocks: Blocks, others: Blocks) -> list[PerQueryScores]:
    """Return, for each of ``others``, the block of its language and seed with its queries alone."""
    table = _by_key(blocks)
    return [kept_rows(_block_of(table, key), other.query_ids) for key, other in _by_key(others).items()]


def kept_rows(block: PerQueryScores, query_ids: Sequence[str]) -> PerQueryScores:
    """Return the block with these queries alone, in this order; DataError for one that it lacks."""
    if list(query_ids) == list(block.query_ids):
        return block
    rows = {name: row for row, name in enumerate(block.query_ids)}
    if absent := [name for name in query_ids if name not in rows]:
        raise DataError(f"{_named(block)}: has no query {absent[0]!r}; measure the same queries everywhere")
    kept = [rows[name] for name in query_ids]
    clusters = None if block.clusters is None else [block.clusters[row] for row in kept]
    return replace(block, query_ids=list(query_ids), values=block.values[kept], clusters=clusters)


def _by_key(blocks: Blocks) -> dict[Key, PerQueryScores]:
    table: dict[Key, PerQueryScores] = {}
    for block in blocks:
        key = (block.language, block.condition.seed)
        if key in table:
            raise DataError(f"{_named(block)}: given twice; give one block per language and seed")
        table[key] = block
    return table


def _block_of(table: Mapping[Key, PerQueryScores], key: Key) -> PerQueryScores:
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


@dataclass(frozen=True, eq=False)
class Aligned:
    """One language's scores under several conditions."""

    values: Floats  # [conditions, seeds, queries]
    clusters: Sequence[str]  # [queries]
    seeds: Sequence[Seed]


@dataclass(frozen=True, eq=False)
class ConceptSamples:
    """Means over languages, and their bootstrap samples."""

    means: Floats  # [columns]
    samples: Floats  # [resamples, columns]
    clusters: int

    def interval(self, function: Callable[[Floats], Floats]) -> Interval:
        """Return a function of the means, [..., columns] to [...], with its interval."""
        return Interval(float(function(self.means)), *percentiles(function(self.samples)), self.clusters)

    def share(self, part: int, whole: int) -> Interval | None:
        """Return column ``part`` over column ``whole``; None where the whole is zero in some sample."""
        if not (self.samples[:, whole] > 0).all() or not self.means[whole] > 0:
            return None
        return self.interval(lambda means: np.asarray(means[..., part] / means[..., whole]))


def aligned(conditions: Sequence[Blocks], languages: Sequence[str]) -> dict[str, Aligned]:
    """Return one objective's scores under several conditions, language by language.

    Over the seeds of the first condition and the queries of the last; DataError where another lacks one of them.
    """
    if not languages:
        raise DataError("there is no language to take a mean over; name at least one")
    tables = [_by_key([block for block in blocks if block.language in languages]) for blocks in conditions]
    keys = set(tables[0])
    if any(set(table) != keys for table in tables):
        raise DataError("the conditions were not measured in the same languages and seeds; measure them again")
    seeds = sorted({seed for _, seed in keys}, key=lambda seed: (seed is not None, seed))
    if absent := [(code, seed) for code in languages for seed in seeds or [None] if (code, seed) not in keys]:
        raise DataError(f"there are no scores in {absent[0][0]!r} with seed {absent[0][1]}; measure them too")
    return {code: _one_language(tables, code, seeds) for code in languages}


def _one_language(tables: Sequence[Mapping[Key, PerQueryScores]], code: str, seeds: Sequence[Seed]) -> Aligned:
    last = tables[-1][code, seeds[0]]
    rows = [[kept_rows(table[code, seed], last.query_ids).values for seed in seeds] for table in tables]
    # A query without a cluster is its own, also next to another language's query of the same name.
    return Aligned(np.array(rows), last.clusters or [f"{code}/{name}" for name in last.query_ids], seeds)


def concept_samples(columns: Mapping[str, Floats], scores: Mapping[str, Aligned]) -> ConceptSamples:
    """Resample clusters, in all languages together, and average over languages.

    ``columns``: language to [queries, columns]; ``scores``: language to the clusters of these queries.
    """
    samples = [
        cluster_resampled_means(table, scores[code].clusters, RESAMPLES, seed=0) for code, table in columns.items()
    ]
    return ConceptSamples(
        means=np.mean([table.mean(0) for table in columns.values()], axis=0), samples=np.mean(samples, axis=0),
        clusters=len({name for code in columns for name in scores[code].clusters}),
    )  # fmt: skip


# Two objectives at equal clean accuracy. A better model has more to lose, so the better objective is brought down to
# the other's clean mean by mixing it with itself, trained on less bitext (or the worse one up, by its models trained on
# more). With weight w a query's score is w times the larger model's plus 1 - w times the smaller one's, clean and
# attacked alike: the mean of a system that sends each query to one of the two by lot. A single model of just that clean
# accuracy may be more or less robust. The weight is estimated from the same queries and held fixed, so in a bootstrap
# sample the clean means are equal on average, not exactly.


@dataclass(frozen=True, eq=False)
class Point:
    """One objective at one bitext size: blocks of one measure; clean means are over the attacked queries alone."""

    size: int
    clean: Blocks
    robust: Blocks

    @property
    def objective(self) -> str:
        if not self.clean:
            raise DataError(f"there are no clean scores at {self.size} pairs; measure them")
        return self.clean[0].condition.objective

    def clean_mean(self, languages: Sequence[str]) -> float:
        kept = on_queries_of(self.clean, [block for block in self.robust if block.language in languages])
        return float(np.mean(list(seed_means(kept, languages).values())))


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
    sides = [
        sorted(((point.clean_mean(languages), point) for point in points), key=lambda level: level[0])
        for points in (first, second)
    ]
    at = [_at(side, size) for side in sides]
    (first_mean, one), (second_mean, other) = at
    if np.isclose(first_mean, second_mean, rtol=0, atol=1e-12):
        return Matched(compare_scores(one.robust, other.robust, languages), first_mean)
    better = int(second_mean > first_mean)
    for moved in (better, 1 - better):
        target, fixed = at[1 - moved]
        for (low, weaker), (high, stronger) in itertools.pairwise(sides[moved]):  # neighbors around the target
            if low <= target <= high and low < high:
                weight = (target - low) / (high - low)
                blend = mixture([(weight, stronger.robust), (1 - weight, weaker.robust)])
                one_side, other_side = (blend, fixed.robust) if moved == 0 else (fixed.robust, blend)
                comparison = compare_scores(one_side, other_side, languages)
                sizes = (weaker.size, stronger.size)
                return Matched(comparison, target, stronger.objective, sizes, float(weight))
    return Matched(None, min(first_mean, second_mean), reason=_not_bracketed(sides[better], sides[1 - better], size))


def _at(side: Sequence[Level], size: int) -> Level:
    levels = [level for level in side if level[1].size == size]
    if len(levels) != 1:
        sizes = ", ".join(str(point.size) for _, point in side)
        raise UsageError(f"size {size} is needed once; the objective has the sizes {sizes or 'none'}")
    return levels[0]


def _not_bracketed(better: Sequence[Level], worse: Sequence[Level], size: int) -> str:
    (lowest, weakest), (highest, strongest) = better[0], worse[-1]
    return (
        f"not bracketed at {size:,} pairs: {weakest.objective} has a clean mean of {lowest:.3f} even at its weakest "
        f"({weakest.size:,} pairs), {strongest.objective} one of {highest:.3f} at its best ({strongest.size:,} pairs)"
    )


def compare_ratios(
    first: tuple[Blocks, Blocks],  # clean and attacked
    second: tuple[Blocks, Blocks],
    languages: Sequence[str],
    trials: int = 10_000,
) -> PairedComparison | None:
    """Compare robust / clean, each a mean over languages and seeds; None where a clean mean is zero in a sample.

    The test exchanges, concept by concept, both objectives' clean and attacked scores together. Its statistic is the
    difference of the ratios.
    """
    sides = [aligned(side, languages) for side in (first, second)]
    names = [side[0][0].condition.objective for side in (first, second)]
    for code, scores in sides[0].items():
        if list(scores.clusters) != list(sides[1][code].clusters):
            raise DataError(f"{names[0]} and {names[1]} were not measured on the same queries; measure both again")
    columns = {
        code: np.concatenate([side[code].values.mean(1) for side in sides]).T  # [queries, 4]: clean, attacked, twice
        for code in languages
    }
    drawn = concept_samples(columns, sides[0])
    by_seed = [_ratios_by_seed(side) for side in sides]
    undefined = any(math.isnan(ratio) for side in by_seed for ratio in side.values())
    if drawn.share(1, 0) is None or drawn.share(3, 2) is None or undefined:
        return None
    means = (float(drawn.means[1] / drawn.means[0]), float(drawn.means[3] / drawn.means[2]))
    relative = None
    if (drawn.samples[:, 3] > 0).all() and means[1] > 0:
        samples = drawn.samples[:, 1] / drawn.samples[:, 0] / (drawn.samples[:, 3] / drawn.samples[:, 2])
        relative = Interval(means[0] / means[1] - 1, *percentiles(samples - 1), drawn.clusters)
    return PairedComparison(
        names[0], names[1], means,
        difference=drawn.interval(lambda m: m[..., 1] / m[..., 0] - m[..., 3] / m[..., 2]), relative=relative,
        over_seeds=seed_interval(seed_differences(by_seed, names)),
        test=_ratio_test(_cluster_sums(columns, sides[0]), trials),
    )  # fmt: skip


def _ratios_by_seed(side: Mapping[str, Aligned]) -> dict[Seed, float]:
    means = np.mean([scores.values.mean(2) for scores in side.values()], axis=0)  # [2, seeds]
    seeds = next(iter(side.values())).seeds
    return {
        seed: float(robust / clean) if clean > 0 else math.nan
        for seed, (clean, robust) in zip(seeds, means.T, strict=True)
    }


def _cluster_sums(columns: Mapping[str, Floats], scores: Mapping[str, Aligned]) -> Floats:
    """Return each cluster's share of the four means over languages: [clusters, 4]."""
    names = sorted({name for code in columns for name in scores[code].clusters})
    place = {name: row for row, name in enumerate(names)}
    sums = np.zeros((len(names), 4))
    for code, table in columns.items():
        np.add.at(sums, [place[name] for name in scores[code].clusters], table / (len(table) * len(columns)))
    return sums


def _ratio_test(sums: Floats, trials: int) -> RandomizationTest:
    observed = _ratio_difference(sums.sum(0)[None])[0]
    swaps = sums[:, [2, 3, 0, 1]] - sums
    rng = np.random.default_rng(0)
    count = 0
    for start in range(0, trials, _CHUNK_TRIALS):
        size = min(_CHUNK_TRIALS, trials - start)
        swapped = rng.integers(2, size=(size, len(sums)), dtype=np.int8).astype(np.float64)
        # Sums that are equal on paper differ by rounding; without slack such ties would be lost.
        count += int((np.abs(_ratio_difference(sums.sum(0) + swapped @ swaps)) >= abs(observed) - 1e-12).sum())
    return RandomizationTest(float(observed), (1 + count) / (1 + trials), len(sums), trials)


def _ratio_difference(means: Floats) -> Floats:
    """Map [trials, 4] to the difference of ratios [trials]; the ratio of a side with no clean score is 0."""
    ratios = [
        np.divide(means[:, at + 1], means[:, at], out=np.zeros(len(means)), where=means[:, at] > 1e-15) for at in (0, 2)
    ]
    return np.asarray(ratios[0] - ratios[1])
