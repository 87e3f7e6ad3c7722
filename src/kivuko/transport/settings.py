"""What a solver is asked for, besides the problem itself."""

from __future__ import annotations

import math
from dataclasses import dataclass

from kivuko.errors import UsageError


@dataclass(frozen=True)
class Settings:
    """How to solve a batch of problems. Made by :func:`settings`, which checks the ranges.

    Attributes:
        regularization: weight of the entropy term, > 0, in the unit of the cost.
        row_penalty: weight of the row marginal's KL penalty, > 0, in the unit of the cost; infinite: the marginal
            must hold.
        col_penalty: likewise for columns.
        tolerance: > 0, the marginal error at which a problem counts as solved.
        max_iterations: >= 1.
    """

    regularization: float
    row_penalty: float
    col_penalty: float
    tolerance: float
    max_iterations: int

    @property
    def balanced(self) -> bool:
        """Whether both marginals must hold."""
        return math.isinf(self.row_penalty) and math.isinf(self.col_penalty)

    @property
    def row_share(self) -> float:
        """The share penalty / (penalty + regularization) of a full step that rows take; 1 if their marginal must hold.

        See Chizat et al. 2018 (Scaling algorithms for unbalanced transport problems), table 1.
        """
        return _share(self.row_penalty, self.regularization)

    @property
    def col_share(self) -> float:
        """Likewise for columns."""
        return _share(self.col_penalty, self.regularization)


def settings(
    *,
    regularization: float,
    marginal_penalty: float | tuple[float | None, float | None] | None,
    tolerance: float,
    max_iterations: int,
) -> Settings:
    """Check the options of :func:`kivuko.transport.solve` and put them together.

    Raises:
        UsageError: an option is outside its range.
    """
    for name, value in (("regularization", regularization), ("tolerance", tolerance)):
        if not (math.isfinite(value) and value > 0):
            raise UsageError(f"{name} is {value}: give a positive, finite number")
    if max_iterations < 1:
        raise UsageError(f"max_iterations is {max_iterations}: give at least 1")
    pair = marginal_penalty if isinstance(marginal_penalty, tuple) else (marginal_penalty, marginal_penalty)
    if len(pair) != 2 or not all(_is_penalty(one) for one in pair):
        raise UsageError(
            f"marginal_penalty is {marginal_penalty!r}: give a positive number, or a pair (rows, columns) of them; "
            "None where the marginal must hold"
        )
    row, col = (math.inf if one is None else float(one) for one in pair)
    return Settings(regularization, row, col, tolerance, max_iterations)


def _is_penalty(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool) and value > 0)


def _share(penalty: float, regularization: float) -> float:
    return 1.0 if math.isinf(penalty) else penalty / (penalty + regularization)
