"""How much mass each row and each column of a problem holds."""

from __future__ import annotations

import torch

from kivuko.errors import UsageError
from kivuko.transport.precision import working_dtype


def uniform(mask: torch.Tensor, *, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Spread one unit of mass evenly over the True positions of each row.

    Args:
        mask: bool [batch, n].
        dtype: type of the result.

    Returns:
        [batch, n]; each row sums to 1 and is 0 where the mask is False. A row whose mask is all False is all
        zeros: an empty problem.

    Raises:
        UsageError: the mask is not a bool matrix.

    >>> uniform(torch.tensor([[True, True, False], [False, False, False]])).tolist()
    [[0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]
    """
    _check_mask(mask)
    count = mask.sum(dim=1, keepdim=True).clamp_min(1)  # [batch, 1]
    return mask.to(dtype) / count.to(dtype)


def normalize(weights: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Scale weights, such as inverse document frequencies, to one unit of mass a row.

    Args:
        weights: [batch, n], finite and not negative where the mask is True; ignored elsewhere, NaN included.
        mask: bool [batch, n].

    Returns:
        [batch, n], float64 for float64 weights, else float32; each row sums to 1 and is 0 where the mask is
        False. A row whose mask is all False is all zeros: an empty problem.

    Raises:
        UsageError: the shapes differ, a weight is negative or not finite, or a row that has True positions
            holds no weight at all.

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
    largest = _largest(kept)
    empty = (largest == 0) & mask.any(dim=1, keepdim=True)
    if empty.any():
        raise UsageError(
            f"weights of row {int(empty.nonzero()[0, 0])} are all zero: give at least one position weight, "
            "or mask the whole row"
        )
    scaled = kept / largest.masked_fill(largest == 0, 1.0)
    total = scaled.sum(dim=1, keepdim=True)
    return scaled / total.masked_fill(total == 0, 1.0)


def _largest(weights: torch.Tensor) -> torch.Tensor:
    if weights.shape[1] == 0:
        return weights.new_zeros(weights.shape[0], 1)
    return weights.amax(dim=1, keepdim=True)


def _check_mask(mask: torch.Tensor) -> None:
    if mask.dtype != torch.bool or mask.ndim != 2:
        raise UsageError(
            f"mask is {mask.dtype} of shape {list(mask.shape)}: give a torch.bool tensor of shape [batch, n]"
        )
