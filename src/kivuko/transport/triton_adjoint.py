"""The linear systems of entropic transport on the GPU: conjugate gradients on a plan that stays in registers.

Tested through Triton's interpreter, and on a GPU where there is one (so far an NVIDIA H200).
"""
# ruff: noqa: N803  (Triton's habit: what is fixed at compile time is in capitals)
# Triton ships no types, and is not installed everywhere this is checked:
# mypy: disable-error-code="import-untyped,import-not-found,no-untyped-def,untyped-decorator"

from __future__ import annotations

import contextlib

import torch
import triton
import triton.language as tl

from kivuko.transport.settings import Settings

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
    """Solve the linearised optimality conditions, transposed, for each problem; in one kernel.

    The system is that of :func:`kivuko.transport.gradient.adjoint`. One side is eliminated; the rest, symmetric and
    positive semidefinite, is solved by conjugate gradients preconditioned with its diagonal, problem by problem, in
    float64 whatever the type of the plan. They stop when the residual is 1e-13 of the first one, or after 50
    iterations and ten more for each row or column of the shorter side.

    Where both marginals must hold and (x + t, y - t) solves the system for every t, the one of least norm is returned.

    Accuracy, measured in float64 against the dense solution at regularizations down to 1/200 of the spread of the cost:
    the gradient along the cost is off by less than 1e-14, x and y by 1e-9 of their largest entry. Where a plan all but
    falls apart into pieces, x and y are determined only up to a constant per piece, here as in theory; such constants
    hardly touch the gradient along the cost.

    Args:
        coupling: [batch, n, m], float32 or float64, of a size that :func:`fits` in float64.
        weighted: [batch, n, m], the coupling times the gradient with respect to it.

    Returns:
        x [batch, n] and y [batch, m], in the type of the coupling; 0 where there is no mass.
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
    """Return whether a problem of [batch, n, m], computed in ``dtype``, fits into one program's registers."""
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
