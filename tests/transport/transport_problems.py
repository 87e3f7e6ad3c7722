"""Problems the transport tests share, and what is worked out from a plan by hand."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from hypothesis import strategies as st

from kivuko.transport.cost import cosine_cost
from kivuko.transport.problem import Plan


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

    def to(self, dtype: torch.dtype) -> Ragged:
        return Ragged(*(part.to(dtype) for part in self.arguments()), self.row_mask, self.col_mask, self.sizes)


Single = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def pad(problems: list[Single], *, padding: float = 7.0) -> Ragged:
    """Put problems (row marginal [n], column marginal [m], cost [n, m]) into one batch, padded with ``padding``."""
    sizes = [(len(row), len(col)) for row, col, _ in problems]
    rows, cols = max(n for n, _ in sizes), max(m for _, m in sizes)
    dtype = problems[0][2].dtype
    cost = torch.full((len(sizes), rows, cols), padding, dtype=dtype)
    row_marginal = torch.zeros(len(sizes), rows, dtype=dtype)
    col_marginal = torch.zeros(len(sizes), cols, dtype=dtype)
    for i, ((n, m), problem) in enumerate(zip(sizes, problems, strict=True)):
        row_marginal[i, :n], col_marginal[i, :m], cost[i, :n, :m] = problem
    row_mask = torch.arange(rows) < torch.tensor([n for n, _ in sizes])[:, None]
    col_mask = torch.arange(cols) < torch.tensor([m for _, m in sizes])[:, None]
    return Ragged(cost, row_marginal, col_marginal, row_mask, col_mask, sizes)


def ragged(
    sizes: list[tuple[int, int]], *, seed: int = 0, dtype: torch.dtype = torch.float64, padding: float = 7.0
) -> Ragged:
    """Random costs in [0, 2] and random marginals; padded cells hold ``padding``."""
    generator = torch.Generator().manual_seed(seed)

    def mass(size: int) -> torch.Tensor:
        weights = 0.2 + torch.rand(size, generator=generator, dtype=torch.float64)
        return weights / weights.sum()

    problems = [(mass(n), mass(m), 2 * random(n, m, generator=generator)) for n, m in sizes]
    return pad([tuple(part.to(dtype) for part in problem) for problem in problems], padding=padding)  # type: ignore[misc]


def random(*shape: int, generator: torch.Generator) -> torch.Tensor:
    return torch.rand(*shape, generator=generator, dtype=torch.float64)


def skewed(size: int, power: float, *, generator: torch.Generator) -> torch.Tensor:
    """Masses [size] that are the less even the larger ``power``, with some that are zero."""
    weights = random(size, generator=generator) ** power
    weights[random(size, generator=generator) < 0.15] = 0
    if weights.sum() == 0:
        weights[0] = 1
    return weights / weights.sum()


def uneven(size: int, *, seed: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Sixteen problems (cost, row marginal, column marginal) with cosine costs and masses from 1 down to 1e-10."""
    generator = torch.Generator().manual_seed(seed)
    x, y = (torch.randn(16, size, 8, generator=generator, dtype=torch.float64) for _ in range(2))
    row, col = (torch.stack([skewed(size, 6.0, generator=generator) for _ in range(16)]) for _ in range(2))
    return cosine_cost(x, y).to(dtype), row.to(dtype), col.to(dtype)


@st.composite
def token_problems(draw: st.DrawFn) -> Ragged:
    """Batches like those of a sentence and its translation: cosine costs of noisy copies, skewed masses, padding."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    dim = draw(st.sampled_from([8, 16, 64]))
    problems = []
    for n, m in draw(st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=3)):
        y = torch.randn(m, dim, generator=generator, dtype=torch.float64)
        noise = torch.randn(n, dim, generator=generator, dtype=torch.float64)
        copied = y[torch.randint(m, (n,), generator=generator)]
        x = draw(st.sampled_from([copied + 0.3 * noise, copied + noise, noise]))
        power = draw(st.sampled_from([0.0, 1.0, 3.0]))
        row, col = skewed(n, power, generator=generator), skewed(m, power, generator=generator)
        problems.append((row, col, cosine_cost(x[None], y[None])[0]))
    return pad(problems, padding=draw(st.sampled_from([0.0, 1e30, math.nan, math.inf])))


def finite(plan: Plan) -> bool:
    """Whether no number of a plan is NaN or infinite, and none that measures mass or distance is negative."""
    numbers = (plan.coupling, plan.transport_cost, plan.value, plan.entropy, plan.marginal_error)
    whole = all(bool(part.isfinite().all()) for part in numbers)
    return whole and bool((plan.coupling >= 0).all()) and bool((plan.marginal_error >= 0).all())


def misplaced(plan: Plan, row_marginal: torch.Tensor, col_marginal: torch.Tensor) -> torch.Tensor:
    """The marginal error [batch], in float64, from the coupling alone."""
    coupling = plan.coupling.double()
    rows = (coupling.sum(2) - row_marginal.double()).abs().sum(1)
    cols = (coupling.sum(1) - col_marginal.double()).abs().sum(1)
    return torch.maximum(rows, cols)


def divergence(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """KL(p | q) = sum p log(p / q) - p + q over all but the first dimension."""
    p, q = p.double().flatten(1), q.double().flatten(1)
    return (torch.special.xlogy(p, p) - torch.special.xlogy(p, q) - p + q).sum(1)
