"""Which floating-point type the numbers are computed in."""

from __future__ import annotations

import torch


def working_dtype(*tensors: torch.Tensor) -> torch.dtype:
    """Return float64 if any tensor is float64, else float32.

    Half precision is never computed in: a log plan spans hundreds of nats, and bfloat16 has eight bits.
    """
    return torch.float64 if any(t.dtype == torch.float64 for t in tensors) else torch.float32


def full_precision(device: torch.device) -> torch.autocast:
    """Return a context in which autocast is off: it would run the matrix products in half precision."""
    return torch.autocast(device_type=device.type, enabled=False)
