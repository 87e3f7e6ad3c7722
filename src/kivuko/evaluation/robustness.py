"""The share of a system's accuracy that is left after an attack: from per-query scores before and after it.

A share is always taken of means over queries, then languages, then seeds, never as a mean of shares: a query that
scored zero before the attack shows nothing of its harm. Intervals are bootstraps over clusters (concepts), drawn
together before and after, in all languages and seeds.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from kivuko.errors import DataError, UsageError
from kivuko.evaluation.mixtures import BOOTSTRAP, Bootstrap, aligned, concept_samples, mixture
from kivuko.evaluation.records import PerQueryScores, Record
from kivuko.evaluation.statistics import Interval, percentiles

_ENOUGH = 1e-9  # a reciprocal rank of 1/10 may be stored one rounding below 1/10


@dataclass(frozen=True)
class Robustness:
    """One objective under one attack at one budget."""

    clean: Interval  # mean before the attack, in [0, 1]
    robust: Interval  # mean after it
    drop: Interval  # clean - robust
    # robust / clean: 1 where the attack takes nothing; None where clean is zero in some sample. The "robustness ratio"
    # of BEARD (arXiv 2411.09265) is another figure: how far the usual attack is from the worst.
    ratio: Interval | None
    accuracy_drop: Interval  # success as Co-Attack's README counts it: accuracy before minus accuracy after
    # Success as SGA counts it (Lu et al. 2023): of the queries answered correctly before, the share that fails after.
    success_of_correct: Interval | None


def robustness(
    clean: Sequence[PerQueryScores],
    attacked: Sequence[PerQueryScores],
    languages: Sequence[str],
    *,
    correct_at: float = 1.0,
    bootstrap: Bootstrap = BOOTSTRAP,
) -> Robustness:
    """Compare one objective's scores after an attack with those before it, over the attacked queries.

    ``correct_at``: a query counts as answered correctly from this value on. With one right answer per query, 1 on MAP
    (or R@1) means first, and 1 / k on MAP means among the first k.
    """
    if not 0 < correct_at <= 1:
        raise UsageError(f"correct_at is {correct_at}; it must be in (0, 1], such as 1 for the first place")
    both = aligned([clean, attacked], languages)
    columns = {}
    for language, scores in both.items():
        before, after = scores.values  # [seeds, queries] each
        right, still = before >= correct_at - _ENOUGH, after >= correct_at - _ENOUGH
        made = [before, after, right, still, right & ~still]
        columns[language] = np.stack([part.astype(np.float64).mean(0) for part in made], axis=1)  # [queries, 5]
    drawn = concept_samples(columns, {code: scores.clusters for code, scores in both.items()}, bootstrap)
    return Robustness(
        clean=drawn.interval(lambda m: m[..., 0]), robust=drawn.interval(lambda m: m[..., 1]),
        drop=drawn.interval(lambda m: m[..., 0] - m[..., 1]), ratio=drawn.share(1, 0),
        accuracy_drop=drawn.interval(lambda m: m[..., 2] - m[..., 3]), success_of_correct=drawn.share(4, 2),
    )  # fmt: skip


def resource_gap(
    clean: Sequence[PerQueryScores],
    attacked: Sequence[PerQueryScores],
    low: Sequence[str],
    high: Sequence[str],
    *,
    bootstrap: Bootstrap = BOOTSTRAP,
) -> Interval | None:
    """Return the robustness ratio of high-resource languages minus that of low-resource ones.

    None where a group's clean mean is zero in some sample.
    """
    groups = []
    for languages in (low, high):
        both = aligned([clean, attacked], languages)
        columns = {code: scores.values.mean(1).T for code, scores in both.items()}  # [queries, 2]
        groups.append(concept_samples(columns, {code: scores.clusters for code, scores in both.items()}, bootstrap))
    ratios = [group.share(1, 0) for group in groups]
    if ratios[0] is None or ratios[1] is None:
        return None
    samples = [group.samples[:, 1] / group.samples[:, 0] for group in groups]
    low_end, high_end = percentiles(samples[1] - samples[0], bootstrap.level)
    return Interval(ratios[1].mean - ratios[0].mean, low_end, high_end, max(group.clusters for group in groups))


def accuracy_radius_area(
    clean: Sequence[PerQueryScores],
    attacked: Mapping[float, Sequence[PerQueryScores]],
    languages: Sequence[str],
    *,
    bootstrap: Bootstrap = BOOTSTRAP,
) -> Interval:
    """Return the area under the curve of accuracy against budget, as a share of the largest area possible, in [0, 1].

    ``attacked``: budget to blocks. Trapezoids over the budgets, 0 (clean) included, divided by the largest one.
    """
    areas = aligned([area_scores(clean, attacked)], languages)
    columns = {code: scores.values[0].mean(0)[:, None] for code, scores in areas.items()}  # [queries, 1]
    drawn = concept_samples(columns, {code: scores.clusters for code, scores in areas.items()}, bootstrap)
    return drawn.interval(lambda means: means[..., 0])


def area_scores(
    clean: Sequence[PerQueryScores], attacked: Mapping[float, Sequence[PerQueryScores]]
) -> list[PerQueryScores]:
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


RATIO, ACCURACY_DROP, SUCCESS_OF_CORRECT = "robustness ratio", "accuracy_drop", "success_of_correct"


def robustness_records(
    clean: Sequence[PerQueryScores],
    attacked: Sequence[PerQueryScores],
    groups: Mapping[str, Sequence[str]],
    *,
    bootstrap: Bootstrap = BOOTSTRAP,
) -> list[Record]:
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
        result = robustness(clean, attacked, languages, bootstrap=bootstrap)
        queries = sum(len(block.values) for block in attacked if block.language in languages)
        for measure, interval in _values(result).items():
            records.append(
                Record(
                    **asdict(first.condition), subset=first.subset, language=group, measure=measure,
                    value=interval.mean, low=interval.low, high=interval.high, queries=queries,
                )
            )  # fmt: skip
    return records


def _values(result: Robustness) -> dict[str, Interval]:
    values = {
        RATIO: result.ratio,
        ACCURACY_DROP: result.accuracy_drop,
        SUCCESS_OF_CORRECT: result.success_of_correct,
    }
    return {measure: interval for measure, interval in values.items() if interval is not None}
