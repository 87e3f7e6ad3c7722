"""Weighted sums of per-query scores, and scores of several conditions over the same queries and seeds.

A mean over attacks, the area under a curve and a mixture of two models are all weighted sums. Each query keeps a value,
so a sum can be compared, bootstrapped and tested like any single system.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kivuko.errors import DataError
from kivuko.evaluation.records import PerQueryScores
from kivuko.evaluation.statistics import Interval, cluster_resampled_means, percentiles

Floats = NDArray[np.float64]

Part = tuple[float, Sequence[PerQueryScores]]
Key = tuple[str, int | None]  # language and seed


def mixture(parts: Sequence[Part], measure: str | None = None) -> list[PerQueryScores]:
    """Return the weighted sum of parts, a block per language and seed of the first, over the queries that all share.

    DataError for a language and seed that a part lacks or holds twice, or no query in common.
    """
    if not parts:
        raise DataError("there is nothing to sum; give at least one part")
    tables = [(weight, by_key(blocks)) for weight, blocks in parts]
    return [_sum([(weight, _block_of(table, key)) for weight, table in tables], measure) for key in tables[0][1]]


def mean_of(parts: Sequence[Sequence[PerQueryScores]], measure: str | None = None) -> list[PerQueryScores]:
    return mixture([(1 / len(parts), blocks) for blocks in parts], measure)


def by_key(blocks: Sequence[PerQueryScores]) -> dict[Key, PerQueryScores]:
    """Return the blocks by language and seed; DataError if two have the same."""
    table: dict[Key, PerQueryScores] = {}
    for block in blocks:
        key = (block.language, block.condition.seed)
        if key in table:
            raise DataError(f"{_named(block)}: given twice; give one block per language and seed")
        table[key] = block
    return table


def on_queries_of(blocks: Sequence[PerQueryScores], others: Sequence[PerQueryScores]) -> list[PerQueryScores]:
    """Return, for each of ``others``, the block of its language and seed with its queries alone."""
    table = by_key(blocks)
    return [kept_rows(_block_of(table, key), other.query_ids) for key, other in by_key(others).items()]


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


@dataclass(frozen=True)
class Bootstrap:  # see kivuko.evaluation.statistics.cluster_resampled_means
    level: float = 0.95
    resamples: int = 2000
    seed: int = 0


BOOTSTRAP = Bootstrap()


@dataclass(frozen=True, eq=False)
class Aligned:
    """One language's scores under several conditions."""

    values: Floats  # [conditions, seeds, queries]
    clusters: Sequence[str]  # [queries]
    seeds: Sequence[int | None]


@dataclass(frozen=True, eq=False)
class ConceptSamples:
    """Means over languages, and their bootstrap samples."""

    means: Floats  # [columns]
    samples: Floats  # [resamples, columns]
    clusters: int
    level: float

    def interval(self, function: Callable[[Floats], Floats]) -> Interval:
        """Return a function of the means, [..., columns] to [...], with its interval."""
        low, high = percentiles(function(self.samples), self.level)
        return Interval(float(function(self.means)), low, high, self.clusters)

    def share(self, part: int, whole: int) -> Interval | None:
        """Return column ``part`` over column ``whole``; None where the whole is zero in some sample."""
        if not (self.samples[:, whole] > 0).all() or not self.means[whole] > 0:
            return None
        return self.interval(lambda means: np.asarray(means[..., part] / means[..., whole]))


def aligned(conditions: Sequence[Sequence[PerQueryScores]], languages: Sequence[str]) -> dict[str, Aligned]:
    """Return one objective's scores under several conditions, language by language.

    Over the seeds of the first condition and the queries of the last; DataError where another lacks one of them.
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
    """Resample clusters, in all languages together, and average over languages.

    ``columns``: language to [queries, columns]; ``clusters``: language to the cluster of each query.
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
    # A query without a cluster is one of its own, also beside another language's query of the same name.
    return Aligned(np.array(rows), last.clusters or [f"{code}/{name}" for name in last.query_ids], seeds)
