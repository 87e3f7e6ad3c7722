"""Marginals: uniform, or in proportion to weights; and the precision that plans are computed in."""

import torch

from kivuko.errors import UsageError


def working_dtype(*tensors: torch.Tensor) -> torch.dtype:
    """Return float64 if any tensor is float64, else float32.

    Half precision is never computed in: a log plan spans hundreds of nats, and bfloat16 has eight bits.
    """
    return torch.float64 if any(t.dtype == torch.float64 for t in tensors) else torch.float32


def full_precision(device: torch.device) -> torch.autocast:
    """Return a context in which autocast is off: it would run the matrix products in half precision."""
    return torch.autocast(device_type=device.type, enabled=False)


def uniform(mask: torch.Tensor, *, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Spread one unit of mass evenly over the True positions of each row of a bool mask [batch, n].

    A row that is all False is all zeros: an empty problem.

    >>> uniform(torch.tensor([[True, True, False], [False, False, False]])).tolist()
    [[0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]
    """
    _check_mask(mask)
    count = mask.sum(dim=1, keepdim=True).clamp_min(1)  # [batch, 1]
    return mask.to(dtype) / count.to(dtype)


def normalize(weights: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Scale weights [batch, n] to one unit of mass per row, 0 where the bool mask [batch, n] is False.

    Weights outside the mask may be anything. A row whose mask is all False is all zeros: an empty problem.

    >>> normalize(torch.tensor([[3.0, 1.0, 9.0]]), torch.tensor([[True, True, False]])).tolist()
    [[0.75, 0.25, 0.0]]
    """
    _check_mask(mask)
    if weights.shape != mask.shape:
        raise UsageError(f"weights have shape {list(weights.shape)} and mask {list(mask.shape)}: give the same shape")
    kept = weights.to(working_dtype(weights)).masked_fill(~mask, 0.0)
    bad = ~(kept.isfinite() & (kept >= 0))
    if bad.any():
        row, position = bad.nonzero()[0].tolist()
        raise UsageError(
            f"weights[{row}, {position}] is {kept[row, position].item():g}: give finite weights that are not negative"
        )
    # Dividing by the largest weight first keeps the sum from overflowing or underflowing.
    largest = kept.amax(dim=1, keepdim=True) if kept.shape[1] else kept.new_zeros(len(kept), 1)
    empty = (largest == 0) & mask.any(dim=1, keepdim=True)
    if empty.any():
        raise UsageError(
            f"weights of row {int(empty.nonzero()[0, 0])} are all zero: give at least one position weight, "
            "or mask the whole row"
        )
    scaled = kept / largest.masked_fill(largest == 0, 1.0)
    total = scaled.sum(dim=1, keepdim=True)
    return scaled / total.masked_fill(total == 0, 1.0)


def _check_mask(mask: torch.Tensor) -> None:
    if mask.dtype != torch.bool or mask.ndim != 2:
        raise UsageError(
            f"mask is {mask.dtype} of shape {list(mask.shape)}: give a torch.bool tensor of shape [batch, n]"
        )
