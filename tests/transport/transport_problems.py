"""Problems the transport tests share."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Ragged:
    """One batch of problems of different sizes, and where each of them really ends."""

    cost: torch.Tensor
    row_marginal: torch.Tensor
    col_marginal: torch.Tensor
    row_mask: torch.Tensor
    col_mask: torch.Tensor
    sizes: list[tuple[int, int]]

    def arguments(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return self.cost, self.row_marginal, self.col_marginal

    def masks(self) -> dict[str, torch.Tensor]:
        return {"row_mask": self.row_mask, "col_mask": self.col_mask}

    def single(self, index: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The problem by itself, without padding: [n], [m], [n, m]."""
        n, m = self.sizes[index]
        return self.row_marginal[index, :n], self.col_marginal[index, :m], self.cost[index, :n, :m]


def ragged(
    sizes: list[tuple[int, int]], *, seed: int = 0, dtype: torch.dtype = torch.float64, padding: float = 7.0
) -> Ragged:
    """Random costs in [0, 2] and random marginals; padded cells hold ``padding``."""
    generator = torch.Generator().manual_seed(seed)
    rows, cols = max(n for n, _ in sizes), max(m for _, m in sizes)
    cost = torch.full((len(sizes), rows, cols), padding, dtype=dtype)
    row_marginal = torch.zeros(len(sizes), rows, dtype=dtype)
    col_marginal = torch.zeros(len(sizes), cols, dtype=dtype)
    for i, (n, m) in enumerate(sizes):
        cost[i, :n, :m] = 2 * torch.rand(n, m, generator=generator, dtype=torch.float64).to(dtype)
        for marginal, size in ((row_marginal, n), (col_marginal, m)):
            mass = 0.2 + torch.rand(size, generator=generator, dtype=torch.float64)
            marginal[i, :size] = (mass / mass.sum()).to(dtype)
    row_mask = torch.arange(rows) < torch.tensor([n for n, _ in sizes])[:, None]
    col_mask = torch.arange(cols) < torch.tensor([m for _, m in sizes])[:, None]
    return Ragged(cost, row_marginal, col_marginal, row_mask, col_mask, sizes)
