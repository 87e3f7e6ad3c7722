"""Association of units (subwords, words) over a corpus by transport plans and counts that sharpen each other.

Expectation maximization as in IBM Model 1 (Brown et al. 1993), with a transport plan in place of the posterior:
mass is spent on both sides, so what one pair explains is not explained again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from kivuko.errors import UsageError
from kivuko.transport.solve import solve

Units = Sequence[Sequence[int]]
Affinity = Callable[[Tensor, Tensor], Tensor]

_CELLS = 1 << 20  # of padded costs held at once
_FLOOR = 1e-4  # of the strength whose logarithm is the cost: what never goes together costs about 9 nats


@dataclass(frozen=True, eq=False)
class Association:
    """The mass that plans move between units, over the corpus: a sparse matrix."""

    rows: Tensor  # int64 [entries], of the units; no two entries are alike
    cols: Tensor
    mass: Tensor  # float32 [entries], not negative; a pair of n and m units weighs sqrt(n m)
    shape: tuple[int, int]  # number of units of either side

    def row_mass(self) -> Tensor:
        return torch.zeros(self.shape[0]).index_add_(0, self.rows, self.mass)

    def mean_of(self, vectors: Tensor) -> Tensor:
        """Return float32 [rows, dim]: each row unit's mean of the column units' ``vectors``, weighted by mass."""
        shares = self.mass / self.row_mass().clamp_min(1e-12)[self.rows]
        mixture = torch.sparse_coo_tensor(
            torch.stack([self.rows, self.cols]), shares, self.shape, check_invariants=False
        )
        means: Tensor = torch.sparse.mm(mixture, vectors.float())
        return means

    def best(self) -> dict[int, int]:
        """Return for each row unit that occurs the column unit of the highest mass / sqrt(row mass * column mass)."""
        strength = self.mass / _geometric_mean(self.mass, self.rows, self.cols, self.shape)
        order = torch.argsort(self.cols, stable=True)
        order = order[torch.argsort(-strength[order], stable=True)]
        best: dict[int, int] = {}
        for row, col in zip(self.rows[order].tolist(), self.cols[order].tolist(), strict=True):
            best.setdefault(row, col)
        return best


def associate(
    row_units: Units,
    col_units: Units,
    shape: tuple[int, int],
    *,
    regularization: float = 0.5,  # > 0, in nats; 1 spreads mass like a posterior, less is sharper
    marginal_penalty: float | None = None,  # > 0, in nats: the price of unmatched units; None: all mass is moved
    rounds: int = 4,
    affinity: Affinity | None = None,  # units of entries, int64 [entries] each -> bonus in nats, float [entries]
) -> Association:
    """Associate the units of two sides, numbers below ``shape``, over a corpus of pairs.

    Each round solves one transport problem per pair, uniform marginals, at cost ``-log(strength) - affinity`` in nats,
    with strength = mass / sqrt(row mass * column mass) of the previous round; rounds=0 counts co-occurrences, each
    times exp(affinity).

    >>> result = associate([[0, 1], [0, 2]], [[0, 1], [0, 2]], (3, 3))
    >>> result.best()
    {0: 0, 1: 1, 2: 2}
    """
    if rounds < 0:
        raise UsageError(f"rounds is {rounds}: give 0 or more")
    corpus = Corpus.of(row_units, col_units, shape)
    rows, cols = corpus.rows, corpus.cols
    mass = corpus.summed(lambda block, places: block.cells(block.uniform()))
    if not len(rows):
        return Association(rows, cols, mass, shape)
    bonus = affinity(rows, cols) if affinity else torch.zeros(len(rows))
    if not rounds:
        return Association(rows, cols, mass * bonus.exp(), shape)
    for _ in range(rounds):
        cost = -(mass / _geometric_mean(mass, rows, cols, shape) + _FLOOR).log() - bonus
        cost = cost - cost.min()
        mass = corpus.summed(partial(_plans, cost, regularization, marginal_penalty))
    return Association(rows, cols, mass, shape)


def _plans(cost: Tensor, regularization: float, marginal_penalty: float | None, block: Block, places: Tensor) -> Tensor:
    """Return the mass that the plans of a block put in each of its cells."""
    return block.cells(block.solved(cost[places], regularization, marginal_penalty))


@dataclass(frozen=True, eq=False)
class Corpus:
    """The pairs of a corpus in padded blocks, and the entries: which units occur together in a pair."""

    rows: Tensor  # int64 [entries]
    cols: Tensor
    blocks: Sequence[Block]
    places: Sequence[Tensor]  # of each block, int64 [cells]: the entry of each cell

    @classmethod
    def of(cls, row_units: Units, col_units: Units, shape: tuple[int, int]) -> Corpus:
        if len(row_units) != len(col_units):
            raise UsageError(
                f"{len(row_units)} lists of row units and {len(col_units)} of column units: give one per pair"
            )
        blocks = [_block(chosen, row_units, col_units, shape) for chosen in _chunks(row_units, col_units)]
        nothing = torch.zeros(0, dtype=torch.long)
        keys, entry = torch.cat([nothing, *(block.keys for block in blocks)]).unique(return_inverse=True)
        places = entry.split([len(block.keys) for block in blocks]) if blocks else ()
        return cls(keys // shape[1], keys % shape[1], blocks, places)

    def summed(self, cells: Callable[[Block, Tensor], Tensor]) -> Tensor:
        """Return float32 [entries], the sums of what ``cells`` gives for each block's cells."""
        total = torch.zeros(len(self.rows))
        for block, places in zip(self.blocks, self.places, strict=True):
            total.index_add_(0, places, cells(block, places))
        return total


class Block(NamedTuple):
    """Pairs of like size, padded: masks bool [pairs, n] and [pairs, m], and which units meet in each true cell."""

    row_mask: Tensor
    col_mask: Tensor
    keys: Tensor  # int64 [cells], row unit times the number of column units, plus column unit

    @property
    def inside(self) -> Tensor:
        return self.row_mask[:, :, None] & self.col_mask[:, None, :]

    def uniform(self) -> Tensor:
        n, m = self.row_mask.sum(1), self.col_mask.sum(1)
        return (1.0 / (n * m))[:, None, None].expand(self.inside.shape)

    def cells(self, coupling: Tensor) -> Tensor:
        """Return the mass in each true cell, float [cells], weighted by the size of its pair."""
        weight = (self.row_mask.sum(1) * self.col_mask.sum(1)).float().sqrt()
        return (coupling * weight[:, None, None])[self.inside]

    def solved(self, cost: Tensor, regularization: float, marginal_penalty: float | None) -> Tensor:
        padded = torch.zeros(self.inside.shape)
        padded[self.inside] = cost
        return solve(
            padded, row_mask=self.row_mask, col_mask=self.col_mask, regularization=regularization,
            marginal_penalty=marginal_penalty, tolerance=1e-3, max_iterations=300,
        ).coupling  # fmt: skip


def _chunks(row_units: Units, col_units: Units) -> list[list[int]]:
    """Group the pairs that have units on both sides by size, so that little is padded."""
    kept = [number for number in range(len(row_units)) if row_units[number] and col_units[number]]
    kept.sort(key=lambda number: (len(row_units[number]), len(col_units[number]), number))
    chunks: list[list[int]] = []
    widest = 0
    for number in kept:
        widest = max(widest, len(col_units[number]))
        if not chunks or (len(chunks[-1]) + 1) * len(row_units[number]) * widest > _CELLS:
            chunks.append([])
            widest = len(col_units[number])
        chunks[-1].append(number)
    return chunks


def _block(chosen: list[int], row_units: Units, col_units: Units, shape: tuple[int, int]) -> Block:
    rows, row_mask = _padded([row_units[number] for number in chosen], shape[0], "row")
    cols, col_mask = _padded([col_units[number] for number in chosen], shape[1], "column")
    keys = rows[:, :, None] * shape[1] + cols[:, None, :]
    return Block(row_mask, col_mask, keys[row_mask[:, :, None] & col_mask[:, None, :]])


def _padded(units: list[Sequence[int]], count: int, side: str) -> tuple[Tensor, Tensor]:
    lengths = torch.tensor([len(one) for one in units])
    mask = torch.arange(int(lengths.max())) < lengths[:, None]
    flat = torch.tensor([unit for one in units for unit in one], dtype=torch.long)
    if len(flat) and not (int(flat.min()) >= 0 and int(flat.max()) < count):
        raise UsageError(f"{side} units run from {int(flat.min())} to {int(flat.max())}: shape allows 0 to {count - 1}")
    padded = torch.zeros(mask.shape, dtype=torch.long)
    padded[mask] = flat
    return padded, mask


def _geometric_mean(mass: Tensor, rows: Tensor, cols: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return for each entry the geometric mean of its units' masses, never 0."""
    of_row = torch.zeros(shape[0]).index_add_(0, rows, mass)
    of_col = torch.zeros(shape[1]).index_add_(0, cols, mass)
    return (of_row[rows] * of_col[cols]).sqrt().clamp_min(1e-12)
