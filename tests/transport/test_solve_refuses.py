"""Bad input is refused in one line that says what is wrong, where, and what to do."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from kivuko import transport
from kivuko.errors import UsageError

COST = torch.zeros(2, 2, 3)
HALF = torch.full((2, 2), 0.5)
THIRD = torch.full((2, 3), 1 / 3)
FIRST_ONLY = torch.tensor([[True, True], [True, False]])


def changed(tensor: torch.Tensor, place: tuple[int, ...], value: float) -> torch.Tensor:
    copy = tensor.clone()
    copy[place] = value
    return copy


CASES: dict[str, tuple[dict[str, Any], str]] = {
    "method": ({"method": "magic"}, r"method 'magic' is unknown: choose from sinkhorn"),
    "no regularization": ({"regularization": 0.0}, r"regularization is 0.0: give a positive"),
    "negative regularization": ({"regularization": -1.0}, r"regularization is -1.0: give a positive"),
    "nan regularization": ({"regularization": float("nan")}, r"regularization is nan: give a positive"),
    "tolerance": ({"tolerance": 0.0}, r"tolerance is 0.0: give a positive"),
    "iterations": ({"max_iterations": 0}, r"max_iterations is 0: give at least 1"),
    "flat cost": ({"cost": torch.zeros(2, 3)}, r"cost is .* shape \[2, 3\]: give .*\[batch, n, m\]"),
    "complex cost": ({"cost": COST.to(torch.complex64)}, r"cost is torch.complex64"),
    "nan cost": (
        {"cost": changed(COST, (1, 0, 2), float("nan"))},
        r"cost of problem 1 is nan at row 0, column 2: give finite costs, or mask",
    ),
    "infinite cost": ({"cost": changed(COST, (0, 1, 0), float("inf"))}, r"cost of problem 0 is inf at row 1"),
    "steep": (
        {"cost": changed(COST, (1, 0, 0), 1e6), "regularization": 1e-3},
        r"regularization 0.001 is too small for problem 1.*1e\+06.*pass float64",
    ),
    "row shape": ({"row_marginal": THIRD}, r"row_marginal has shape \[2, 3\]: this cost needs \[2, 2\]"),
    "col shape": ({"col_marginal": HALF}, r"col_marginal has shape \[2, 2\]: this cost needs \[2, 3\]"),
    "negative": (
        {"row_marginal": torch.tensor([[0.5, 0.5], [1.5, -0.5]])},
        r"row_marginal of problem 1 is -0.5 at position 1",
    ),
    "nan marginal": (
        {"col_marginal": changed(THIRD, (0, 2), float("nan"))},
        r"col_marginal of problem 0 is nan at position 2",
    ),
    "sum": (
        {"col_marginal": changed(THIRD, (1, 0), 0.5)},
        r"col_marginal of problem 1 sums to 1.16667, not 1: .*normalize",
    ),
    "no mass": ({"row_marginal": changed(HALF, (0,), 0.0)}, r"row_marginal of problem 0 sums to 0, not 1"),
    "masked mass": (
        {"row_marginal": HALF, "row_mask": FIRST_ONLY},
        r"row_marginal of problem 1 puts mass 0.5 on masked position 1: set it to 0",
    ),
    "mask type": ({"row_mask": torch.ones(2, 2)}, r"row_mask is torch.float32: give a torch.bool"),
    "mask shape": (
        {"col_mask": FIRST_ONLY},
        r"col_mask has shape \[2, 2\]: this cost needs \[2, 3\]",
    ),
    "device": ({"row_marginal": HALF.to("meta")}, r"row_marginal is on meta and cost on cpu"),
}


@pytest.mark.parametrize("case", CASES)
def test_refused_in_one_line(case: str) -> None:
    arguments, message = CASES[case]
    with pytest.raises(UsageError, match=message) as caught:
        transport.solve(**{"cost": COST, **arguments})
    assert "\n" not in str(caught.value)


def test_a_mass_that_rounding_explains_is_accepted_and_made_exact() -> None:
    off = HALF * 1.003
    plan = transport.solve(torch.rand(2, 2, 3), off, regularization=0.5, tolerance=1e-5)
    assert plan.converged.all()
    torch.testing.assert_close(plan.coupling.sum(2), HALF, atol=2e-5, rtol=0)
