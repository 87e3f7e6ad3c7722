"""The compiled part of the CPU path: one transport problem at a time, kept in the processor's cache.

The state of a problem is an absorbed kernel K = a b exp(F + G - cost / regularization), where F and G are the
potentials so far, in units of the regularization, and scalings u and v near 1 on top of it: the plan is u K v. A
scaling that leaves [e^-20, e^20] is folded into its potential and K is recomputed. What underflows in K is e^-87 or
less, so no scaling in that range could have made it matter: nothing is lost that the log domain would keep (the
stabilisation of Schmitzer 2019, sec. 3).

Positions without mass are left out of the tile; what pads it is zero.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from kivuko.transport.numba_math import (
    OPTIONS,
    exponential,
    fit,
    fold,
    load,
    logarithm,
    marginal_error,
    new_side,
    number,
    ordered,
    padded,
    reset,
    unfold,
)

# Numba compiles these functions; type checkers see neither its decorators' types nor its intrinsics.
# mypy: ignore-errors


@njit(**OPTIONS)
def newton_pays_after(n, m):
    """Return the number of iterations that cost about as much as three Newton steps.

    A step takes n n m / 2 multiplications for the matrix and n n n / 6 to factor it, an iteration 2 n m.
    """
    return int(20 + 3 * (n / 2 + n * n / (6 * m)))


@njit(**OPTIONS)
def newton_step(n, m, tile, rows, cols, system, right):
    """Move the row scalings by one damped Newton step of the dual, given columns that fit their marginal.

    The negative Hessian diag(r) - P diag(1 / c) P' is a graph's Laplacian (Brauer et al. 2017, sec. 3): off the
    diagonal all terms have one sign, and the diagonal is minus their sum, so nothing cancels. Rounding is added to the
    diagonal, so that parts of a sharp plan move against one another only where mass is missing. The step is shortened
    to log(1 + d) / d of itself, with d its range: the dual then cannot decrease (the bound of Bach 2010). The tile is
    overwritten and must be recomputed afterward. A step that is no number is not taken.
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


_FIRST, _WINDOW = 4, 4  # iterations before the contraction rate is measured, and over which it is
_LARGEST_STEP = 1.98  # over-relaxation diverges at 2
_STAGE = 6  # iterations at each regularization on the way down


class Options(NamedTuple):
    """Numbers that hold for every problem of a call."""

    regularization: float
    row_share: float
    col_share: float
    tolerance: float
    max_iterations: int
    widest: float  # largest cost, in units of the regularization, above which that is approached from larger ones


@njit(**OPTIONS)
def solve_range(cost, row, col, options, first, last, coupling, row_potential, col_potential, figures, iterations):
    """Solve the problems ``first`` to ``last`` - 1 and write the results into the last five arrays.

    ``figures``, float64 [batch, 5]: transport cost, KL(plan | product of marginals), entropy, marginal error, and the
    largest absolute cost; if a cost is not finite, that one is NaN, and the problem is left unsolved.
    """
    n, m = cost.shape[1], cost.shape[2]
    tile = np.empty((padded(n), padded(m)), cost.dtype)
    rows, cols = new_side(padded(n), cost), new_side(padded(m), cost)
    buffer = np.empty((n, m), cost.dtype)
    system, right = np.empty((n, n), np.float64), np.empty(n, np.float64)  # for Newton's steps
    for p in range(first, last):
        coupling[p] = row_potential[p] = col_potential[p] = cost.dtype.type(0)
        figures[p] = 0.0
        iterations[p] = 0
        live_rows, live_cols = load(row[p], rows), load(col[p], cols)
        if live_rows == 0 or live_cols == 0:
            continue
        packed = rows.places[live_rows - 1] == live_rows - 1 and cols.places[live_cols - 1] == live_cols - 1
        block = cost[p] if packed else _gather(cost[p], rows.places[:live_rows], cols.places[:live_cols], buffer)
        figures[p, 4] = _largest(block, live_rows, live_cols)
        if not np.isfinite(figures[p, 4]):
            continue
        spent, error = solve_one(block, live_rows, live_cols, figures[p, 4], options, tile, rows, cols, system, right)
        iterations[p] = spent
        unfold(rows, live_rows, options.regularization, row_potential[p])
        unfold(cols, live_cols, options.regularization, col_potential[p])
        if packed:
            finish(block, live_rows, live_cols, options, tile, rows, cols, coupling[p], figures[p])
        else:
            finish(block, live_rows, live_cols, options, tile, rows, cols, block, figures[p])
            _scatter(block, rows.places[:live_rows], cols.places[:live_cols], coupling[p])
        figures[p, 3] = error


@njit(**OPTIONS)
def _gather(cost, rows, cols, block):
    for i in range(rows.shape[0]):
        for j in range(cols.shape[0]):
            block[i, j] = cost[rows[i], cols[j]]
    return block


@njit(**OPTIONS)
def _scatter(block, rows, cols, coupling):
    for i in range(rows.shape[0]):
        for j in range(cols.shape[0]):
            coupling[rows[i], cols[j]] = block[i, j]


@njit(**OPTIONS)
def _largest(cost, n, m):
    """Return the largest absolute cost, NaN or infinite if one is not finite."""
    largest = ordered(cost.dtype.type(0))
    for i in range(n):
        for j in range(m):
            largest = max(largest, ordered(abs(cost[i, j])))
    return number(largest)


@njit(**OPTIONS)
def solve_one(cost, n, m, largest, options, tile, rows, cols, system, right):
    """Iterate until the plan converges; return (iterations, marginal error).

    ``cost`` is [>= n, >= m], of which the first n rows and m columns count, finite. ``tile`` is left with the absorbed
    kernel, ``rows`` and ``cols`` with the plan's factors; ``system`` and ``right`` are for Newton's steps.
    """
    stage, careful, spent = _stages(largest, options), False, 0
    while True:  # one place to call each function: the compiler copies a function to wherever it is called
        scale = -1.0 / (options.regularization * 2.0**stage)
        _fit_rows(cost, n, m, scale, options, tile, rows, cols)
        most = options.max_iterations - spent
        if stage > 0:
            most = min(_STAGE, most // 2)
        taken, error = _iterate(cost, n, m, scale, options, most, careful, tile, rows, cols, system, right)
        spent += taken
        if stage > 0:  # half the regularization, the same potentials: twice as many units of it
            fold(rows, 2)
            fold(cols, 2)
            stage -= 1
        elif np.isfinite(error) or careful:
            return spent, error
        else:  # never seen; were it to happen, the plain iteration is slow but sure
            reset(rows)
            reset(cols)
            careful, spent = True, 0


@njit(**OPTIONS)
def _stages(largest, options):
    """Return how often the regularization to start from is halved: 0 unless the largest cost is far above it."""
    if options.row_share < 1.0 or options.col_share < 1.0:
        return 0  # where marginals give way, how far depends on the regularization
    ratio = largest / (options.regularization * options.widest)
    stages = 0
    while ratio > 1.0 and stages < 60:
        ratio *= 0.5
        stages += 1
    return stages


@njit(**OPTIONS)
def _fit_rows(cost, n, m, scale, options, tile, rows, cols):
    """Fit the row potentials in the log domain, and absorb both sides' potentials into the tile."""
    kind = tile.dtype.type
    factor, share = kind(scale), kind(options.row_share)
    offset = cols.sums  # free until the next sums are taken
    for j in range(m):
        offset[j] = cols.log_marginal[j] + cols.potential[j]
    for i in range(n):
        highest = ordered(kind(-np.inf))
        for j in range(m):
            one = offset[j] + factor * cost[i, j]
            tile[i, j] = one
            highest = max(highest, ordered(one))
        largest = number(highest)
        total = kind(0)
        for j in range(m):
            one = exponential(tile[i, j] - largest)
            tile[i, j] = one
            total += one
        rows.potential[i] = -share * (largest + logarithm(total))
        scaling = rows.marginal[i] * exponential(largest + rows.potential[i])
        for j in range(m):
            tile[i, j] *= scaling
        for j in range(m, tile.shape[1]):
            tile[i, j] = kind(0)
    for i in range(n, padded(n)):
        for j in range(tile.shape[1]):
            tile[i, j] = kind(0)
    rows.scaling[:] = kind(1)
    cols.scaling[:] = kind(1)


@njit(**OPTIONS)
def _absorb(cost, n, m, scale, tile, rows, cols):
    """Fold the scalings into the potentials and recompute the tile."""
    kind = tile.dtype.type
    fold(rows, 1)
    fold(cols, 1)
    factor = kind(scale)
    offset = cols.sums  # free until the next sums are taken
    for j in range(m):
        offset[j] = cols.log_marginal[j] + cols.potential[j]
    for i in range(n):
        own = rows.log_marginal[i] + rows.potential[i]
        for j in range(m):
            tile[i, j] = exponential(own + offset[j] + factor * cost[i, j])


@njit(**OPTIONS)
def _iterate(cost, n, m, scale, options, most, careful, tile, rows, cols, system, right):
    """Fit columns and rows in turn, at most ``most`` times; return (iterations, marginal error).

    Once the error falls by a steady factor, every fit goes further than the marginals require, by the step that is best
    for that factor (successive over-relaxation: Thibault et al. 2017 for Sinkhorn; the estimate is Young's, 1954).
    What has not converged when that would have paid continues with Newton's method. ``careful``: neither of the two.
    """
    step, since, before, error = 1.0, -_FIRST, np.inf, np.inf
    relaxed = options.row_share < 1.0 or options.col_share < 1.0
    patience = most if careful or relaxed else newton_pays_after(n, m)
    for iteration in range(1, most + 1):
        if iteration > patience:
            step = 1.0
        _col_sums(tile, rows.scaling, cols.sums, n, m)
        col_error, far = fit(cols, options.col_share, step)
        if far:
            _absorb(cost, n, m, scale, tile, rows, cols)
        row_sums(tile, cols.scaling, rows.sums, n)
        error = max(marginal_error(rows, options.row_share), col_error)
        if error <= options.tolerance or iteration == most:
            return iteration, error
        # A Newton step takes the columns for fitted. After one that gained little the rows are fitted plainly: those
        # with hardly any mass, which in Newton's matrix are noise, must not be left behind.
        if iteration > patience and error < 0.8 * before and col_error <= 0.1 * error < 2.5:
            before = error
            _col_sums(tile, rows.scaling, cols.sums, n, m)  # absorbing has used the place for something else
            newton_step(n, m, tile, rows, cols, system, right)
            _absorb(cost, n, m, scale, tile, rows, cols)
            continue
        since += 1
        if iteration >= patience:
            before = np.inf
        elif since == 0:
            before = error
        elif since == _WINDOW and not careful:
            step = _next_step(step, (error / before) ** (1.0 / _WINDOW))
            since, before = -_FIRST, error
        _, far = fit(rows, options.row_share, step)
        if far:
            _absorb(cost, n, m, scale, tile, rows, cols)
    return most, error


@njit(**OPTIONS)
def _next_step(step, rate):
    """Return the step to take, given the one taken and the factor by which the error fell an iteration."""
    if not rate < 1.0:
        return 1.0 + 0.5 * (step - 1.0)  # it went too far: take half the extra
    if rate <= step - 1.0:
        return step  # as fast as this step can be: the estimate below has no solution
    plain = (rate + step - 1.0) ** 2 / (rate * step * step)  # the rate without over-relaxation
    if plain >= 1.0:
        return step
    return min(_LARGEST_STEP, max(step, 2.0 / (1.0 + np.sqrt(1.0 - plain))))


@njit(**OPTIONS)
def row_sums(tile, scaling, sums, n):
    kind = tile.dtype.type
    i = 0
    while i < n:  # four rows at a time share the loads of the scaling; padding rows are zero
        first, second, third, fourth = tile[i], tile[i + 1], tile[i + 2], tile[i + 3]
        s0, s1, s2, s3 = kind(0), kind(0), kind(0), kind(0)
        for j in range(tile.shape[1]):
            s0 += first[j] * scaling[j]
            s1 += second[j] * scaling[j]
            s2 += third[j] * scaling[j]
            s3 += fourth[j] * scaling[j]
        sums[i], sums[i + 1], sums[i + 2], sums[i + 3] = s0, s1, s2, s3
        i += 4
    sums[n:] = kind(1)


@njit(**OPTIONS)
def _col_sums(tile, scaling, sums, n, m):
    kind = tile.dtype.type
    sums[:m] = kind(0)
    i = 0
    while i < n:
        first, second, third, fourth = tile[i], tile[i + 1], tile[i + 2], tile[i + 3]
        u0, u1, u2, u3 = scaling[i], scaling[i + 1], scaling[i + 2], scaling[i + 3]
        for j in range(tile.shape[1]):
            sums[j] += (u0 * first[j] + u1 * second[j]) + (u2 * third[j] + u3 * fourth[j])
        i += 4
    sums[m:] = kind(1)


@njit(**OPTIONS)
def finish(cost, n, m, options, tile, rows, cols, coupling, figures):
    """Write the coupling, which may take the cost's place, and the first three figures."""
    transport_cost = mass = along_rows = row_entropy = 0.0
    kind = tile.dtype.type
    cols.sums[:] = kind(0)
    for i in range(n):
        own, total, spent = rows.scaling[i], kind(0), kind(0)
        for j in range(m):
            one = own * tile[i, j] * cols.scaling[j]
            spent += one * cost[i, j]
            coupling[i, j] = one
            total += one
            cols.sums[j] += one
        transport_cost += spent
        mass += total
        potential = rows.potential[i] + logarithm(own)
        along_rows += total * potential
        row_entropy += total * (potential + rows.log_marginal[i])
    along_cols = col_entropy = 0.0
    for j in range(m):
        potential = cols.potential[j] + logarithm(cols.scaling[j])
        along_cols += cols.sums[j] * potential
        col_entropy += cols.sums[j] * (potential + cols.log_marginal[j])
    spread = transport_cost / options.regularization
    figures[0] = transport_cost
    figures[1] = along_rows + along_cols - spread - mass + 1.0
    figures[2] = spread - row_entropy - col_entropy
