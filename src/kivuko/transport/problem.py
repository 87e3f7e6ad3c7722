"""A batch of transport problems, checked and in the form the solvers rely on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from kivuko.errors import UsageError
from kivuko.transport.marginals import uniform
from kivuko.transport.precision import working_dtype

# How far from 1 a given marginal may sum. Entries rounded to bfloat16 can be off by 1 part in 256.
_MASS_TOLERANCE = 5e-3


@dataclass(frozen=True, eq=False)
class Problem:
    """A batch of transport problems, ready to solve. Made by :func:`pose`, which guarantees the following.

    Attributes:
        cost: [batch, n, m], float32 or float64, no gradient. Where a row or a column holds no mass it may be anything,
            until :meth:`cleaned`; elsewhere it is finite, once ``refuse_costs`` has passed.
        row_marginal: [batch, n], of the same type, not negative; sums to 1, or to 0 in an empty problem.
        col_marginal: [batch, m], likewise; empty on both sides or on neither.
    """

    cost: torch.Tensor
    row_marginal: torch.Tensor
    col_marginal: torch.Tensor

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
    """Check the pieces of a batch of problems and put them together.

    Shapes and meaning are those of :func:`kivuko.transport.solve`.

    Raises:
        UsageError: a piece has the wrong shape, type or device, or holds values no problem can have.
    """
    given = {"cost": cost, "row_marginal": row_marginal, "col_marginal": col_marginal, "row_mask": row_mask,
             "col_mask": col_mask}  # fmt: skip
    for name, part in given.items():
        if part is not None and not isinstance(part, torch.Tensor):
            raise UsageError(f"{name} is a {type(part).__name__}: give a torch tensor (torch.as_tensor makes one)")
    if cost.ndim != 3 or cost.is_complex():
        raise UsageError(f"cost is {cost.dtype} of shape {list(cost.shape)}: give a real tensor of shape [batch, n, m]")
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
    """Return the marginal in the type of the cost, all zeros in the empty problems."""
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
            "scale it with kivuko.transport.normalize"
        )
    # Row and column mass must agree far more closely than rounded input does, or no plan can satisfy both.
    return mass / total.masked_fill(empty[:, None], 1.0)


def _check_place(name: str, tensor: torch.Tensor, shape: tuple[int, int], device: torch.device) -> None:
    if tensor.shape != shape:
        raise UsageError(f"{name} has shape {list(tensor.shape)}: this cost needs {list(shape)}")
    if tensor.device != device:
        raise UsageError(f"{name} is on {tensor.device} and cost on {device}: move one to the other")


def refuse_costs(problem: Problem, largest: torch.Tensor, regularization: float | None, first: int = 0) -> None:
    """Refuse costs that no solver can work with.

    Args:
        problem: its cost need not be cleaned.
        largest: [batch], the largest absolute cost where there is mass, NaN or infinite if one is.
        regularization: of an entropic method, else None.
        first: the place in the whole batch of this one's first problem.

    Raises:
        UsageError: a cost is not finite, or is so large next to the regularization that neighbouring floating-point
            numbers are more than one nat apart in the log of the plan.
    """
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
            f"{position}: set it to 0, or build the marginal with kivuko.transport.normalize"
        )
