"""OTT-JAX, compiled beforehand and spread over the cores: batched by vmap, or problem by problem by lax.map."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from benchmarks.transport_contenders import MAX_ITERATIONS, TOLERANCE, Ready, Task
from benchmarks.transport_inputs import Inputs

# The iteration limits that programs are compiled for: an array of errors of that length is part of the state.
_LIMITS = (200, 1000, 5000, MAX_ITERATIONS)


@dataclass(frozen=True)
class Ott:
    """``ott.solvers.linear.sinkhorn.Sinkhorn`` on a ``Geometry`` of each cost matrix.

    Its threshold is on the L1 error of the column sums, looked at every 10 iterations; its last update fits the rows.
    """

    name: str
    label: str
    how: str
    batched: bool
    log_domain: bool
    momentum: float | None = None
    adapts: bool = False

    def prepare(self, task: Task) -> Ready:
        import jax

        devices = _devices(task.inputs.cost.shape[0])
        mesh = jax.sharding.Mesh(np.array(devices), ("problems",))
        split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("problems"))
        arrays = [jax.device_put(array.numpy(), split) for array in _arrays(task.inputs)]
        numbers = [np.float32(task.regularization), np.float32(TOLERANCE)]
        limit = MAX_ITERATIONS
        if task.worst_iterations is not None:
            limit = next((one for one in _LIMITS if one >= 1.2 * task.worst_iterations), MAX_ITERATIONS)
        solved, seconds = _program(self, mesh, limit, task.inputs.cost.shape, (*arrays, *numbers))
        setting = f"max_iterations={limit}, {len(devices)} devices"
        return Ready(lambda: jax.block_until_ready(solved(*arrays, *numbers)), _as_tensor, setting, seconds)


_PROGRAMS: dict[Any, tuple[Callable[..., Any], float]] = {}


def _program(
    contender: Ott, mesh: Any, limit: int, shape: tuple[int, ...], arguments: tuple[Any, ...]
) -> tuple[Callable[..., Any], float]:
    """Return the compiled program for problems of that shape, and how many seconds compiling took."""
    key = (contender.name, limit, tuple(shape))
    if key not in _PROGRAMS:
        started = time.perf_counter()
        compiled = _over_cores(_solver(contender, limit), mesh).lower(*arguments).compile()
        _PROGRAMS[key] = compiled, time.perf_counter() - started
    return _PROGRAMS[key]


def _solver(contender: Ott, limit: int) -> Callable[..., Any]:
    """Return the function of a batch of problems that gives their plans."""
    import jax
    from ott.geometry.geometry import Geometry
    from ott.problems.linear.linear_problem import LinearProblem
    from ott.solvers.linear.acceleration import Momentum
    from ott.solvers.linear.sinkhorn import Sinkhorn

    def one(cost: Any, row_marginal: Any, col_marginal: Any, regularization: Any, threshold: Any) -> Any:
        solver = Sinkhorn(
            lse_mode=contender.log_domain,
            threshold=threshold,
            max_iterations=limit,
            momentum=None if contender.momentum is None else Momentum(value=contender.momentum),
        )
        problem = LinearProblem(Geometry(cost_matrix=cost, epsilon=regularization), row_marginal, col_marginal)
        return solver(problem).matrix

    if contender.batched:
        return jax.vmap(one, in_axes=(0, 0, 0, None, None))
    return lambda *arguments: jax.lax.map(lambda problem: one(*problem, *arguments[3:]), arguments[:3])


def _over_cores(function: Callable[..., Any], mesh: Any) -> Any:
    """Give each core an equal share of the problems; the cores do not wait for one another."""
    import jax

    split, whole = jax.sharding.PartitionSpec("problems"), jax.sharding.PartitionSpec()
    return jax.jit(
        jax.shard_map(
            function, mesh=mesh, in_specs=(split, split, split, whole, whole), out_specs=split, check_vma=False
        )
    )


def use_all_cores() -> None:
    """Let JAX have one device per core. To be called before anything starts JAX, as importing POT does."""
    try:
        import jax
    except ImportError:
        return
    jax.config.update("jax_platforms", "cpu")
    # Where JAX runs already, it is left with the devices it has.
    with contextlib.suppress(RuntimeError):
        jax.config.update("jax_num_cpu_devices", torch.get_num_threads())


def _devices(batch: int) -> list[Any]:
    """Return one device per core, or a single one if they cannot share the batch evenly."""
    import jax

    devices = jax.devices("cpu")[: torch.get_num_threads()]
    return devices if batch % len(devices) == 0 else devices[:1]


def _arrays(inputs: Inputs) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return inputs.cost, inputs.row_marginal, inputs.col_marginal


def _as_tensor(plan: Any) -> torch.Tensor:
    return torch.from_numpy(np.array(plan))


_COMMON = "float32, threshold on the L1 error, compiled beforehand (untimed), the batch split evenly over the cores"
OTT = (
    Ott(
        "ott_vmap_log",
        "OTT, vmap, log",
        f"`Sinkhorn(lse_mode=True)` under `jax.vmap` and `jax.jit`; {_COMMON}.",
        batched=True,
        log_domain=True,
    ),
    Ott(
        "ott_vmap_kernel",
        "OTT, vmap, kernel",
        "likewise with `lse_mode=False`: scalings of the kernel, which may underflow.",
        batched=True,
        log_domain=False,
    ),
    Ott(
        "ott_map_log",
        "OTT, map, log",
        "`lse_mode=True` with `jax.lax.map` in place of `vmap`, so that each problem stops by itself.",
        batched=False,
        log_domain=True,
    ),
    Ott(
        "ott_map_kernel",
        "OTT, map, kernel",
        "likewise with `lse_mode=False`.",
        batched=False,
        log_domain=False,
    ),
    Ott(
        "ott_map_log_momentum",
        "OTT, map, log, momentum",
        "OTT, map, log, with its over-relaxation `Momentum(value=1.5)`, the best of those we tried on these costs.",
        batched=False,
        log_domain=True,
        momentum=1.5,
    ),
    Ott(
        "ott_map_kernel_momentum",
        "OTT, map, kernel, momentum",
        "OTT, map, kernel, likewise; it diverges on some problems at small regularization.",
        batched=False,
        log_domain=False,
        momentum=1.5,
    ),
)
