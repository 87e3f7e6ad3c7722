"""The Triton backend, held against the reference through Triton's interpreter, and on a GPU where there is one.

The interpreter is chosen when Triton is imported, by an environment variable. So the checks below run in a process of
their own, all of them in one: ``TRITON_INTERPRET=1 python tests/transport/test_triton_sinkhorn.py`` prints how each
fared; without the variable they run on the GPU.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transport_problems import ragged
from triton_process import in_a_process, needs_triton

from gpu import environment_with_gpu, needs_gpu
from kivuko.transport.gradient import adjoint
from kivuko.transport.problem import Problem, Settings, Solution, marginal_error, pose, settings
from kivuko.transport.reference import log_sinkhorn
from kivuko.transport.sinkhorn import scaling_sinkhorn

DEVICE = "cuda" if torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1" else "cpu"
TIGHT = 1e-10
SIZES = [(3, 4), (7, 5)]
PENALTIES = (None, 0.5, (None, 0.3), (0.3, None))


def asked(regularization: float = 0.1, penalty: Any = None, tolerance: float = TIGHT, limit: int = 20_000) -> Settings:
    return settings(
        regularization=regularization, marginal_penalty=penalty, tolerance=tolerance, max_iterations=limit
    )  # fmt: skip


def posed(sizes: list[tuple[int, int]], dtype: torch.dtype = torch.float64, seed: int = 0) -> Problem:
    batch = ragged(sizes, seed=seed, dtype=dtype)
    return here(pose(*batch.arguments(), **batch.masks()))


def here(problem: Problem) -> Problem:
    return Problem(*(part.to(DEVICE) for part in (problem.cost, problem.row_marginal, problem.col_marginal)))


def skewed(dtype: torch.dtype = torch.float64) -> Problem:
    """Masses over eight orders of magnitude, and some that are zero."""
    row = torch.tensor([[0.0, 1e-8, 0.3, 0.7 - 1e-8], [0.25, 0.25, 0.25, 0.25], [0.0, 0.0, 1.0, 0.0]])
    col = torch.tensor([[1e-3, 0.0, 0.5, 0.0, 0.499], [0.9, 0.1, 0.0, 0.0, 0.0], [0.2, 0.2, 0.2, 0.2, 0.2]])
    cost = 2 * torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return here(pose(cost.to(dtype), row.to(dtype), col.to(dtype), row_mask=None, col_mask=None))


def solved(problem: Problem, options: Settings) -> Solution:
    from kivuko.transport.triton_sinkhorn import triton_sinkhorn

    solution = triton_sinkhorn(problem, options)
    assert solution.coupling.isfinite().all()
    massive = (problem.row_marginal > 0)[:, :, None] & (problem.col_marginal > 0)[:, None, :]
    assert (solution.coupling[~massive] == 0).all()
    assert torch.equal(solution.converged, solution.marginal_error <= options.tolerance)
    assert solution.iterations.dtype == torch.int64
    return solution


def equals_reference(problem: Problem, options: Settings, precise: Settings, atol: float) -> None:
    own = solved(problem, options)
    wide = Problem(problem.cost.double(), *(normalized(m) for m in (problem.row_marginal, problem.col_marginal)))
    reference = log_sinkhorn(wide, precise)
    assert own.converged.all(), own
    assert reference.converged.all()
    torch.testing.assert_close(own.coupling.double(), reference.coupling, atol=atol, rtol=0)


def normalized(mass: torch.Tensor) -> torch.Tensor:
    return mass.double() / mass.double().sum(dim=1, keepdim=True)


def check_double_equals_the_reference() -> None:
    for penalty in PENALTIES:
        equals_reference(posed(SIZES), asked(0.1, penalty), asked(0.1, penalty), 1e-9)
    equals_reference(posed(SIZES), asked(0.02), asked(0.02), 1e-9)


def check_single_equals_the_reference() -> None:
    for penalty in PENALTIES[:3]:
        own, precise = asked(0.02, penalty, 1e-5), asked(0.02, penalty)
        equals_reference(posed(SIZES, torch.float32), own, precise, 2e-5)


def check_skewed_marginals_equal_the_reference() -> None:
    for penalty in (None, 0.5):
        equals_reference(skewed(), asked(0.05, penalty), asked(0.05, penalty), 1e-9)
        equals_reference(skewed(torch.float32), asked(0.05, penalty, 1e-5), asked(0.05, penalty), 2e-5)


def check_larger_tiles_equal_the_reference() -> None:
    equals_reference(posed([(40, 70), (90, 20)], torch.float32), asked(0.05, tolerance=1e-5), asked(0.05), 1e-5)


def check_one_token_takes_the_whole_marginal() -> None:
    problem = posed([(1, 5), (1, 1)])
    plan = solved(problem, asked(0.05)).coupling
    torch.testing.assert_close(plan[:, 0], problem.col_marginal)


def check_empty_problems_are_zero_and_do_not_disturb_the_rest() -> None:
    batch = ragged([(3, 4)] * 3, dtype=torch.float32)
    row_mask, col_mask = batch.row_mask.clone(), batch.col_mask.clone()
    row_mask[0], col_mask[2] = False, False
    problem = here(pose(batch.cost, None, None, row_mask=row_mask, col_mask=col_mask, allow_empty=True))
    solution = solved(problem, asked(tolerance=1e-5))
    assert solution.converged.all()
    assert (solution.coupling[[0, 2]] == 0).all()
    assert solution.iterations[[0, 2]].tolist() == [0, 0]
    assert solution.marginal_error[[0, 2]].tolist() == [0, 0]
    assert solution.iterations[1] > 0
    assert abs(solution.coupling[1].sum().item() - 1) < 1e-6


def check_too_few_iterations_are_told() -> None:
    problem = posed([(6, 6), (7, 7)])
    for penalty in (None, 0.5):
        for limit in (1, 2, 3, 5, 8):
            solution = solved(problem, asked(0.02, penalty, limit=limit))
            assert not solution.converged.any()
            assert (solution.iterations == limit).all()
            assert (solution.coupling.sum(dim=(1, 2)) > 0.1).all()
            if penalty is None:
                error = marginal_error(solution.coupling, problem.row_marginal, problem.col_marginal)
                torch.testing.assert_close(solution.marginal_error, error, atol=1e-12, rtol=0)


def check_each_problem_stops_by_itself() -> None:
    problem = posed([(1, 2), (5, 7), (2, 2)])
    together = solved(problem, asked(0.05))
    assert len(set(together.iterations.tolist())) == 3, together.iterations
    for one in range(3):
        pieces = (problem.cost, problem.row_marginal, problem.col_marginal)
        alone = solved(Problem(*(piece[one : one + 1] for piece in pieces)), asked(0.05))
        assert torch.equal(alone.coupling[0], together.coupling[one])
        assert alone.iterations[0] == together.iterations[one]


def check_identical_tokens_share_evenly() -> None:
    problem = posed([(4, 3), (2, 5)])
    flat = Problem(torch.full_like(problem.cost, 0.7), problem.row_marginal, problem.col_marginal)
    expected = problem.row_marginal[:, :, None] * problem.col_marginal[:, None, :]
    torch.testing.assert_close(solved(flat, asked()).coupling, expected)


def check_views_are_read_by_their_strides() -> None:
    problem = posed([(5, 3)])
    turned = Problem(
        problem.cost.transpose(1, 2).contiguous().transpose(1, 2),
        problem.row_marginal.t().contiguous().t(),
        problem.col_marginal,
    )
    assert torch.equal(solved(turned, asked()).coupling, solved(problem, asked()).coupling)


def check_shapes_without_cells_work() -> None:
    from kivuko.transport.triton_sinkhorn import triton_adjoint

    for shape in ((0, 3, 4), (2, 0, 4), (2, 3, 0), (2, 0, 0)):
        cost = torch.zeros(shape, device=DEVICE)
        problem = pose(cost, None, None, row_mask=None, col_mask=None, allow_empty=True)
        solution = solved(problem, asked())
        assert solution.coupling.shape == shape
        assert solution.converged.all()
        x, y = triton_adjoint(cost, cost, asked())
        assert (x.shape, y.shape) == (shape[:2], (shape[0], shape[2]))


def check_what_is_too_large_goes_to_torch() -> None:
    problem, options = posed([(300, 2)]), asked(0.1, limit=20)
    wide = Problem(problem.cost.repeat(1, 1, 20), problem.row_marginal, problem.col_marginal.repeat(1, 20) / 20)
    assert torch.equal(solved(wide, options).coupling, scaling_sinkhorn(wide, options).coupling)


def check_adjoint_equals_the_dense_solution() -> None:
    from kivuko.transport.triton_sinkhorn import triton_adjoint

    for penalty in (None, 0.5, (None, 0.3)):
        for problem in (posed([*SIZES, (6, 8)]), posed([(9, 2)]), skewed()):
            options = asked(0.05, penalty)
            coupling = log_sinkhorn(problem, options).coupling
            generator = torch.Generator().manual_seed(2)
            gradient = torch.randn(coupling.shape, generator=generator, dtype=torch.float64).to(DEVICE)
            x, y = triton_adjoint(coupling, coupling * gradient, options)
            dense_x, dense_y = adjoint(coupling, coupling * gradient, options)
            rows, cols = coupling.sum(2) > 0, coupling.sum(1) > 0
            if penalty is None:  # of all (x + t, y - t), the least
                shift = (dense_y.sum(1) - dense_x.sum(1)) / (rows.sum(1) + cols.sum(1))
                dense_x, dense_y = dense_x + shift[:, None] * rows, dense_y - shift[:, None] * cols
            scale = dense_x.abs().amax(1).clamp_min(1)[:, None]
            torch.testing.assert_close(x / scale, dense_x / scale, atol=1e-8, rtol=0)
            torch.testing.assert_close(y / scale, dense_y / scale, atol=1e-8, rtol=0)
            assert (x[~rows] == 0).all()
            assert (y[~cols] == 0).all()
            single = triton_adjoint(coupling.float(), (coupling * gradient).float(), options)
            along = coupling * (x[:, :, None] + y[:, None, :])
            rounded = coupling * (single[0].double()[:, :, None] + single[1].double()[:, None, :])
            torch.testing.assert_close(rounded, along, atol=1e-6, rtol=0)


def check_adjoint_of_a_plan_in_pieces_solves_the_system() -> None:
    from kivuko.transport.triton_sinkhorn import triton_adjoint

    plan = torch.eye(4, dtype=torch.float64, device=DEVICE)[None] / 4
    gradient = torch.randn(1, 4, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64).to(DEVICE)
    x, y = triton_adjoint(plan, plan * gradient, asked())
    torch.testing.assert_close(plan * (x[:, :, None] + y[:, None, :]), plan * gradient)


def check_gradient_through_the_plan_equals_finite_differences() -> None:
    from kivuko.transport.triton_sinkhorn import triton_adjoint

    generator = torch.Generator().manual_seed(4)
    problem, nudge = posed([(3, 4)]), 1e-4

    def direction(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(DEVICE)

    weight = direction(3, 4)
    for penalty in (None, 0.4):
        options = asked(0.1, penalty, 1e-13)
        coupling = solved(problem, options).coupling
        x, y = triton_adjoint(coupling, coupling * weight, options)
        along_cost = coupling * (x[:, :, None] + y[:, None, :] - weight) / options.regularization
        for _ in range(2):
            step = direction(1, 3, 4)
            costs = torch.cat([problem.cost + nudge * step, problem.cost - nudge * step])
            marginals = (side.expand(2, -1) for side in (problem.row_marginal, problem.col_marginal))
            ahead, behind = (solved(Problem(costs, *marginals), options).coupling * weight).sum(dim=(1, 2))
            slope = (ahead - behind) / (2 * nudge)
            torch.testing.assert_close((along_cost * step).sum(), slope, atol=1e-6, rtol=1e-5)

        # Row sums r are a where they must hold; else a^k exp(-F / penalty), k = 1 + regularization / penalty, where F
        # is all of the rows' scaling, log a included. So dr = k r / a da, and k = r / a = 1 where they must hold.
        step = direction(1, 3)
        step -= step.mean()
        felt = x * coupling.sum(2) / problem.row_marginal / options.row_share
        rows = torch.cat([problem.row_marginal + 1e-4 * step, problem.row_marginal - 1e-4 * step])
        moved = Problem(problem.cost.expand(2, -1, -1), rows, problem.col_marginal.expand(2, -1))
        ahead, behind = (solved(moved, options).coupling * weight).sum(dim=(1, 2))
        torch.testing.assert_close((felt * step).sum(), (ahead - behind) / 2e-4, atol=1e-6, rtol=1e-5)


CHECKS: dict[str, Callable[[], None]] = {
    name.removeprefix("check_"): found for name, found in list(globals().items()) if name.startswith("check_")
}


def report(names: list[str]) -> dict[str, dict[str, Any]]:
    results = {}
    for name in names:
        started, failure = time.perf_counter(), None
        try:
            CHECKS[name]()
        except Exception:
            failure = traceback.format_exc()
        results[name] = {"failure": failure, "seconds": round(time.perf_counter() - started, 2)}
    return results


@needs_triton
def test_every_check_passes_through_the_interpreter(tmp_path: Path) -> None:
    # One test, not one a check: test workers that each had some of them would each run them all.
    passes(in_a_process(__file__, tmp_path, TRITON_INTERPRET="1"))


@needs_triton
@needs_gpu
def test_every_check_passes_on_a_gpu(tmp_path: Path) -> None:
    passes(in_a_process(__file__, tmp_path, environment_with_gpu()))


def passes(told: dict[str, Any]) -> None:
    assert set(told) == set(CHECKS)
    failed = [f"{name}: {result['failure']}" for name, result in told.items() if result["failure"]]
    assert not failed, "\n".join(failed)


if __name__ == "__main__":
    json.dump(report(list(CHECKS)), sys.stdout, indent=1)
