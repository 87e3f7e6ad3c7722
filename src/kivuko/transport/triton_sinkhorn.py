"""Entropic transport on the GPU: a whole batch in one Triton kernel.

Tested through Triton's interpreter, and on a GPU where there is one (so far an NVIDIA H200).
"""
# ruff: noqa: N803, N806  (Triton's habit: what is fixed at compile time is in capitals)
# Triton ships no types, and is not installed everywhere this is checked:
# mypy: disable-error-code="import-untyped,import-not-found,no-untyped-def,untyped-decorator"

from __future__ import annotations

import math
from dataclasses import replace

import torch
import triton
import triton.language as tl

from kivuko.transport.problem import Problem
from kivuko.transport.scaling_sinkhorn import scaling_sinkhorn
from kivuko.transport.settings import Settings
from kivuko.transport.solution import Solution, within, zero_solution
from kivuko.transport.triton_adjoint import conjugate_gradients, device_of, fits, in_quads, inverse, tile

# Where the way down of the regularization starts, as a fraction of the spread of the cost.
_START = tl.constexpr(0.25)
# Newton steps: iterations of conjugate gradients at most, the residual they are left with, the largest change of a
# potential in units of the regularization (first, and ever), and how far it is cut when a step did harm.
_MOST_GRADIENTS = tl.constexpr(32)
_SHORTFALL = tl.constexpr(0.3)
_FIRST_TRUST, _MOST_TRUST = tl.constexpr(2.0), tl.constexpr(8.0)
_CUT = tl.constexpr(0.5)
_LOG2_E = tl.constexpr(1 / math.log(2))


def triton_sinkhorn(problem: Problem, settings: Settings) -> Solution:
    """Solve each problem by Sinkhorn iterations, and by Newton steps once it is near.

    One program of the kernel takes one problem and keeps it in registers from the cost to the coupling, in the type
    of the cost; each stops by itself. A round is two Sinkhorn iterations, the first in the log domain (as
    :func:`kivuko.transport.log_sinkhorn.log_sinkhorn`), the second on the plan, then a look at the marginal error.

    - Where both marginals must hold, regularization starts near a quarter of the spread of the cost and is halved
      round by round down to the value asked for (as in ``scaling_sinkhorn``).
    - There, each further round begins with a Newton step on the dual (Brauer et al. 2017, for relaxed marginals too),
      solved roughly by conjugate gradients within a trust region (Steihaug 1983). They cost what Sinkhorn iterations
      cost and are counted as such, but need only about the square root of their number where those are slow. A
      step that made the error larger is followed by a smaller one: the rounds' Sinkhorn iterations go on regardless.

    Problems that, with each side rounded up to a power of two, have more than 32,768 cells (128 x 256; in float64
    16,384) are solved by :func:`kivuko.transport.scaling_sinkhorn.scaling_sinkhorn` instead.
    """
    if not fits(problem.cost, problem.cost.dtype):
        return scaling_sinkhorn(problem, settings)
    solution = zero_solution(problem)
    if problem.cost.numel() == 0:
        return solution
    batch, n, m = problem.cost.shape
    rows, cols, warps = tile(problem.cost, problem.cost.dtype)
    cost = in_quads(problem.cost)
    coupling = torch.empty_like(cost)
    with device_of(cost):
        _sinkhorn_kernel[(batch,)](
            cost, problem.row_marginal.contiguous(), problem.col_marginal.contiguous(), coupling,
            solution.marginal_error, solution.iterations, n, m, -(m // -4), settings.regularization,
            settings.regularization / settings.row_penalty, settings.regularization / settings.col_penalty,
            settings.tolerance, settings.max_iterations, BALANCED=settings.balanced, ROWS=rows, COLS=cols,
            num_warps=warps, enable_fp_fusion=True,
        )  # fmt: skip
    return replace(
        solution, coupling=coupling[:, :, :m].contiguous(), converged=within(solution.marginal_error, settings)
    )


@triton.jit
def _fit(log_plan, potential, log_mass, pull, AXIS: tl.constexpr):
    """Half an iteration in the log domain: fit the sums over AXIS. Logarithms are to base 2."""
    peak = tl.max(log_plan, axis=AXIS)
    peak = tl.where(peak > float("-inf"), peak, 0.0)
    sums = tl.sum(tl.exp2(log_plan - tl.expand_dims(peak, AXIS)), axis=AXIS)  # at least 1, or 0 where there is no mass
    gap = log_mass - tl.log2(tl.where(sums > 0.0, sums, 1.0)) - peak
    step = tl.where(sums > 0.0, (gap - pull * potential) / (1.0 + pull), 0.0)
    return log_plan + tl.expand_dims(step, AXIS), potential + step


@triton.jit
def _rescale(plan, potential, log_mass, pull, TINY: tl.constexpr, AXIS: tl.constexpr):
    """Half an iteration on the plan itself: return it, the potential, and the step taken, 0 where sums underflow."""
    sums = tl.sum(plan, axis=AXIS)
    seen = sums > TINY
    gap = log_mass - tl.log2(tl.where(seen, sums, 1.0))
    step = tl.where(seen, (gap - pull * potential) / (1.0 + pull), 0.0)
    step = tl.minimum(tl.maximum(step, -30.0), 30.0)
    return plan * tl.expand_dims(tl.exp2(step), AXIS), potential + step, step


@triton.jit
def _target(mass, potential, pull):
    """The marginal that belongs to a potential: the given one where ``pull`` is 0."""
    return mass * tl.exp2(tl.minimum(tl.maximum(-pull * potential, -115.0), 115.0))


@triton.jit
def _newton(
    plan, row_target, col_target, row_pull, col_pull, error, trust, limit, BALANCED: tl.constexpr, TINY: tl.constexpr
):
    """Return the steps of the row and column potentials, and the iterations they took."""
    rows, cols = tl.sum(plan, axis=1), tl.sum(plan, axis=0)
    row_weight = rows + row_pull * row_target
    per_row, per_col = inverse(row_weight, TINY), inverse(cols + col_pull * col_target, TINY)
    missing = col_target - cols
    right = row_target - rows - tl.sum(plan * tl.expand_dims(missing * per_col, 0), axis=1)
    if BALANCED:  # the null direction, (t, -t), must not be in the right side, not even by rounding
        right -= row_weight * (tl.sum(right) / tl.sum(row_weight))
    shortfall = tl.minimum(error, _SHORTFALL)
    x, taken = conjugate_gradients(plan, row_weight, per_row, per_col, right, shortfall, 0.5 * trust, limit)
    y = (missing - tl.sum(plan * tl.expand_dims(x, 1), axis=0)) * per_col
    largest = tl.maximum(tl.max(tl.abs(x)), tl.max(tl.abs(y)))
    share = tl.minimum(trust / tl.maximum(largest, TINY), 1.0) * _LOG2_E
    return x * share, y * share, taken


@triton.jit
def _start(cost, a, b, log_a, log_b, regularization, max_iterations, BALANCED: tl.constexpr):
    """Return the first log plan, -inf where there is no mass, and how often its regularization is to be halved."""
    live = tl.expand_dims(a > 0.0, 1) & tl.expand_dims(b > 0.0, 0)
    halvings = tl.full([], 0, tl.int32)
    if BALANCED:  # where marginals give way, how far depends on the regularization
        spread = tl.max(tl.where(live, cost, float("-inf"))) - tl.min(tl.where(live, cost, float("inf")))
        fraction = tl.maximum(_START * spread / regularization, 1.0)
        halvings = tl.minimum(tl.ceil(tl.log2(fraction)), 60.0).to(tl.int32)
        halvings = tl.minimum(halvings, max_iterations // 4)  # two iterations each, half of them at most
    first = regularization * tl.exp2(halvings.to(cost.dtype))
    log_plan = cost * (-_LOG2_E / first) + tl.expand_dims(log_a, 1) + tl.expand_dims(log_b, 0)
    return tl.where(live, log_plan, float("-inf")), halvings


# One kernel for all sizes that share a tile: it is as fast, and training does not stop to compile others.
@triton.jit(do_not_specialize=["n", "m", "quads", "max_iterations"])
def _sinkhorn_kernel(
    cost_ptr, row_ptr, col_ptr, plan_ptr, error_ptr, spent_ptr, n, m, quads, regularization: tl.float64,
    row_pull: tl.float64, col_pull: tl.float64, tolerance: tl.float64, max_iterations,
    BALANCED: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    dtype = cost_ptr.dtype.element_ty
    TINY: tl.constexpr = 1e-30
    regularization, tolerance = tl.full([], regularization, dtype), tl.full([], tolerance, dtype)
    row_pull, col_pull = tl.full([], row_pull, dtype), tl.full([], col_pull, dtype)
    problem = tl.program_id(0).to(tl.int64)
    i, j = tl.arange(0, ROWS), tl.arange(0, COLS)
    cell = (problem * n + tl.expand_dims(i, 1)) * (quads * 4) + tl.expand_dims(j, 0)
    inside = tl.expand_dims(i < n, 1) & tl.expand_dims(j < quads * 4, 0)
    a = tl.load(row_ptr + problem * n + i, mask=i < n, other=0.0)
    b = tl.load(col_ptr + problem * m + j, mask=j < m, other=0.0)
    log_a, log_b = tl.log2(tl.where(a > 0.0, a, 1.0)), tl.log2(tl.where(b > 0.0, b, 1.0))
    cost = tl.load(cost_ptr + cell, mask=inside, other=0.0)
    log_plan, halvings = _start(cost, a, b, log_a, log_b, regularization, max_iterations, BALANCED)
    plan = tl.zeros([ROWS, COLS], dtype)
    f, g = a * 0.0, b * 0.0
    error, before = tl.full([], 0.0, dtype), tl.full([], float("inf"), dtype)
    trust, most_trust = tl.full([], _FIRST_TRUST, dtype), tl.full([], _MOST_TRUST, dtype)
    spent = tl.full([], 0, tl.int32)
    near = spent > 0  # whether the plan is that of a round at the final regularization
    going = tl.sum(a) > 0.0
    while going:
        if near:
            limit = tl.minimum(max_iterations - spent - 1, _MOST_GRADIENTS)
            row_target, col_target = _target(a, f, row_pull), _target(b, g, col_pull)
            x, y, taken = _newton(
                plan, row_target, col_target, row_pull, col_pull, error, trust, limit, BALANCED, TINY
            )  # fmt: skip
            log_plan += tl.expand_dims(x, 1) + tl.expand_dims(y, 0)
            f += x
            g += y
            spent += taken
        log_plan, f = _fit(log_plan, f, log_a, row_pull, 1)
        log_plan, g = _fit(log_plan, g, log_b, col_pull, 0)
        spent += 1
        plan = tl.exp2(log_plan)
        if spent < max_iterations:
            plan, f, row_step = _rescale(plan, f, log_a, row_pull, TINY, 1)
            plan, g, col_step = _rescale(plan, g, log_b, col_pull, TINY, 0)
            log_plan += tl.expand_dims(row_step, 1) + tl.expand_dims(col_step, 0)
            spent += 1

        row_error = tl.sum(tl.abs(tl.sum(plan, axis=1) - _target(a, f, row_pull)))
        col_error = tl.sum(tl.abs(tl.sum(plan, axis=0) - _target(b, g, col_pull)))
        error = tl.maximum(row_error, col_error)
        # A step that did harm lowers the ceiling as well, so that no cycle of good and bad steps can last.
        harm = near & (error > before)
        most_trust = tl.where(harm, tl.maximum(0.85 * most_trust, 1.0), most_trust)
        trust = tl.where(harm, _CUT * trust, tl.where(near, tl.minimum(2.0 * trust, most_trust), trust))
        near = halvings == 0
        before = tl.where(near, error, before)
        going = (spent < max_iterations) & ((error > tolerance) | (halvings > 0))
        if halvings > 0:
            # Half the regularization, the same potentials in the unit of the cost: the log of the plan relative to
            # the product of the marginals doubles.
            log_plan = 2.0 * log_plan - tl.expand_dims(log_a, 1) - tl.expand_dims(log_b, 0)
            f, g = 2.0 * f, 2.0 * g
            halvings -= 1
    tl.store(plan_ptr + cell, plan, mask=inside)
    tl.store(error_ptr + problem, error)
    tl.store(spent_ptr + problem, spent.to(tl.int64))
