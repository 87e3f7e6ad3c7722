"""Which of the fast Sinkhorn solvers runs: the one that suits the device and is installed."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

from kivuko.errors import MissingDependencyError, UsageError
from kivuko.transport.problem import Problem
from kivuko.transport.scaling_sinkhorn import scaling_sinkhorn
from kivuko.transport.settings import Settings
from kivuko.transport.solution import Solution


class Solver(Protocol):
    """Solves checked problems. It runs without gradients and need not check its arguments."""

    def __call__(self, problem: Problem, settings: Settings) -> Solution: ...


@dataclass(frozen=True)
class Backend:
    """A solver, and whether it surveys the costs itself.

    One that does takes a problem as it is posed: it ignores costs where there is no mass, does no harm with costs that
    are not finite, and reports the largest. That spares passes over memory that take longer than the solving.
    """

    solver: Solver
    surveys: bool = False


def _numba() -> Backend:
    from kivuko.transport.numba_sinkhorn import numba_sinkhorn

    return Backend(numba_sinkhorn, surveys=True)


def _triton() -> Backend:
    from kivuko.transport.triton_sinkhorn import triton_sinkhorn

    return Backend(triton_sinkhorn)


def _torch() -> Backend:
    return Backend(scaling_sinkhorn)


# A backend's package is imported when it is first used: kivuko works without any of them.
BACKENDS: dict[str, Callable[[], Backend]] = {"numba": _numba, "triton": _triton, "torch": _torch}
_DEVICE = {"numba": "cpu", "triton": "cuda"}
_INSTALL = {"numba": "pip install 'kivuko[fast]'", "triton": "pip install triton"}


def sinkhorn_backend(name: str, device: torch.device, *, potentials: bool = False) -> Backend:
    """Return the solver of a backend; for "auto" numba's on a CPU and Triton's on CUDA where installed, else torch's.

    Args:
        potentials: "auto" must choose one that returns the potentials, which Triton's does not.

    Raises:
        UsageError: the backend does not run on that device.
        MissingDependencyError: its package is not installed.
    """
    if name == "auto":
        compiled = {"cpu": "numba", "cuda": "triton"}.get(device.type, "torch")
        usable = compiled == "torch" or (is_installed(compiled) and not (potentials and compiled == "triton"))
        return BACKENDS[compiled if usable else "torch"]()
    if name in _DEVICE and device.type != _DEVICE[name]:
        raise UsageError(
            f"backend {name!r} runs on {_DEVICE[name]} and cost is on {device}: move it, or leave backend out"
        )
    if name in _DEVICE and not is_installed(name):
        raise MissingDependencyError(f"backend {name!r} is not installed. Run: {_INSTALL[name]}")
    return BACKENDS[name]()


@functools.cache
def is_installed(package: str) -> bool:
    """Tell whether a package can be imported, without importing it."""
    return importlib.util.find_spec(package) is not None
