"""Newton's method on the row potentials, for the problems on which fitting marginals in turn would take thousands."""

# Numba compiles these functions; type checkers see neither its decorators' types nor its intrinsics.
# mypy: ignore-errors

from __future__ import annotations

import numpy as np
from numba import njit

from kivuko.transport.numba_math import exponential
from kivuko.transport.numba_options import OPTIONS


@njit(**OPTIONS)
def newton_pays_after(n, m):
    """Return the number of iterations that cost about as much as three Newton steps.

    A step takes n n m / 2 multiplications for the matrix and n n n / 6 to factor it, an iteration 2 n m.
    """
    return int(20 + 3 * (n / 2 + n * n / (6 * m)))


@njit(**OPTIONS)
def newton_step(n, m, tile, rows, cols, system, right):
    """Move the row scalings by one damped Newton step of the dual, given columns that fit their marginal.

    With the column potentials eliminated, the dual is concave in the row potentials; its gradient is what the rows
    lack, its negative Hessian diag(r) - P diag(1 / c) P', a graph's Laplacian (Brauer et al. 2017, sec. 3). Off the
    diagonal all terms have one sign, and the diagonal is minus their sum: nothing cancels, however sharp the plan.
    Where a plan is so sharp that it falls into parts, the parts' potentials are all but free to move against one
    another. What is added to the diagonal, the sums' own rounding, makes such a move long where mass is missing, and
    none where only the last digits differ, so that it cannot drown the moves that count.

    The step is shortened to log(1 + d) / d of itself, with d its range: the dual then cannot decrease (the bound of
    Bach 2010 for functions whose third derivative the second bounds, of which log-sum-exp is one).

    Args:
        tile: [>= n, width], the absorbed kernel; overwritten with P / sqrt(c).
        system: float64 [>= n, >= n], overwritten. right: float64 [>= n], overwritten.

    The tile must be computed anew afterwards. A step that is no number is not taken.
    """
    kind = tile.dtype.type
    cols.sums[:m] = np.sqrt(cols.scaling[:m] / cols.sums[:m])  # P_ij / sqrt(c_j) = u_i K_ij sqrt(v_j / sums_j)
    cols.sums[m:] = kind(0)
    for i in range(n):
        line, own = tile[i], rows.scaling[i]
        for j in range(tile.shape[1]):
            line[j] *= own * cols.sums[j]
    noise = 8.0 * np.finfo(tile.dtype).eps
    for i in range(n):
        system[i, i] = noise * max(rows.scaling[i] * rows.sums[i], rows.marginal[i])
        right[i] = rows.marginal[i] - rows.scaling[i] * rows.sums[i]
    for i in range(n):
        line = tile[i]
        for k in range(i):
            other = tile[k]
            shared = kind(0)
            for j in range(tile.shape[1]):
                shared += line[j] * other[j]
            system[i, k] = -shared
            system[i, i] += shared
            system[k, k] += shared
    _solve_grounded(n, system, right)
    low = high = 0.0  # the last, grounded, potential moves by 0
    for i in range(n - 1):
        low, high = min(low, right[i]), max(high, right[i])
    if not np.isfinite(high - low):
        return
    length = high - low
    shortened = np.log1p(length) / length if length > 1e-9 else 1.0
    for i in range(n - 1):
        moved = exponential(kind(shortened * right[i]))
        rows.scaling[i] = min(max(rows.scaling[i] * moved, kind(1e-13)), kind(1e13))


@njit(**OPTIONS)
def _solve_grounded(n, system, right):
    """Solve for all but the last unknown, which is 0, by Cholesky's factorization, in place."""
    size = n - 1
    for i in range(size):
        for k in range(i + 1):
            total = system[i, k]
            for h in range(k):
                total -= system[i, h] * system[k, h]
            if k < i:
                system[i, k] = total / system[k, k]
            else:
                system[i, i] = np.sqrt(max(total, 1e-300))
    for i in range(size):
        total = right[i]
        for h in range(i):
            total -= system[i, h] * right[h]
        right[i] = total / system[i, i]
    for i in range(size - 1, -1, -1):
        right[i] /= system[i, i]
        for h in range(i):
            right[h] -= system[i, h] * right[i]
