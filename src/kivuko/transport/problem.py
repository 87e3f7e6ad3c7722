"""A batch of transport problems, checked and in the form the solvers rely on."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from kivuko.errors import UsageError, check_number, is_number
from kivuko.transport.marginals import uniform, working_dtype

# Largest distance from 1 of a given marginal's sum. Entries rounded to bfloat16 can be off by 1 part in 256.
_MASS_TOLERANCE = 5e-3


@dataclass(frozen=True, eq=False)
class Problem:
    """A batch of transport problems as :func:`pose` checked it."""

    cost: torch.Tensor  # [batch, n, m], float32 or float64, no gradient; anything where there is no mass
    row_marginal: torch.Tensor  # [batch, n], same type, not negative; sums to 1, or to 0 in an empty problem
    col_marginal: torch.Tensor  # [batch, m], likewise; empty on both sides or on neither

    def cleaned(self) -> Problem:
        """Return the problem with a cost of 0 wherever there is no mass to be moved; itself if that is nowhere."""
        rows, cols = self.row_marginal > 0, self.col_marginal > 0
        if rows.all() and cols.all():
            return self
        dead = ~(rows[:, :, None] & cols[:, None, :])
        return replace(self, cost=self.cost.masked_fill(dead, 0.0))

    def largest_cost(self) -> torch.Tensor:
        """Return [batch]: the largest absolute cost, NaN or infinite if one is. Of a cleaned problem."""
        if self.cost.numel() == 0:
            return self.cost.new_zeros(self.cost.shape[0])
        largest: torch.Tensor = torch.linalg.vector_norm(self.cost, ord=torch.inf, dim=(1, 2))
        return largest


def pose(
    cost: torch.Tensor,
    row_marginal: torch.Tensor | None,
    col_marginal: torch.Tensor | None,
    *,
    row_mask: torch.Tensor | None,
    col_mask: torch.Tensor | None,
    allow_empty: bool = False,
) -> Problem:
    """Check a batch of problems and put it together; shapes as in ``kivuko.solve``."""
    if cost.ndim != 3 or cost.is_complex():
        raise UsageError(f"cost is {cost.dtype} of shape {list(cost.shape)}: give real numbers of shape [batch, n, m]")
    batch, n, m = cost.shape
    rows = _whole_mask("row_mask", row_mask, (batch, n), cost.device)
    cols = _whole_mask("col_mask", col_mask, (batch, m), cost.device)
    values = cost.detach().to(working_dtype(cost))
    empty = ~(rows.any(dim=1) & cols.any(dim=1))  # [batch]
    if not allow_empty and empty.any():
        first = int(empty.nonzero()[0, 0])
        side, what = ("col_mask", "column") if rows[first].any() else ("row_mask", "row")
        raise UsageError(
            f"{side} of problem {first} leaves no {what} (cost has shape {list(cost.shape)}): drop that problem, "
            "or pass allow_empty=True to get a zero plan for it"
        )
    sides = (("row_marginal", row_marginal, rows), ("col_marginal", col_marginal, cols))
    row, col = (_whole_marginal(name, marginal, mask, empty, values) for name, marginal, mask in sides)
    return Problem(cost=values, row_marginal=row, col_marginal=col)


def as_tensor(name: str, values: Any, device: torch.device) -> torch.Tensor:
    """Return a tensor as it is, and a copy of a NumPy array or nested list on ``device``, NumPy's type kept."""
    if isinstance(values, torch.Tensor):
        return values
    try:
        array = np.array(values)
        if array.dtype.kind in "biufc":
            return torch.from_numpy(array).to(device)
    except (TypeError, ValueError, RuntimeError):
        pass
    raise UsageError(
        f"{name} is a {type(values).__name__} that holds no array of numbers: give a torch tensor, a NumPy array, or a "
        "nested list with rows of one length"
    )


def _whole_mask(name: str, mask: torch.Tensor | None, shape: tuple[int, int], device: torch.device) -> torch.Tensor:
    if mask is None:
        return torch.ones(shape, dtype=torch.bool, device=device)
    if mask.dtype != torch.bool:
        raise UsageError(f"{name} is {mask.dtype}: give a torch.bool tensor, True where a position counts")
    _check_place(name, mask, shape, device)
    return mask


def _whole_marginal(
    name: str,
    marginal: torch.Tensor | None,
    mask: torch.Tensor,
    empty: torch.Tensor,
    cost: torch.Tensor,
) -> torch.Tensor:
    if marginal is None:
        return uniform(mask, dtype=cost.dtype).masked_fill(empty[:, None], 0.0)
    _check_place(name, marginal, (mask.shape[0], mask.shape[1]), cost.device)
    mass = marginal.detach().to(cost.dtype)
    _check_entries(name, mass, mask)
    mass = mass.masked_fill(empty[:, None], 0.0)
    total = mass.sum(dim=1, keepdim=True)
    off = ((total[:, 0] - 1).abs() > _MASS_TOLERANCE) & ~empty
    if off.any():
        first = int(off.nonzero()[0, 0])
        raise UsageError(
            f"{name} of problem {first} sums to {total[first, 0].item():g}, not 1: "
            "scale it with kivuko.transport.marginals.normalize"
        )
    # Row and column mass must agree far more closely than rounded input does, or no plan can satisfy both.
    return mass / total.masked_fill(empty[:, None], 1.0)


def _check_place(name: str, tensor: torch.Tensor, shape: tuple[int, int], device: torch.device) -> None:
    if tensor.shape != shape:
        raise UsageError(f"{name} has shape {list(tensor.shape)}: this cost needs {list(shape)}")
    if tensor.device != device:
        raise UsageError(f"{name} is on {tensor.device} and cost on {device}: move one to the other")


def refuse_costs(
    problem: Problem,
    largest: torch.Tensor,  # [batch], the largest absolute cost where there is mass, NaN or infinite if one is
    regularization: float | None,  # of an entropic method
    first: int = 0,  # place in the whole batch
) -> None:
    """Raise a UsageError for costs that are not finite, or too large for the regularization in this precision."""
    if not largest.isfinite().all():
        cost = problem.cleaned().cost
        at, row, col = (~cost.isfinite()).nonzero()[0].tolist()
        raise UsageError(
            f"cost (problems of shape {list(cost.shape[1:])}) of problem {first + at} is "
            f"{cost[at, row, col].item():g} at row {row}, "
            f"column {col}: give finite costs, or mask that row or column"
        )
    finest = torch.finfo(largest.dtype).eps
    if regularization is not None and (steep := largest * finest > regularization).any():
        at = int(steep.nonzero()[0, 0])
        raise UsageError(
            f"regularization {regularization:g} is too small for problem {first + at}, whose largest cost is "
            f"{largest[at].item():g}, in {largest.dtype}: "
            f"give at least {largest[at].item() * finest:.2g}, scale the cost down, or pass float64"
        )


def _check_entries(name: str, mass: torch.Tensor, mask: torch.Tensor) -> None:
    bad = ~(mass.isfinite() & (mass >= 0))
    if bad.any():
        problem, position = bad.nonzero()[0].tolist()
        raise UsageError(
            f"{name} of problem {problem} is {mass[problem, position].item():g} at position {position}: "
            "give finite masses that are not negative"
        )
    stray = (mass > 0) & ~mask
    if stray.any():
        problem, position = stray.nonzero()[0].tolist()
        raise UsageError(
            f"{name} of problem {problem} puts mass {mass[problem, position].item():g} on masked position "
            f"{position}: set it to 0, or build the marginal with kivuko.transport.marginals.normalize"
        )


@dataclass(frozen=True)
class Settings:
    """The options of a batch of problems, as :func:`settings` checked them."""

    regularization: float  # in the unit of the cost, as the penalties
    row_penalty: float  # of the KL divergence; infinite: the marginal must hold
    col_penalty: float
    tolerance: float  # marginal error at which a problem counts as solved
    max_iterations: int

    @property
    def balanced(self) -> bool:
        return math.isinf(self.row_penalty) and math.isinf(self.col_penalty)

    @property
    def row_share(self) -> float:
        """Return the share penalty / (penalty + regularization) of a full step (Chizat et al. 2018, table 1)."""
        return _share(self.row_penalty, self.regularization)

    @property
    def col_share(self) -> float:
        return _share(self.col_penalty, self.regularization)


def settings(
    *,
    regularization: float,
    marginal_penalty: float | tuple[float | None, float | None] | None,
    tolerance: float,
    max_iterations: int,
) -> Settings:
    """Check the options of ``kivuko.solve`` and put them together."""
    regularization = check_number("regularization", regularization, above=0)
    tolerance = check_number("tolerance", tolerance, above=0)
    max_iterations = check_number("max_iterations", max_iterations, least=1, whole=True)
    pair = marginal_penalty if isinstance(marginal_penalty, tuple) else (marginal_penalty, marginal_penalty)
    if len(pair) != 2 or not all(one in (None, math.inf) or (is_number(one) and one > 0) for one in pair):
        raise UsageError(
            f"marginal_penalty is {marginal_penalty!r}: give a positive number, or a pair (rows, columns) of them; "
            "None where the marginal must hold"
        )
    row, col = (math.inf if one is None else float(one) for one in pair)
    return Settings(regularization, row, col, tolerance, max_iterations)


def _share(penalty: float, regularization: float) -> float:
    return 1.0 if math.isinf(penalty) else penalty / (penalty + regularization)


@dataclass(frozen=True, eq=False)
class Figures:
    """Figures about couplings; each [batch], in the cost's type."""

    transport_cost: torch.Tensor
    entropy: torch.Tensor
    divergence: torch.Tensor  # KL(coupling | product of the marginals)


@dataclass(frozen=True, eq=False)
class Solution:
    """The couplings of a solver, without gradients; see ``kivuko.Plan`` for the fields."""

    coupling: torch.Tensor  # [batch, n, m]
    marginal_error: torch.Tensor  # [batch]
    iterations: torch.Tensor  # int64 [batch]
    converged: torch.Tensor  # bool [batch]
    # Dual variables of the rows [batch, n] and the columns [batch, m], in the unit of the cost, 0 where there is no
    # mass: coupling = a b exp((f + g - cost) / regularization). All zero from a method that has none.
    row_potential: torch.Tensor
    col_potential: torch.Tensor
    figures: Figures | None = None
    # [batch], the largest absolute cost, NaN or infinite if one is; of a solver that surveys the costs itself.
    largest_cost: torch.Tensor = field(default_factory=lambda: torch.empty(0))


def marginal_error(coupling: torch.Tensor, row_target: torch.Tensor, col_target: torch.Tensor) -> torch.Tensor:
    """Return [batch]: the larger of the L1 distances of the row sums and of the column sums from their targets."""
    rows = (coupling.sum(dim=2) - row_target).abs().sum(dim=1)
    cols = (coupling.sum(dim=1) - col_target).abs().sum(dim=1)
    return torch.maximum(rows, cols)


def target(marginal: torch.Tensor, potential: torch.Tensor, penalty: float) -> torch.Tensor:
    """Return the marginal [..., n] that a plan with this potential [..., n] must have at the optimum.

    With a KL penalty that is ``marginal * exp(-potential / penalty)`` (first-order condition, Chizat et al. 2018).
    """
    if math.isinf(penalty):
        return marginal
    return marginal * (-potential / penalty).clamp(-80.0, 80.0).exp()


def zero_solution(problem: Problem) -> Solution:
    """Return the solution that moves nothing: the solvers' initial state, and right for empty problems."""
    solution = empty_solution(problem)
    for part in (solution.coupling, solution.iterations, solution.row_potential, solution.col_potential):
        part.zero_()
    return solution


def empty_solution(problem: Problem) -> Solution:
    """Return a solution whose coupling, iterations and potentials are still to be written."""
    cost = problem.cost
    batch = cost.shape[0]
    return Solution(
        coupling=torch.empty_like(cost, memory_format=torch.contiguous_format),
        marginal_error=cost.new_zeros(batch),
        iterations=torch.empty(batch, dtype=torch.int64, device=cost.device),
        converged=torch.ones(batch, dtype=torch.bool, device=cost.device),
        row_potential=torch.empty_like(problem.row_marginal, memory_format=torch.contiguous_format),
        col_potential=torch.empty_like(problem.col_marginal, memory_format=torch.contiguous_format),
    )


def within(error: torch.Tensor, settings: Settings) -> torch.Tensor:
    return error <= settings.tolerance


@dataclass(frozen=True, eq=False, repr=False)
class Plan:
    """Couplings of a batch of problems, and how well each was solved.

    Which fields carry a gradient, and of what, is the ``gradient`` option of ``kivuko.solve``.

    Attributes:
        coupling: [batch, n, m], mass moved from row to column; not negative, exactly 0 where a row or a column is
            masked or holds no mass. At most 1 unless a marginal is relaxed.
        transport_cost: [batch], <coupling, cost>, in the unit of the cost. Without the entropy term.
        value: [batch], what the method minimizes, at this coupling, in the unit of the cost. Exact, proximal and
            greedy: the transport cost. Sinkhorn: ``<P, cost> + regularization * KL(P | a b')`` plus, where a marginal
            is relaxed, its penalty times ``KL(P's marginal | marginal)``; KL(p | q) = sum p log(p / q) - p + q.
        entropy: [batch], - sum P log P in nats; in [0, log(n m)] for a plan of mass 1.
        marginal_error: [batch], the larger of the L1 distances of the row sums and of the column sums from the
            requested marginals: the mass in the wrong place, in [0, 2] for a plan of mass 1. Where a marginal is
            relaxed, the distance is from the marginal that is optimal given the potentials.
        iterations: int64 [batch], how many iterations that problem was given.
        converged: bool [batch], whether ``marginal_error`` is within the requested tolerance (and, for the proximal
            method, the duality gap is closed). Always True for an empty problem, whose coupling is zero.
    """

    coupling: torch.Tensor
    transport_cost: torch.Tensor
    value: torch.Tensor
    entropy: torch.Tensor
    marginal_error: torch.Tensor
    iterations: torch.Tensor
    converged: torch.Tensor

    def __repr__(self) -> str:
        batch, n, m = self.coupling.shape
        cost = self.transport_cost.detach()
        costs = f", transport cost {cost.min():.4g} to {cost.max():.4g}" if batch else ""
        return f"Plan({batch:,} of {n:,} x {m:,}{costs}, {int(self.converged.sum()):,} converged)"


def describe(problem: Problem, settings: Settings, solution: Solution, *, regularized: bool) -> Plan:
    coupling = solution.coupling
    figures = solution.figures or figures_of(problem, coupling)
    value = figures.transport_cost
    if regularized:
        value = value + settings.regularization * figures.divergence
        for marginal, sums, penalty in (
            (problem.row_marginal, 2, settings.row_penalty),
            (problem.col_marginal, 1, settings.col_penalty),
        ):
            if not math.isinf(penalty):
                value = value + penalty * _divergence(coupling.sum(dim=sums), marginal)
    return Plan(
        coupling=coupling,
        transport_cost=figures.transport_cost,
        value=value,
        entropy=figures.entropy,
        marginal_error=solution.marginal_error,
        iterations=solution.iterations,
        converged=solution.converged,
    )


def figures_of(problem: Problem, coupling: torch.Tensor) -> Figures:
    """Return a coupling's cost, entropy and divergence; differentiable in both arguments."""
    transport_cost: torch.Tensor = torch.linalg.vecdot(coupling.flatten(1), problem.cost.flatten(1))
    rows, cols = coupling.sum(dim=2), coupling.sum(dim=1)
    # Where a marginal is 0, so is the sum, and nothing flows back; xlogy's derivative there is 0 / 0.
    least = torch.finfo(coupling.dtype).tiny
    cross = (rows * problem.row_marginal.clamp_min(least).log()).sum(1)
    cross = cross + (cols * problem.col_marginal.clamp_min(least).log()).sum(1)
    product = problem.row_marginal.sum(1) * problem.col_marginal.sum(1)
    entropy = _entropy(coupling)
    return Figures(transport_cost, entropy, divergence=-entropy - cross - rows.sum(1) + product)


def _entropy(coupling: torch.Tensor) -> torch.Tensor:
    if not coupling.requires_grad:
        entropy: torch.Tensor = torch.special.entr(coupling).sum(dim=(1, 2))
        return entropy
    # Of a zero entry nothing flows back, where the derivative of x log x would be infinite.
    least = torch.finfo(coupling.dtype).tiny
    return -(coupling * coupling.clamp_min(least).log()).sum(dim=(1, 2))


def _divergence(sums: torch.Tensor, marginal: torch.Tensor) -> torch.Tensor:
    least = torch.finfo(sums.dtype).tiny
    ratio = (sums.clamp_min(least) / marginal.clamp_min(least)).log()
    divergence: torch.Tensor = (torch.where(marginal > 0, sums * ratio, 0.0) - sums + marginal).sum(dim=1)
    return divergence
