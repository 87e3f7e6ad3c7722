"""Bootstrap samples of several means at once, and intervals of anything that is worked out from those means."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kivuko.errors import DataError
from kivuko.evaluation.intervals import Interval, cluster_resampled_means, percentiles
from kivuko.evaluation.mixture import Key, by_key, kept_rows
from kivuko.evaluation.query_scores import PerQueryScores

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Bootstrap:
    """How samples are drawn; see :func:`kivuko.evaluation.intervals.cluster_resampled_means`."""

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
