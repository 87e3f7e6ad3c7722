"""The one entry point: check a batch of problems and pass it to a solver by name."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from types import MappingProxyType
from typing import NamedTuple

import numpy.typing as npt
import torch

from kivuko.errors import UsageError
from kivuko.transport.gradient import envelope, implicit
from kivuko.transport.marginals import full_precision
from kivuko.transport.problem import (
    Figures,
    Plan,
    Problem,
    Settings,
    Solution,
    as_tensor,
    describe,
    figures_of,
    pose,
    refuse_costs,
    settings,
    zero_solution,
)
from kivuko.transport.reference import exact, greedy, log_sinkhorn, proximal
from kivuko.transport.sinkhorn import BACKENDS, Backend, Solver, scaling_sinkhorn, sinkhorn_backend

# Cells solved together. Below it, parts would cost more in calls than they spare in memory: a GPU's cost a millisecond.
_CELLS, _CELLS_OF_A_GPU = 1 << 17, 1 << 24
# Parts of a very large batch: solvers need up to some ten times the cost of the part that they work on.
_PARTS = 8
_SOLVED = ("coupling", "marginal_error", "iterations", "converged", "row_potential", "col_potential")


def solve_in_chunks(problem: Problem, settings: Settings, solver: Solver, regularization: float | None) -> Solution:
    """Check a posed problem's costs and solve it, in parts if it is large."""
    whole = zero_solution(problem)
    cost = problem.cost.new_zeros(len(problem.cost))
    figures = Figures(cost, cost.clone(), cost.clone())
    for part in _parts(problem):
        own = Problem(problem.cost[part], problem.row_marginal[part], problem.col_marginal[part]).cleaned()
        refuse_costs(own, own.largest_cost(), regularization, first=part.start)
        solution = solver(own, settings)
        for name in _SOLVED:
            getattr(whole, name)[part] = getattr(solution, name)
        own_figures = solution.figures or figures_of(own, solution.coupling)
        for field in fields(Figures):
            getattr(figures, field.name)[part] = getattr(own_figures, field.name)
    return replace(whole, figures=figures)


def _parts(problem: Problem) -> Iterator[slice]:
    batch, cells = len(problem.cost), max(1, problem.cost[:1].numel())
    together = _CELLS if problem.cost.device.type == "cpu" else _CELLS_OF_A_GPU
    size = max(together // cells, -(-batch // _PARTS), 1)
    for first in range(0, batch, size):
        yield slice(first, min(batch, first + size))


class Method(NamedTuple):
    """A solver and its abilities."""

    solver: Solver
    entropic: bool  # it minimizes the regularized problem, and can relax marginals
    regularized: bool = True  # it uses the regularization


Numbers = torch.Tensor | npt.ArrayLike

# A method is a file that holds a Solver, and its line here.
METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "sinkhorn": Method(scaling_sinkhorn, entropic=True),
        "sinkhorn_log": Method(log_sinkhorn, entropic=True),
        "proximal": Method(proximal, entropic=False),
        "exact": Method(exact, entropic=False, regularized=False),
        "greedy": Method(greedy, entropic=False, regularized=False),
    }
)
GRADIENTS = ("none", "envelope", "implicit")


def solve(
    cost: Numbers,
    row_marginal: Numbers | None = None,
    col_marginal: Numbers | None = None,
    *,
    row_mask: Numbers | None = None,
    col_mask: Numbers | None = None,
    regularization: float = 0.05,
    marginal_penalty: float | tuple[float | None, float | None] | None = None,
    method: str = "sinkhorn",
    backend: str = "auto",
    gradient: str = "none",
    tolerance: float = 1e-4,
    max_iterations: int = 1000,
    allow_empty: bool = False,
) -> Plan:
    """Solve a batch of optimal-transport problems, each by itself.

    For each problem, the minimum over plans P with the given marginals a and b of ``<P, cost> + regularization *
    KL(P | a b')`` (Cuturi 2013); with ``marginal_penalty`` the marginals need not hold, and their KL divergence from
    those given is added at that weight (Chizat et al. 2018). The methods:

    - ``sinkhorn``: the fast path for that problem. ``sinkhorn_log``: the plain log-domain iteration, its reference.
    - ``proximal``: IPOT (Xie et al. 2020): the unregularized optimum by entropic proximal steps; sharp plans.
      ``regularization`` is the weight of the first proximal step.
    - ``exact``: the unregularized optimum by POT's network simplex on the CPU, a problem at a time.
    - ``greedy``: no transport: the cheapest pair of unmatched positions first, one to one (DR.DECR's alignment).

    Tensors, NumPy arrays and nested lists may be mixed; what is no tensor is copied to the device of ``cost``.

    Args:
        cost: [batch, n, m], finite wherever row and column hold mass; anything elsewhere, NaN included.
            float64 (NumPy's default, and that of lists) is computed in float64, every other type in float32.
        row_marginal: [batch, n], not negative, 0 where masked. Must sum to 1 to within 0.005 (room for
            half-precision input) and is scaled to sum to 1. Zeros are allowed. None: uniform over the mask.
        col_marginal: [batch, m], likewise.
        row_mask: bool [batch, n], True where a row takes part. None: all do.
        col_mask: bool [batch, m], likewise.
        regularization: weight of the entropy term, > 0, in the unit of the cost (not relative to its size).
        marginal_penalty: weight of the KL penalties, > 0, in the unit of the cost; a pair sets (rows, columns) apart.
            None, also within the pair: the marginal must hold. Sinkhorn methods only.
        method: one of ``METHODS``.
        backend: what ``sinkhorn`` runs on: "numba" (CPU), "torch" (any), "triton" (CUDA), or "auto": numba on a
            CPU and Triton on CUDA where they are installed, else torch. The other methods have one backend.
        gradient: "none": no field carries a gradient. "envelope": ``transport_cost`` and ``value`` do, along the
            cost, with the plan held fixed (OPTICAL's; exact for ``value``). "implicit": so do ``coupling`` and
            ``entropy``, through the plan, along the cost and the given marginals (Sinkhorn methods only).
        tolerance: > 0; a problem has converged when its ``marginal_error`` is at most this. In float32,
            1e-6 is about the least that can be reached.
        max_iterations: >= 1; a problem that has not converged by then says ``converged=False``.
        allow_empty: what to do with a problem that has no unmasked row or no unmasked column. False: raise. True:
            its plan is zero and counts as converged.

    Returns:
        A :class:`Plan` of torch tensors on the device of ``cost``, whatever type was given; ``.numpy()`` turns each
        into a NumPy array.

    Raises:
        UsageError: an argument has the wrong shape, type, device or range; a cost is not finite where there
            is mass to be moved; a marginal is negative, does not sum to 1, or puts mass on a masked position; a
            problem is empty; the regularization is too small next to the cost for the precision at hand, or costs of
            method ``exact`` differ too much in size for it; the method cannot do what an option requests.
        MissingDependencyError: the method or backend needs a package that is not installed.

    >>> plan = solve([[[0.0, 1.0], [1.0, 0.0]]], regularization=0.05)
    >>> plan.coupling.round(decimals=3).tolist(), plan.converged.tolist()
    ([[[0.5, 0.0], [0.0, 0.5]]], [True])
    >>> import numpy as np
    >>> plan = solve(np.array([[[0.2, 0.7], [0.4, 0.3]]]), np.array([[0.25, 0.75]]), method="sinkhorn_log")
    >>> plan.coupling.sum(dim=2).numpy().round(2).tolist(), plan.coupling.dtype
    ([[0.25, 0.75]], torch.float64)
    """
    device = getattr(cost, "device", torch.device("cpu"))
    device = device if isinstance(device, torch.device) else torch.device("cpu")
    given = (row_marginal, col_marginal, row_mask, col_mask)
    names = ("row_marginal", "col_marginal", "row_mask", "col_mask")
    cost = as_tensor("cost", cost, device)
    row_marginal, col_marginal, row_mask, col_mask = (
        None if values is None else as_tensor(name, values, device) for name, values in zip(names, given, strict=True)
    )
    chosen = _method(method, backend, gradient, marginal_penalty)
    options = settings(
        regularization=regularization,
        marginal_penalty=marginal_penalty,
        tolerance=tolerance,
        max_iterations=max_iterations,
    )
    with torch.no_grad(), full_precision(device):
        problem = pose(cost, row_marginal, col_marginal, row_mask=row_mask, col_mask=col_mask, allow_empty=allow_empty)
        backend_ = sinkhorn_backend(backend, cost.device) if method == "sinkhorn" else Backend(chosen.solver)
        compared = regularization if chosen.regularized else None
        if backend_.surveys:
            solution = backend_.solver(problem, options)
            refuse_costs(problem, solution.largest_cost, compared)
        else:
            solution = solve_in_chunks(problem, options, backend_.solver, compared)
        if gradient == "none":
            return describe(problem, options, solution, regularized=chosen.entropic)
    with full_precision(cost.device):
        if gradient == "envelope":
            return envelope(problem, cost, options, solution, chosen.entropic)
        return implicit(problem, cost, (row_marginal, col_marginal), options, solution, on_triton=backend == "triton")


def _method(method: str, backend: str, gradient: str, marginal_penalty: object) -> Method:
    for name, value, known in (
        ("method", method, METHODS), ("backend", backend, ("auto", *BACKENDS)), ("gradient", gradient, GRADIENTS),
    ):  # fmt: skip
        if not isinstance(value, str) or value not in known:
            raise UsageError(f"{name} {value!r} is unknown: choose from {', '.join(sorted(known))}")
    chosen = METHODS[method]
    if not chosen.entropic and marginal_penalty is not None:
        raise UsageError(f"marginal_penalty is given, but method {method!r} keeps the marginals: use method='sinkhorn'")
    if not chosen.entropic and gradient == "implicit":
        raise UsageError(
            f"gradient 'implicit' is given, but a plan of method {method!r} does not change smoothly with the cost: "
            "use 'envelope', or method='sinkhorn'"
        )
    if method != "sinkhorn" and backend != "auto":
        raise UsageError(f"backend {backend!r} is given, but method {method!r} has no choice of backend: leave it out")
    return chosen
