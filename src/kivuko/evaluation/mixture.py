"""Systems put together query by query: a weighted sum of per-query scores.

A mean over attacks, the area under a curve and a mixture of two models are all such sums. Since each query keeps a
value of its own, what is put together can be compared, bootstrapped and tested like any single system.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from kivuko.errors import DataError
from kivuko.evaluation.query_scores import PerQueryScores

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
