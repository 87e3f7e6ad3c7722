"""The methods without a fast path: log-domain Sinkhorn (the reference in tests), greedy, exact, and proximal."""

from dataclasses import replace

import torch

from kivuko.errors import MissingDependencyError, UsageError
from kivuko.transport.problem import Problem, Settings, Solution, marginal_error, target, within, zero_solution
from kivuko.transport.sinkhorn import sinkhorn_backend

# Iterations between two looks at the marginal error.
_BLOCK = 10


def log_sinkhorn(problem: Problem, settings: Settings) -> Solution:
    """Solve each problem by fitting its row potentials, then its column potentials, over and over.

    With ``log P = log a + log b + (f + g - cost) / regularization``, an iteration is
    ``f = -share * regularization * logsumexp(log b + (g - cost) / regularization)``, then the same for ``g``
    (Peyré & Cuturi 2019, sec. 4.4; Chizat et al. 2018). Simple rather than fast.
    """
    solution = zero_solution(problem)
    index = problem.row_marginal.any(dim=1).nonzero()[:, 0]  # empty problems are solved by zero
    log_row, log_col = problem.row_marginal.log(), problem.col_marginal.log()  # -inf where there is no mass
    f, g = torch.zeros_like(log_row), torch.zeros_like(log_col)  # in units of the regularization
    spent = 0
    while spent < settings.max_iterations and len(index):
        cost = problem.cost if len(index) == len(f) else problem.cost[index]
        work = cost.new_empty(cost.shape)
        a, b, f_now, g_now = log_row[index], log_col[index], f[index], g[index]
        for _ in range(min(_BLOCK, settings.max_iterations - spent)):
            f_now = -settings.row_share * _log_sum(cost, b + g_now, settings.regularization, 2, work)
            g_now = -settings.col_share * _log_sum(cost, a + f_now, settings.regularization, 1, work)
            spent += 1
        f[index], g[index] = f_now, g_now

        torch.mul(cost, -1 / settings.regularization, out=work)
        coupling = work.add_((a + f_now)[:, :, None]).add_((b + g_now)[:, None, :]).exp_()
        error = marginal_error(
            coupling,
            target(problem.row_marginal[index], f_now * settings.regularization, settings.row_penalty),
            target(problem.col_marginal[index], g_now * settings.regularization, settings.col_penalty),
        )
        done = within(error, settings) | (spent >= settings.max_iterations)
        finished = index[done]
        solution.coupling[finished], solution.marginal_error[finished] = coupling[done], error[done]
        solution.row_potential[finished] = torch.where(a > -torch.inf, f_now, 0.0)[done] * settings.regularization
        solution.col_potential[finished] = torch.where(b > -torch.inf, g_now, 0.0)[done] * settings.regularization
        solution.iterations[finished], solution.converged[finished] = spent, within(error, settings)[done]
        index = index[~done]
    return solution


def _log_sum(
    cost: torch.Tensor, offset: torch.Tensor, regularization: float, dim: int, work: torch.Tensor
) -> torch.Tensor:
    """Return the log of sum exp(offset - cost / regularization) over ``dim``, computed in the buffer ``work``."""
    torch.mul(cost, -1 / regularization, out=work)
    work.add_(offset[:, None, :] if dim == 2 else offset[:, :, None])
    # A row that meets no mass at all has potential 0: its own mass is zero, or the problem would be empty.
    largest = work.amax(dim=dim, keepdim=True).clamp_min(torch.finfo(cost.dtype).min / 4)
    return work.sub_(largest).exp_().sum(dim=dim).log_() + largest.squeeze(dim)


def greedy(problem: Problem, settings: Settings) -> Solution:
    """Match the cheapest pair of positions that are both free until a side has none left (DR.DECR, Li et al. 2022).

    Every match carries the same share of one unit of mass; of the marginals only their zeros count. Of equally cheap
    pairs the first is taken, rows before columns. ``iterations`` is the number of matches.
    """
    solution = zero_solution(problem)
    batch, n, m = problem.cost.shape
    if solution.coupling.numel() == 0:
        return solution
    row_free, col_free = problem.row_marginal > 0, problem.col_marginal > 0
    matches = torch.minimum(row_free.sum(dim=1), col_free.sum(dim=1))  # [batch]
    dead = ~(row_free[:, :, None] & col_free[:, None, :])
    left = problem.cost.masked_fill(dead, torch.inf).flatten(1)  # [batch, n m]
    each = torch.arange(batch, device=left.device)
    for turn in range(int(matches.max())):
        cell = left.argmin(dim=1)  # [batch]
        row, col = cell // m, cell % m
        open_ = turn < matches
        solution.coupling[each[open_], row[open_], col[open_]] = 1 / matches[open_].to(left.dtype)
        grid = left.view(batch, n, m)
        grid[each, row, :] = torch.inf
        grid[each, :, col] = torch.inf
    error = marginal_error(solution.coupling, problem.row_marginal, problem.col_marginal)
    return replace(solution, marginal_error=error, iterations=matches, converged=within(error, settings))


def exact(problem: Problem, settings: Settings) -> Solution:
    """Solve the unregularized problem, one at a time, on the CPU in float64 (Bonneel et al. 2011, through POT).

    Each plan is a vertex proven optimal by the dual variables; one that needs more than ``max_iterations`` pivots or
    100,000, whichever is more, counts as not converged.
    """
    try:
        from ot.lp import emd
    except ImportError as problem_:
        raise MissingDependencyError("method 'exact' needs POT. Run: pip install 'kivuko[exact]'") from problem_

    solution = zero_solution(problem)
    cost, row, col = (part.double().cpu() for part in (problem.cost, problem.row_marginal, problem.col_marginal))
    for index in row.any(dim=1).nonzero()[:, 0].tolist():
        rows, cols = row[index].nonzero()[:, 0], col[index].nonzero()[:, 0]
        # The simplex wants masses that agree to the last bit: they are float64 sums of what may have been float32.
        a, b = row[index, rows], col[index, cols]
        paid = cost[index][rows][:, cols].contiguous()
        plan, log = emd(
            (a / a.sum()).numpy(), (b / b.sum()).numpy(), paid.numpy(),
            numItermax=max(settings.max_iterations, 100_000), log=True, center_dual=False,
        )  # fmt: skip
        complete = log["warning"] is None
        block = torch.from_numpy(plan)
        optimal = complete and _proven(paid, block, torch.from_numpy(log["u"]))
        if complete and not optimal:
            _refuse_scale(paid, block)
        block = block.to(solution.coupling)
        solution.coupling[index, rows[:, None], cols[None, :]] = block
        solution.row_potential[index, rows] = torch.from_numpy(log["u"]).to(block)
        solution.col_potential[index, cols] = torch.from_numpy(log["v"]).to(block)
        solution.iterations[index] = 1
        solution.converged[index] = optimal
    error = marginal_error(solution.coupling, problem.row_marginal, problem.col_marginal)
    return replace(solution, marginal_error=error, converged=solution.converged & within(error, settings))


# How far from the optimum an exact plan may be, as a share of the largest cost it pays; rounding explains no more
# unless other costs are larger by ten orders of magnitude.
_EXACT_GAP = 1e-6
_LARGEST_RATIO = 1e6  # of a cost to those that are paid; with it, rounding stays far below the gap


def _proven(cost: torch.Tensor, coupling: torch.Tensor, potential: torch.Tensor) -> bool:
    """Return True if the row potentials, or none at all, prove a coupling [n, m] optimal by weak duality."""
    bounds = []
    for f in (potential, torch.zeros_like(potential)):
        g = (cost - f[:, None]).amin(0)
        f = (cost - g).amin(1)
        bounds.append(float(f @ coupling.sum(1) + g @ coupling.sum(0)))
    return float((coupling * cost).sum()) - max(bounds) <= _EXACT_GAP * _largest_paid(cost, coupling)


def _largest_paid(cost: torch.Tensor, coupling: torch.Tensor) -> float:
    return float(cost[coupling > 0].abs().max())


def _refuse_scale(cost: torch.Tensor, coupling: torch.Tensor) -> None:
    """Raise UsageError if costs of very different sizes explain why a plan is not proven optimal."""
    paid, largest = _largest_paid(cost, coupling), float(cost.abs().max())
    if largest > _LARGEST_RATIO * paid:
        raise UsageError(
            f"cost reaches {largest:.3g} where the plan pays {paid:.3g} at most: in float64 method 'exact' cannot tell "
            f"which plan is best; give forbidden pairs a cost of at most {_LARGEST_RATIO * paid:.3g}"
        )


# How far, as a share of the transport cost, a plan may be from the optimum to count as converged.
_RELATIVE_GAP = 5e-4
# The same where the optimum costs all but nothing, in units of the largest cost times the type's precision.
_ABSOLUTE_GAP = 4.0
# More steps would need a regularization below 1e-12 of the first.
_MOST_STEPS = 40


def proximal(problem: Problem, settings: Settings) -> Solution:
    """Minimize ``<P, cost>`` by steps ``P <- argmin <P, cost> + weight KL(P | previous P)`` (IPOT, Xie et al. 2020).

    Every step is an entropic problem, solved by the fast Sinkhorn path; the regularization left in the plan halves. A
    problem has converged when its plan, made feasible (Altschuler et al. 2017, algorithm 2), is within 0.05 % of the
    dual bound, or as near as rounding allows. ``iterations`` counts Sinkhorn iterations.
    """
    solution = zero_solution(problem)
    sinkhorn = sinkhorn_backend("auto", problem.cost.device, potentials=True).solver
    index = problem.row_marginal.any(dim=1).nonzero()[:, 0]  # empty problems are solved by zero
    weight = settings.regularization
    finest = float(problem.largest_cost().max()) * torch.finfo(problem.cost.dtype).eps if len(index) else 0.0
    for _ in range(_MOST_STEPS):
        if not len(index):
            break
        part = Problem(*(each[index] for each in (problem.cost, problem.row_marginal, problem.col_marginal)))
        f, g = solution.row_potential[index], solution.col_potential[index]
        left = settings.max_iterations - int(solution.iterations[index].max())
        step = sinkhorn(
            replace(part, cost=part.cost - f[:, :, None] - g[:, None, :]),
            replace(settings, regularization=weight, max_iterations=left),
        )
        f, g = f + step.row_potential, g + step.col_potential
        coupling = _feasible(step.coupling, part)
        error = marginal_error(coupling, part.row_marginal, part.col_marginal)
        optimal = within(error, settings) & _closed(part, coupling, f, g)

        solution.row_potential[index], solution.col_potential[index] = f, g
        solution.coupling[index], solution.marginal_error[index] = coupling, error
        solution.iterations[index] += step.iterations
        solution.converged[index] = optimal
        spent = solution.iterations[index] >= settings.max_iterations
        weight /= 2
        index = index[~(optimal | spent)]
        if weight < finest:  # the log of the plan would be rounding
            break
    return solution


def _feasible(coupling: torch.Tensor, problem: Problem) -> torch.Tensor:
    """Move the little mass that is in the wrong place, so that both marginals hold."""
    tiny = torch.finfo(coupling.dtype).tiny
    rows = (problem.row_marginal / coupling.sum(2).clamp_min(tiny)).clamp_max(1.0)
    coupling = coupling * rows[:, :, None]
    cols = (problem.col_marginal / coupling.sum(1).clamp_min(tiny)).clamp_max(1.0)
    coupling = coupling * cols[:, None, :]
    row_lack = (problem.row_marginal - coupling.sum(2)).clamp_min(0.0)
    col_lack = (problem.col_marginal - coupling.sum(1)).clamp_min(0.0)
    share = col_lack / col_lack.sum(1, keepdim=True).clamp_min(tiny)
    return coupling + row_lack[:, :, None] * share[:, None, :]


def _closed(problem: Problem, coupling: torch.Tensor, f: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """Return bool [batch]: True where the potentials prove a feasible coupling to be nearly optimal."""
    massive = (problem.row_marginal > 0)[:, :, None] & (problem.col_marginal > 0)[:, None, :]
    cost = problem.cost.masked_fill(~massive, torch.inf)
    g = _finite((cost - f[:, :, None]).amin(1))
    f = _finite((cost - g[:, None, :]).amin(2))
    bound = (f * problem.row_marginal).sum(1) + (g * problem.col_marginal).sum(1)
    paid = torch.linalg.vecdot(coupling.flatten(1), problem.cost.flatten(1))
    largest = torch.linalg.vector_norm(problem.cost, ord=torch.inf, dim=(1, 2))
    rounding = _ABSOLUTE_GAP * torch.finfo(cost.dtype).eps * largest
    closed: torch.Tensor = paid - bound <= torch.maximum(_RELATIVE_GAP * paid.abs(), rounding)
    return closed


def _finite(potential: torch.Tensor) -> torch.Tensor:
    return potential.masked_fill(potential == torch.inf, 0.0)
