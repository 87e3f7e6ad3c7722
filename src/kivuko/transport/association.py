"""Association of units (subwords, words) over a corpus by transport plans and counts that sharpen each other.

Expectation maximization as in IBM Model 1 (Brown et al. 1993), with a transport plan in place of the posterior:
mass is spent on both sides, so what one pair explains is not explained again. Where a sentence's words stand says
something too: how far apart two units stand that go together is learned from the plans, as IBM Model 2 learns it.
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
_BINS = 10  # of distances from 0 to the length of a sentence, in either direction


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
    groups: Sequence[int] | None = None,  # one number per pair, such as its language's; negative: order says nothing
) -> Association:
    """Associate the units of two sides, numbers below ``shape``, over a corpus of pairs.

    Each round solves one transport problem per pair, uniform marginals, at cost ``-log(strength) - affinity`` in nats,
    with strength = mass / sqrt(row mass * column mass) of the previous round; rounds=0 counts co-occurrences, each
    times exp(affinity). With ``groups``, the cost of two units is lower by the log of how much more mass than by chance
    the previous round moved, in pairs of that group, between units that stand as far apart.

    >>> result = associate([[0, 1], [0, 2]], [[0, 1], [0, 2]], (3, 3))
    >>> result.best()
    {0: 0, 1: 1, 2: 2}
    """
    if rounds < 0:
        raise UsageError(f"rounds is {rounds}: give 0 or more")
    corpus = Corpus.of(row_units, col_units, shape, groups)
    rows, cols = corpus.rows, corpus.cols
    mass, by_chance = corpus.summed(lambda block, places, distances: block.cells(block.uniform()))
    if not len(rows):
        return Association(rows, cols, mass, shape)
    bonus = affinity(rows, cols) if affinity else torch.zeros(len(rows))
    if not rounds:
        return Association(rows, cols, mass * bonus.exp(), shape)
    nearer = torch.zeros(len(by_chance))
    for _ in range(rounds):
        cost = -(mass / _geometric_mean(mass, rows, cols, shape) + _FLOOR).log() - bonus
        plans = partial(_plans, cost - cost.min(), nearer, regularization, marginal_penalty)
        mass, moved = corpus.summed(plans)
        nearer = relative_mass(moved, by_chance).log()
    return Association(rows, cols, mass, shape)


def _plans(
    cost: Tensor, nearer: Tensor, regularization: float, marginal_penalty: float | None,
    block: Block, places: Tensor, distances: Tensor,
) -> Tensor:  # fmt: skip
    """Return the mass that the plans of a block put in each of its cells."""
    return block.cells(block.solved(cost[places] - nearer[distances], regularization, marginal_penalty))


def relative_mass(mass: Tensor, by_chance: Tensor) -> Tensor:
    """Return the mass of each class of distances relative to that by chance, one added to each; 1 for class 0."""
    relative = (mass + 1) / (by_chance + 1)
    relative[0] = 1
    return relative


@dataclass(frozen=True, eq=False)
class Corpus:
    """The pairs of a corpus in padded blocks, and the entries: which units occur together in a pair."""

    rows: Tensor  # int64 [entries]
    cols: Tensor
    blocks: Sequence[Block]
    places: Sequence[Tensor]  # of each block, int64 [cells]: the entry of each cell
    distances: Sequence[Tensor]  # of each block, int32 [cells]: the class of distances of each cell, see ``_distances``

    @classmethod
    def of(
        cls, row_units: Units, col_units: Units, shape: tuple[int, int], groups: Sequence[int] | None = None
    ) -> Corpus:
        if len(row_units) != len(col_units):
            raise UsageError(
                f"{len(row_units)} lists of row units and {len(col_units)} of column units: give one per pair"
            )
        if groups is not None and len(groups) != len(row_units):
            raise UsageError(f"{len(groups)} groups and {len(row_units)} pairs: give one per pair")
        chunks = _chunks(row_units, col_units)
        blocks = [_block(chosen, row_units, col_units, shape) for chosen in chunks]
        distances = [
            _distances(block, [-1 if groups is None else groups[number] for number in chosen])
            for chosen, block in zip(chunks, blocks, strict=True)
        ]
        nothing = torch.zeros(0, dtype=torch.long)
        keys, entry = torch.cat([nothing, *(block.keys for block in blocks)]).unique(return_inverse=True)
        places = entry.split([len(block.keys) for block in blocks]) if blocks else ()
        return cls(keys // shape[1], keys % shape[1], blocks, places, distances)

    def summed(self, cells: Callable[[Block, Tensor, Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """Return the sums of what ``cells`` gives for each block's cells: float32 [entries], by class [classes]."""
        total = torch.zeros(len(self.rows))
        by_class = torch.zeros(1 + max((int(one.max()) for one in self.distances), default=0))
        for block, places, distances in zip(self.blocks, self.places, self.distances, strict=True):
            values = cells(block, places, distances)
            total.index_add_(0, places, values)
            by_class.index_add_(0, distances, values)
        return total, by_class


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


def _distances(block: Block, groups: Sequence[int]) -> Tensor:
    """Return how far apart the units of each cell stand, int32 [cells]; one group per pair.

    The difference of both places, as shares of their sentences, in classes from 1, each group its own; 0 for all cells
    of a pair whose group is negative.
    """
    group = torch.tensor(groups)[:, None, None]
    ours, theirs = (
        (torch.arange(mask.shape[1]) + 0.5) / mask.sum(1, keepdim=True) for mask in (block.row_mask, block.col_mask)
    )
    apart = ((ours[:, :, None] - theirs[:, None, :]) * _BINS).round().clamp(-_BINS, _BINS).int() + _BINS
    return torch.where(group < 0, 0, 1 + group * (2 * _BINS + 1) + apart)[block.inside].int()


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
