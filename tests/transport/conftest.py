"""Let the transport tests import the module of problems that lies beside them, and run over every Sinkhorn."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

SINKHORNS = {
    "log": {"method": "sinkhorn_log"},
    "torch": {"method": "sinkhorn", "backend": "torch"},
    "numba": {"method": "sinkhorn", "backend": "numba"},
}


@pytest.fixture(scope="session", params=SINKHORNS)
def sinkhorn(request):
    """``solve`` by one of the implementations of Sinkhorn's algorithm that run on the CPU."""
    if request.param == "numba":
        pytest.importorskip("numba", reason="numba is not installed: pip install 'kivuko[fast]'")
    from kivuko.transport.solve import solve

    return partial(solve, **SINKHORNS[request.param])
