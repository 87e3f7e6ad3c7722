"""Entropic transport on the GPU: a whole batch in one Triton kernel.

Tested through Triton's interpreter, and on a GPU where there is one (so far an NVIDIA H200).
"""

import contextlib
import math
from dataclasses import replace

import torch
import triton
import triton.language as tl

from kivuko.transport.problem import Problem, Settings, Solution, within, zero_solution
from kivuko.transport.sinkhorn import scaling_sinkhorn

# ruff: noqa: N803, N806  (Triton's habit: what is fixed at compile time is in capitals)
# Triton ships no types, and is not installed everywhere this is checked:
# mypy: disable-error-code="import-untyped,import-not-found,no-untyped-def,untyped-decorator"


# Problems of more 32-bit words than this do not fit into one program's registers: 128 x 256 cells in float32, 128 x 128
# in float64.
MOST_WORDS = 32_768
# Words of the tile that one warp of 32 threads holds.
_WORDS_PER_WARP = 1024
# Residual at which the adjoint's conjugate gradients stop, as a share of the first one.
_RESIDUAL = 1e-13


def triton_adjoint(
    coupling: torch.Tensor, weighted: torch.Tensor, settings: Settings
) -> tuple[torch.Tensor, torch.Tensor]:
    """Solve the system of :func:`kivuko.transport.gradient.adjoint` in one kernel, in float64.

    One side is eliminated; the rest is solved by preconditioned conjugate gradients, to a residual of 1e-13 of the
    first one or 50 iterations and ten more per row or column of the shorter side. Against the dense solution, the
    gradient along the cost is off by less than 1e-14.
    """
    batch, n, m = coupling.shape
    x, y = coupling.new_zeros(batch, n), coupling.new_zeros(batch, m)
    if coupling.numel() == 0:
        return x, y
    rows, cols, warps = tile(coupling, torch.float64)
    with device_of(coupling):
        _adjoint_kernel[(batch,)](
            in_quads(coupling), in_quads(weighted), x, y, n, m, -(m // -4), 1 / settings.row_share,
            1 / settings.col_share, _RESIDUAL, 10 * min(n, m) + 50, BALANCED=settings.balanced, ROWS=rows, COLS=cols,
            num_warps=warps, enable_fp_fusion=True,
        )  # fmt: skip
    return x, y


def fits(cells: torch.Tensor, dtype: torch.dtype) -> bool:
    """Return True if a problem of [batch, n, m], computed in ``dtype``, fits into one program's registers."""
    rows, cols, _ = tile(cells, dtype)
    return rows * cols * _words(dtype) <= MOST_WORDS


def tile(cells: torch.Tensor, dtype: torch.dtype) -> tuple[int, int, int]:
    """Return the powers of two that cover n and m of [batch, n, m], and the number of warps for such a tile."""
    rows, cols = (triton.next_power_of_2(size) for size in cells.shape[1:])
    return rows, cols, min(16, max(1, rows * cols * _words(dtype) // _WORDS_PER_WARP))


def _words(dtype: torch.dtype) -> int:
    return dtype.itemsize // 4


def in_quads(cells: torch.Tensor) -> torch.Tensor:
    """Return [batch, n, m] with zero columns added up to a multiple of four, contiguous.

    Rows then start at multiples of 16 bytes, and the compiler gives each thread four columns of a row: with one, as it
    must elsewhere, a thread takes part in so many rows that what is kept for each of them overflows its registers.
    """
    return torch.nn.functional.pad(cells, (0, -cells.shape[2] % 4)).contiguous()


def device_of(tensor: torch.Tensor) -> contextlib.AbstractContextManager[object]:
    """Return a context in which kernels are launched on the tensor's device."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else contextlib.nullcontext()


@triton.jit
def inverse(x, TINY: tl.constexpr):
    """1 / x, and 0 where there is no mass to speak of."""
    return tl.where(x > TINY, 1.0 / tl.where(x > TINY, x, 1.0), 0.0)


@triton.jit
def conjugate_gradients(plan, row_weight, per_row, per_col, right, shortfall, radius, limit):
    """Solve ``(diag(row_weight) - plan diag(per_col) plan') x = right``; return x and the iterations taken.

    Stops when the residual, in the norm of the preconditioner ``per_row``, is at most ``shortfall`` of the first one,
    when x is longer than ``radius`` in the norm of ``row_weight`` (Steihaug 1983; its length follows from the
    recurrences of Conn, Gould & Toint 2000, sec. 7.5.1), or after ``limit`` iterations.
    """
    residual = right
    direction = residual * per_row
    x = direction * 0.0
    size = tl.sum(residual * direction)  # squared residual
    enough = shortfall * shortfall * size
    length = size * 0.0  # squared length of x, its product with the direction, and squared length of the direction
    along = size * 0.0
    span = size
    taken = tl.full([], 0, tl.int32)
    going = (size > 0.0) & (limit > 0)
    while going:
        across = tl.sum(plan * tl.expand_dims(direction, 1), axis=0) * per_col
        image = row_weight * direction - tl.sum(plan * tl.expand_dims(across, 0), axis=1)
        curvature = tl.sum(direction * image)
        sound = curvature > 0.0  # rounding can make it fail on the null direction
        step = tl.where(sound, size / tl.where(sound, curvature, 1.0), 0.0)
        x += step * direction
        residual -= step * image
        length += 2.0 * step * along + step * step * span
        scaled = residual * per_row
        before = size
        size = tl.sum(residual * scaled)
        turn = size / before
        direction = scaled + turn * direction
        along = turn * (along + step * span)
        span = size + turn * turn * span
        taken += 1
        going = sound & (size > enough) & (length < radius * radius) & (taken < limit)
    return x, taken


@triton.jit(do_not_specialize=["n", "m", "quads", "limit"])
def _adjoint_kernel(
    plan_ptr, weighted_ptr, x_ptr, y_ptr, n, m, quads, row_stiffness: tl.float64, col_stiffness: tl.float64,
    shortfall: tl.float64, limit, BALANCED: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    problem = tl.program_id(0).to(tl.int64)
    i, j = tl.arange(0, ROWS), tl.arange(0, COLS)
    cell = (problem * n + tl.expand_dims(i, 1)) * (quads * 4) + tl.expand_dims(j, 0)
    inside = tl.expand_dims(i < n, 1) & tl.expand_dims(j < quads * 4, 0)
    weighted = tl.load(weighted_ptr + cell, mask=inside, other=0.0).to(tl.float64)
    right_x, right_y = tl.sum(weighted, axis=1), tl.sum(weighted, axis=0)
    plan = tl.load(plan_ptr + cell, mask=inside, other=0.0).to(tl.float64)
    rows = tl.sum(plan, axis=1) * tl.full([], row_stiffness, tl.float64)
    per_row = inverse(rows, 1e-300)
    per_col = inverse(tl.sum(plan, axis=0) * tl.full([], col_stiffness, tl.float64), 1e-300)

    right = right_x - tl.sum(plan * tl.expand_dims(per_col * right_y, 0), axis=1)
    if BALANCED:  # the right side is free of the null direction but for rounding
        right -= rows * (tl.sum(right) / tl.maximum(tl.sum(rows), 1e-300))
    far = tl.full([], float("inf"), tl.float64)
    x, _ = conjugate_gradients(plan, rows, per_row, per_col, right, tl.full([], shortfall, tl.float64), far, limit)
    y = per_col * (right_y - tl.sum(plan * tl.expand_dims(x, 1), axis=0))
    if BALANCED:
        row_count = tl.sum(tl.where(per_row > 0.0, 1.0, 0.0))
        col_count = tl.sum(tl.where(per_col > 0.0, 1.0, 0.0))
        shift = (tl.sum(y) - tl.sum(x)) / tl.maximum(row_count + col_count, 1.0)
        x += shift
        y -= shift
    x = tl.where(per_row > 0.0, x, 0.0)
    y = tl.where(per_col > 0.0, y, 0.0)
    tl.store(x_ptr + problem * n + i, x.to(x_ptr.dtype.element_ty), mask=i < n)
    tl.store(y_ptr + problem * m + j, y.to(y_ptr.dtype.element_ty), mask=j < m)


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
    """Solve each problem by Sinkhorn iterations, and by Newton steps once it is near, in registers.

    A round is two Sinkhorn iterations and a look at the marginal error. Regularization is halved round by round;
    further rounds begin with a Newton step on the dual (Brauer et al. 2017), solved by conjugate gradients within a
    trust region (Steihaug 1983) and counted as iterations. Too large problems go to ``scaling_sinkhorn``.
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
