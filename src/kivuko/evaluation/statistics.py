"""Intervals around a mean, by the question that they answer.

- Would other **queries** change the number? ``bootstrap_interval``, over the queries of one trained model.
- Is one model better than another **on the same queries**? ``paired_difference``: the queries' difficulty cancels.
- Would another **training run** change it? ``seed_interval``, over the means of several seeds.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kivuko.errors import DataError, UsageError

LEVEL = 0.95
_CHUNK_DRAWS = 1_000_000  # query draws held at once: 8 MB of indices
_CHUNK_CELLS = 1_000_000


@dataclass(frozen=True)
class Interval:
    """A mean and its interval; with ``n`` = 1 the spread is unknown, and ``low`` and ``high`` equal the mean."""

    mean: float
    low: float
    high: float
    n: int

    @property
    def degenerate(self) -> bool:
        return self.n < 2


def bootstrap_interval(values: ArrayLike, resamples: int = 2000, seed: int = 0) -> Interval:
    """Return the mean of values [n] with a percentile bootstrap interval (Efron & Tibshirani 1993, ch. 13).

    DataError for no value or one that is not finite; UsageError for ``resamples`` out of range.
    """
    checked = check_values(values)
    means = resampled_means(checked[:, None], resamples, np.random.default_rng(seed))[:, 0]
    return Interval(float(checked.mean()), *percentiles(means), len(checked))


def paired_difference(a: ArrayLike, b: ArrayLike) -> Interval:
    """Return the mean of ``a - b`` [n] over the same queries, with a bootstrap interval."""
    return bootstrap_interval(paired_values(a, b))


def seed_interval(values: ArrayLike) -> Interval:
    """Return the mean over training seeds [n] with a Student t interval: mean ± t(n - 1) · s / sqrt(n).

    With three to five seeds a bootstrap would be far too narrow; the t interval assumes instead that the seeds' means
    are about normal. It may reach outside [0, 1].
    """
    checked = check_values(values)
    mean, n = float(checked.mean()), len(checked)
    if n == 1:
        return Interval(mean, mean, mean, 1)
    from scipy.special import stdtrit  # here, since it takes a moment to import

    half = float(stdtrit(n - 1, (1 + LEVEL) / 2)) * float(checked.std(ddof=1)) / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, n)


def resampled_means(values: NDArray[np.float64], resamples: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the means of bootstrap samples of the rows of [n, k], columns drawn together: [resamples, k]."""
    _check_count("resamples", resamples, 2000)
    n, k = values.shape
    means = np.empty((resamples, k))
    chunk = max(1, _CHUNK_DRAWS // n)
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        drawn = rng.integers(n, size=(size, n))
        drawn += np.arange(size)[:, None] * n
        # How often each query was drawn serves every column with one matrix product.
        counts = np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n)  # [size, n]
        means[start : start + size] = counts.astype(np.float64) @ values / n
    return means


def cluster_resampled_means(
    values: NDArray[np.float64], clusters: Sequence[str], resamples: int, seed: int
) -> NDArray[np.float64]:
    """Return the means of bootstrap samples of [n, k], rows of one cluster drawn together: [resamples, k].

    A Poisson bootstrap (Hanley & MacGibbon 2006): in each sample a cluster counts as often as a Poisson(1) number says.
    That number depends on ``seed``, the sample and the cluster's name alone, so the same cluster is drawn alike
    wherever it occurs: in another language, in another subset, under another model. A sample without a row takes the
    plain mean.
    """
    _check_count("resamples", resamples, 2000)
    names, member = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    sums = np.zeros((len(names), values.shape[1]))
    np.add.at(sums, member, values)
    sizes = np.bincount(member, minlength=len(names)).astype(np.float64)
    counts = np.stack([_poisson_counts(seed, str(name), resamples) for name in names], axis=1)  # [resamples, clusters]
    drawn = counts @ sizes  # [resamples]
    means: NDArray[np.float64] = np.divide(
        counts @ sums, drawn[:, None], out=np.tile(values.mean(0), (resamples, 1)), where=drawn[:, None] > 0
    )
    return means


@functools.lru_cache(maxsize=4096)
def _poisson_counts(seed: int, cluster: str, resamples: int) -> NDArray[np.float64]:
    return np.random.default_rng([seed, *cluster.encode()]).poisson(1.0, resamples).astype(np.float64)


def percentiles(replicates: NDArray[np.float64]) -> tuple[float, float]:
    """Return the central 95 % of bootstrap replicates [resamples] as (low, high)."""
    low, high = np.quantile(replicates, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _check_count(name: str, count: int, usual: int) -> None:
    if count < 1:
        raise UsageError(f"{name} is {count}; it must be at least 1 ({usual} is usual)")


def paired_values(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """Return ``a - b`` [n]; DataError if the two cannot be paired."""
    left, right = check_values(a), check_values(b)
    if len(left) != len(right):
        raise DataError(f"{len(left)} values cannot be paired with {len(right)}; measure both on the same queries")
    return left - right


def check_values(values: ArrayLike) -> NDArray[np.float64]:
    """Return the values as float64 [n]; DataError if there is none or one is not finite."""
    checked = np.asarray(values, dtype=np.float64)
    if checked.ndim != 1:
        raise DataError(f"values have shape {list(checked.shape)}; give one value per query, [n]")
    if not len(checked):
        raise DataError("there is no value to average; measure at least one query")
    if not np.isfinite(checked).all():
        place = int(np.argmin(np.isfinite(checked)))
        raise DataError(f"value {place} of {len(checked)} is {checked[place]}; values must be finite")
    return checked


@dataclass(frozen=True)
class RandomizationTest:
    """A paired test of a difference."""

    difference: float  # mean of a - b
    p_value: float  # in (0, 1]
    n: int  # queries
    trials: int  # sign flips

    @property
    def at_floor(self) -> bool:
        """True if no trial reached the observed difference: the p value is then an upper bound."""
        return self.p_value * (1 + self.trials) < 1.5


def randomization_test(a: ArrayLike, b: ArrayLike, trials: int = 10_000, seed: int = 0) -> RandomizationTest:
    """Two-sided paired randomization test (Fisher's sign flips) on the mean of ``a - b`` [n] over queries.

    If the two systems were the same, each difference could have either sign. ``p = (1 + count) / (1 + trials)``, where
    ``count`` trials had a mean at least as far from zero as the observed one. (Smucker, Allan & Carterette, CIKM 2007.)
    Not ``scipy.stats.permutation_test``: its random signs differ, and published p-values would change.
    """
    _check_count("trials", trials, 10_000)
    differences = paired_values(a, b)
    total = float(differences.sum())
    flippable = differences[differences != 0]  # a zero stays zero under either sign
    if not len(flippable):
        return RandomizationTest(0.0, 1.0, len(differences), trials)
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
    return RandomizationTest(total / len(differences), (1 + count) / (1 + trials), len(differences), trials)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust a family of p-values [tests], so that the chance of any false positive in it stays below the level.

    Step-down: the k-th smallest of m is multiplied by m - k + 1, capped at 1, and never below a smaller one's. Holm,
    "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6, 1979.
    """
    for p in p_values:
        if not 0 <= p <= 1:
            raise DataError(f"a p-value is {p}; it must be in [0, 1]")
    adjusted = [0.0] * len(p_values)
    floor = 0.0
    for position, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        floor = max(floor, min(1.0, (len(p_values) - position) * p_values[place]))
        adjusted[place] = floor
    return adjusted
