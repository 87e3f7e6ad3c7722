"""The entry point: bad input in one line, parts of large batches, empty problems, memory."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from transport_problems import ragged

from kivuko.errors import MissingDependencyError, UsageError
from kivuko.transport import sinkhorn as backends
from kivuko.transport.solve import METHODS, solve

COST = torch.zeros(2, 2, 3)
HALF = torch.full((2, 2), 0.5)
THIRD = torch.full((2, 3), 1 / 3)
FIRST_ONLY = torch.tensor([[True, True], [True, False]])
NAN, INF = float("nan"), float("inf")


def changed(tensor: torch.Tensor, place: tuple[int, ...], value: float) -> torch.Tensor:
    copy = tensor.clone()
    copy[place] = value
    return copy


OPTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "method": ({"method": "magic"}, r"method 'magic' is unknown: choose from exact, greedy, .*sinkhorn_log"),
    "backend": ({"backend": "jax"}, r"backend 'jax' is unknown: choose from auto, numba, torch, triton"),
    "gradient": ({"gradient": "all"}, r"gradient 'all' is unknown: choose from envelope, implicit, none"),
    "no regularization": ({"regularization": 0.0}, r"regularization=0.0: choose a number above 0"),
    "negative regularization": ({"regularization": -1.0}, r"regularization=-1.0: choose a number"),
    "nan regularization": ({"regularization": NAN}, r"regularization=nan: choose a number"),
    "infinite regularization": ({"regularization": INF}, r"regularization=inf: choose a number"),
    "tolerance": ({"tolerance": 0.0}, r"tolerance=0.0: choose a number"),
    "iterations": ({"max_iterations": 0}, r"max_iterations=0: choose a whole number of at least 1"),
    "penalty": ({"marginal_penalty": 0.0}, r"marginal_penalty is 0.0: give .*positive number.*None"),
    "one penalty": ({"marginal_penalty": (None, -1.0)}, r"marginal_penalty is \(None, -1.0\): give .*positive"),
    "nan penalty": ({"marginal_penalty": NAN}, r"marginal_penalty is nan: give .*positive"),
    "three penalties": ({"marginal_penalty": (1.0, 1.0, 1.0)}, r"marginal_penalty is \(1.0, .*or a pair"),
    "a list of penalties": ({"marginal_penalty": [1.0, 0.0]}, r"marginal_penalty is \[1.0, 0.0\]"),
    "a word for a penalty": ({"marginal_penalty": "high"}, r"marginal_penalty is .*high"),
}
for _method in ("proximal", "exact", "greedy"):
    OPTIONS[f"implicit {_method}"] = (
        {"gradient": "implicit", "method": _method},
        rf"gradient 'implicit' is given, but .*'{_method}'.*use 'envelope'",
    )
    OPTIONS[f"penalty {_method}"] = (
        {"marginal_penalty": 1.0, "method": _method}, rf"marginal_penalty is given, but method '{_method}' keeps",
    )  # fmt: skip
for _method in ("sinkhorn_log", "proximal", "exact", "greedy"):
    OPTIONS[f"backend {_method}"] = (
        {"backend": "torch", "method": _method}, rf"backend 'torch' is given, but method '{_method}' has no choice",
    )  # fmt: skip

PIECES: dict[str, tuple[dict[str, Any], str]] = {
    "flat cost": ({"cost": torch.zeros(2, 3)}, r"cost is .* shape \[2, 3\]: give .*\[batch, n, m\]"),
    "complex cost": ({"cost": COST.to(torch.complex64)}, r"cost is torch.complex64"),
    "nan cost": (
        {"cost": changed(COST, (1, 0, 2), NAN)},
        r"cost .*of problem 1 is nan at row 0, column 2: give finite costs, or mask",
    ),
    "infinite cost": ({"cost": changed(COST, (0, 1, 0), INF)}, r"cost .*of problem 0 is inf at row 1, column 0"),
    "minus infinity": ({"cost": changed(COST, (1, 1, 1), -INF)}, r"cost .*of problem 1 is -inf at row 1, column 1"),
    "first of several": (
        {"cost": torch.stack([COST[0], COST[0], COST[0] + NAN, COST[0] + INF])},
        r"cost .*of problem 2 is nan at row 0, column 0",
    ),
    "row shape": ({"row_marginal": THIRD}, r"row_marginal has shape \[2, 3\]: this cost needs \[2, 2\]"),
    "col shape": ({"col_marginal": HALF}, r"col_marginal has shape \[2, 2\]: this cost needs \[2, 3\]"),
    "one marginal for all": ({"row_marginal": HALF[0]}, r"row_marginal has shape \[2\]: this cost needs \[2, 2\]"),
    "negative": (
        {"row_marginal": torch.tensor([[0.5, 0.5], [1.5, -0.5]])},
        r"row_marginal of problem 1 is -0.5 at position 1: give finite masses that are not negative",
    ),
    "nan marginal": (
        {"col_marginal": changed(THIRD, (0, 2), NAN)},
        r"col_marginal of problem 0 is nan at position 2",
    ),
    "infinite marginal": (
        {"row_marginal": changed(HALF, (1, 0), INF)},
        r"row_marginal of problem 1 is inf at position 0",
    ),
    "sum": (
        {"col_marginal": changed(THIRD, (1, 0), 0.5)},
        r"col_marginal of problem 1 sums to 1.16667, not 1: .*normalize",
    ),
    "barely off": ({"row_marginal": HALF * 1.006}, r"row_marginal of problem 0 sums to 1.006, not 1"),
    "no mass": ({"row_marginal": changed(HALF, (0,), 0.0)}, r"row_marginal of problem 0 sums to 0, not 1"),
    "masked mass": (
        {"row_marginal": HALF, "row_mask": FIRST_ONLY},
        r"row_marginal of problem 1 puts mass 0.5 on masked position 1: set it to 0",
    ),
    "mask type": ({"row_mask": torch.ones(2, 2)}, r"row_mask is torch.float32: give a torch.bool"),
    "whole numbers for a mask": (
        {"col_mask": torch.ones(2, 3, dtype=torch.int64)},
        r"col_mask is torch.int64: give a torch.bool",
    ),
    "mask shape": ({"col_mask": FIRST_ONLY}, r"col_mask has shape \[2, 2\]: this cost needs \[2, 3\]"),
    "row marginal's device": ({"row_marginal": HALF.to("meta")}, r"row_marginal is on meta and cost on cpu"),
    "col marginal's device": ({"col_marginal": THIRD.to("meta")}, r"col_marginal is on meta and cost on cpu"),
    "mask's device": ({"row_mask": FIRST_ONLY.to("meta")}, r"row_mask is on meta and cost on cpu: move one"),
    "no row": (
        {"row_mask": torch.tensor([[True, True], [False, False]])},
        r"row_mask of problem 1 leaves no row .*\[2, 2, 3\].*allow_empty=True",
    ),
    "no column": (
        {"col_mask": torch.tensor([[False] * 3, [True] * 3])},
        r"col_mask of problem 0 leaves no column .*\[2, 2, 3\].*allow_empty=True",
    ),
    "no rows at all": ({"cost": torch.zeros(2, 0, 3)}, r"of problem 0 leaves no row .*\[2, 0, 3\]"),
    "no columns at all": ({"cost": torch.zeros(2, 3, 0)}, r"of problem 0 leaves no column .*\[2, 3, 0\]"),
}
WAYS = [{"method": name} for name in METHODS] + [{"backend": "torch"}]


def refused(message: str, **arguments: Any) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        solve(**{"cost": COST, **arguments})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("case", OPTIONS)
def test_an_option_is_refused_in_one_line(case: str) -> None:
    arguments, message = OPTIONS[case]
    refused(message, **arguments)


@pytest.mark.parametrize("method", WAYS, ids=lambda one: "-".join(one.values()))
@pytest.mark.parametrize("case", PIECES)
def test_a_bad_piece_is_refused_in_one_line_by_every_method(case: str, method: dict[str, str]) -> None:
    arguments, message = PIECES[case]
    refused(message, **arguments, **method)


@pytest.mark.parametrize("method", [{"method": "sinkhorn"}, {"method": "sinkhorn_log"}, {"backend": "torch"}])
def test_a_regularization_too_small_for_the_type_is_refused(method: dict[str, str]) -> None:
    cost = changed(COST, (1, 0, 0), 1e6)
    refused(
        r"regularization 0.001 is too small for problem 1.*1e\+06.*pass float64",
        cost=cost,
        regularization=1e-3,
        **method,
    )
    assert solve(cost.double(), regularization=1e-3, **method).coupling.isfinite().all()
    # Where there is no mass to be moved, no cost is too large.
    mask = torch.tensor([[True, True], [False, True]])
    assert solve(cost, row_mask=mask, regularization=1e-3, **method).converged.all()


@pytest.mark.parametrize("method", WAYS, ids=lambda one: "-".join(one.values()))
@pytest.mark.parametrize("value", [NAN, INF, 1e30])
def test_what_lies_in_a_masked_or_massless_cell_is_nobodys_business(value: float, method: dict[str, str]) -> None:
    cost = changed(COST, (1, 1), value)
    for arguments in ({"row_mask": FIRST_ONLY}, {"row_marginal": torch.tensor([[0.5, 0.5], [1.0, 0.0]])}):
        plan = solve(cost, **arguments, **method)
        assert plan.coupling[1, 1].tolist() == [0, 0, 0]
        for field in (plan.transport_cost, plan.value, plan.entropy, plan.marginal_error):
            assert field.isfinite().all()


def test_a_backend_of_another_device_is_refused() -> None:
    refused(r"backend 'triton' runs on cuda and cost is on cpu: move it, or leave backend out", backend="triton")


def test_a_backend_that_is_not_installed_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "is_installed", lambda package: False)
    with pytest.raises(
        MissingDependencyError, match=r"backend 'numba' is not installed. Run: pip install 'kivuko\[fast\]'"
    ):
        solve(COST, backend="numba")


@pytest.mark.parametrize("method", WAYS, ids=lambda one: "-".join(one.values()))
def test_a_mass_that_rounding_explains_is_accepted_and_made_exact(method: dict[str, str]) -> None:
    cost = torch.rand(2, 2, 2, generator=torch.Generator().manual_seed(0))
    plan = solve(cost, HALF * 1.003, HALF * 0.998, regularization=0.5, tolerance=1e-5, **method)
    assert plan.converged.all()
    torch.testing.assert_close(plan.coupling.sum(2), HALF, atol=2e-5, rtol=0)


@pytest.mark.parametrize("name", ["cost", "row_marginal", "col_marginal", "row_mask", "col_mask"])
@pytest.mark.parametrize("wrong", ["word", ["a", "b"], [[0.5, 0.5], [1.0]], {"a": 1.0}, [[None, 1.0]], object()])
def test_what_holds_no_numbers_is_refused_by_name(name: str, wrong: Any) -> None:
    given = {"cost": torch.rand(1, 2, 2), name: wrong}
    with pytest.raises(UsageError, match=f"{name} is a {type(wrong).__name__} that holds no array of") as caught:
        solve(**given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("method", WAYS, ids=lambda one: "-".join(one.values()))
@pytest.mark.parametrize("convert", [lambda values: values.numpy(), lambda values: values.tolist()])
def test_numpy_arrays_and_nested_lists_give_the_plan_of_the_tensor(
    method: dict[str, str], convert: Callable[[torch.Tensor], Any]
) -> None:
    draw = torch.Generator().manual_seed(5)
    pieces = {
        "cost": torch.rand(2, 3, 4, generator=draw, dtype=torch.float64),
        "row_marginal": torch.tensor([[0.2, 0.3, 0.5], [0.6, 0.4, 0.0]], dtype=torch.float64),
        "col_mask": torch.tensor([[True] * 4, [True, False, True, True]]),
    }
    expected = solve(**pieces, **method)
    plan = solve(**{name: convert(piece) for name, piece in pieces.items()}, **method)
    assert plan.coupling.dtype == torch.float64
    torch.testing.assert_close(plan.coupling, expected.coupling, atol=0, rtol=0)
    torch.testing.assert_close(plan.transport_cost, expected.transport_cost, atol=0, rtol=0)


FIELDS = ("coupling", "transport_cost", "value", "entropy", "marginal_error", "iterations", "converged")
SIZES = [(1 + i % 4, 5 - i % 5) for i in range(21)]


@pytest.fixture
def few_cells(monkeypatch):
    """A function that lets a part hold few cells."""
    return lambda: monkeypatch.setattr(sys.modules["kivuko.transport.solve"], "_CELLS", 40)


@pytest.mark.parametrize("way", WAYS, ids=lambda one: "-".join(one.values()))
def test_parts_give_what_the_whole_gives(few_cells, way) -> None:
    batch = ragged(SIZES, seed=1, padding=math.nan)
    col_mask = batch.col_mask.clone()
    col_mask[9] = False  # an empty problem in the middle
    masks = {"row_mask": batch.row_mask, "col_mask": col_mask, "allow_empty": True}
    whole = solve(batch.cost, **masks, **way)
    few_cells()
    parts = solve(batch.cost, **masks, **way)
    for field in FIELDS:
        torch.testing.assert_close(getattr(parts, field), getattr(whole, field), atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("way", WAYS, ids=lambda one: "-".join(one.values()))
def test_a_bad_cost_is_named_by_its_place_in_the_whole_batch(few_cells, way) -> None:
    few_cells()
    cost = torch.zeros(21, 3, 4)
    cost[17, 2, 1] = math.nan
    with pytest.raises(UsageError, match=r"of problem 17 is nan at row 2, column 1"):
        solve(cost, **way)


@pytest.mark.parametrize("way", [{"method": "sinkhorn_log"}, {"backend": "torch"}, {"method": "sinkhorn"}])
def test_a_cost_too_large_is_named_by_its_place_in_the_whole_batch(few_cells, way) -> None:
    few_cells()
    cost = torch.zeros(21, 3, 4)
    cost[18, 2, 1] = 1e9
    with pytest.raises(UsageError, match=r"too small for problem 18,"):
        solve(cost, **way)


@pytest.mark.parametrize("gradient", ["envelope", "implicit"])
def test_gradients_of_parts_are_those_of_the_whole(few_cells, gradient) -> None:
    batch = ragged(SIZES, seed=2, padding=math.nan)
    grads = []
    for prepare in (lambda: None, few_cells):
        prepare()
        cost = batch.cost.clone().requires_grad_()
        plan = solve(cost, **batch.masks(), gradient=gradient, backend="torch")
        (plan.transport_cost * torch.arange(21)).sum().backward()
        grads.append(cost.grad)
    torch.testing.assert_close(*grads, atol=1e-12, rtol=1e-10)


EVERY_METHOD = sorted(METHODS)
SHAPES = [(0, 3, 4), (2, 0, 4), (2, 3, 0), (2, 0, 0), (0, 0, 0)]


@pytest.mark.parametrize("method", EVERY_METHOD)
@pytest.mark.parametrize("marginal_penalty", [None, 1.0])
def test_empty_problems_are_zero_and_do_not_disturb_the_rest(method, marginal_penalty) -> None:
    if marginal_penalty and not METHODS[method].entropic:
        pytest.skip("marginals are relaxed by Sinkhorn methods only")
    batch = ragged([(3, 4)] * 4, seed=6, dtype=torch.float32, padding=float("nan"))
    row_mask, col_mask = batch.row_mask.clone(), batch.col_mask.clone()
    row_mask[0] = False
    col_mask[2] = False
    row_mask[3], col_mask[3] = False, False
    options = {"method": method, "marginal_penalty": marginal_penalty}
    plan = solve(batch.cost, row_mask=row_mask, col_mask=col_mask, allow_empty=True, **options)
    empty = torch.tensor([True, False, True, True])
    assert plan.converged[empty].all()
    assert (plan.coupling[empty] == 0).all()
    assert (plan.iterations[empty] == 0).all()
    for part in (plan.transport_cost, plan.value, plan.entropy, plan.marginal_error):
        assert (part[empty] == 0).all()
    alone = solve(batch.cost[1:2], **options)
    torch.testing.assert_close(plan.coupling[1:2], alone.coupling, atol=1e-6, rtol=0)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("method", EVERY_METHOD)
def test_shapes_without_cells_work(shape, method) -> None:
    plan = solve(torch.zeros(shape), method=method, allow_empty=True)
    assert plan.coupling.shape == shape
    for part in (plan.converged, plan.iterations, plan.transport_cost, plan.value, plan.entropy, plan.marginal_error):
        assert part.shape == shape[:1]
    assert plan.converged.all()
    assert (plan.value == 0).all()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("gradient", ["envelope", "implicit"])
def test_gradients_of_shapes_without_cells_are_empty(shape, gradient) -> None:
    cost = torch.zeros(shape, requires_grad=True)
    plan = solve(cost, gradient=gradient, allow_empty=True)
    (plan.value.sum() + plan.transport_cost.sum()).backward()
    assert cost.grad is not None
    assert cost.grad.shape == shape


@pytest.mark.parametrize("gradient", ["envelope", "implicit"])
def test_an_empty_problem_has_no_gradient_and_does_not_disturb_the_rest(gradient) -> None:
    batch = ragged([(3, 4)] * 2, seed=7)
    mask = torch.tensor([[True] * 3, [False] * 3])
    cost, alone = (part.clone().requires_grad_() for part in (batch.cost, batch.cost[:1]))
    solve(cost, row_mask=mask, gradient=gradient, allow_empty=True).value.sum().backward()
    solve(alone, gradient=gradient).value.sum().backward()
    assert (cost.grad[1] == 0).all()
    torch.testing.assert_close(cost.grad[:1], alone.grad)


def test_every_implementation_takes_empty_problems(sinkhorn) -> None:
    mask = torch.tensor([[False, False], [True, True]])
    plan = sinkhorn(torch.ones(2, 2, 3), row_mask=mask, allow_empty=True)
    assert plan.converged.all()
    torch.testing.assert_close(plan.coupling.sum((1, 2)), torch.tensor([0.0, 1.0]))


def test_given_marginals_are_dropped_where_the_other_side_is_empty(sinkhorn) -> None:
    nothing = torch.zeros(1, 2, dtype=torch.bool)
    plan = sinkhorn(torch.zeros(1, 2, 2), torch.tensor([[0.5, 0.5]]), col_mask=nothing, allow_empty=True)
    assert plan.converged.all()
    assert (plan.coupling == 0).all()
    assert plan.marginal_error.item() == 0


@pytest.mark.parametrize("method", EVERY_METHOD)
def test_an_empty_problem_is_refused_unless_allowed(method) -> None:
    mask = torch.tensor([[True, True], [False, False]])
    with pytest.raises(UsageError, match=r"row_mask of problem 1 leaves no row .*\[2, 2, 3\].*allow_empty=True"):
        solve(torch.zeros(2, 2, 3), row_mask=mask, method=method)


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")

# Solving a tiny batch first pays for what is loaded and compiled once.
MEASURE = r"""
import json, re, sys, torch
from pathlib import Path
from kivuko.transport.solve import METHODS, solve

def peak():  # of this process: what getrusage tells, a process inherits from the one that started it
    return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])

torch.set_num_threads(1)
torch.manual_seed(0)
options = json.loads(sys.argv[1])
solve(torch.rand(4, 64, 64), **options)
cost = torch.rand(2048, 64, 64)
before = peak()
solve(cost, **options)
print((peak() - before) / cost.nbytes)
"""


@pytest.mark.parametrize(
    "options",
    [{"backend": "numba"}, {"backend": "torch"}, {"method": "sinkhorn_log"}],
    ids=lambda o: "-".join(o.values()),
)
def test_solving_takes_less_than_four_times_the_memory_of_the_costs(options) -> None:
    if options.get("backend") == "numba":
        pytest.importorskip("numba", reason="numba is not installed: pip install 'kivuko[fast]'")
    ran = subprocess.run(
        [sys.executable, "-c", MEASURE, json.dumps(options)],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert float(ran.stdout) < 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": ["sinkhorn"]}, r"method \['sinkhorn'\] is unknown: choose from"),
        ({"backend": None}, "backend None is unknown"),
        ({"regularization": None}, "regularization=None: choose a number above 0"),
        ({"regularization": "0.1"}, "regularization='0.1': choose a number"),
        ({"regularization": torch.tensor([0.1, 0.2])}, "choose a number above 0"),
        ({"tolerance": None}, "tolerance=None"),
        ({"max_iterations": None}, "max_iterations=None: choose a whole number"),
        ({"max_iterations": 2.5}, "max_iterations=2.5: choose a whole number"),
        ({"marginal_penalty": "much"}, "marginal_penalty is 'much'"),
    ],
)
def test_options_of_a_wrong_type_are_one_line(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        solve(torch.ones(1, 2, 2), **options)  # type: ignore[arg-type]
    assert solve(torch.ones(1, 2, 2), regularization=np.float32(0.1), max_iterations=np.int64(9)).converged.all()


def test_a_plan_shows_its_size_and_costs() -> None:
    plan = solve([[[0.0, 1.0, 1.0], [1.0, 0.0, 1.0]]] * 2, regularization=0.1)
    assert repr(plan).startswith("Plan(2 of 2 x 3, transport cost ")
    assert repr(plan).endswith(", 2 converged)")
    assert repr(solve(torch.zeros(0, 2, 3))) == "Plan(0 of 2 x 3, 0 converged)"
