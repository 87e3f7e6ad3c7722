"""Marginals: uniform, or weighted by inverse document frequency or vector norm."""

from __future__ import annotations

from collections.abc import Iterable

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


def inverse_document_frequency(documents: Iterable[Iterable[int]], vocabulary_size: int) -> torch.Tensor:
    """Return float32 [vocabulary_size]: the smoothed IDF of each token over a corpus of token ids.

    ``log((1 + documents) / (1 + documents with the token)) + 1`` (Salton & Buckley 1988): at least 1.

    >>> inverse_document_frequency([[0, 1], [0, 2, 2]], 4).round(decimals=2).tolist()
    [1.0, 1.409999966621399, 1.409999966621399, 2.0999999046325684]
    """
    counts, total = torch.zeros(vocabulary_size, dtype=torch.float64), 0
    for total, document in enumerate(documents, start=1):
        seen = torch.tensor(sorted(set(document)), dtype=torch.int64)
        if len(seen) and not (seen[0] >= 0 and seen[-1] < vocabulary_size):
            raise UsageError(
                f"document {total - 1} holds token ids from {int(seen[0])} to {int(seen[-1])}: "
                f"the vocabulary has 0 to {vocabulary_size - 1}"
            )
        counts[seen] += 1
    return (((1 + total) / (1 + counts)).log() + 1).float()


def idf_marginal(ids: torch.Tensor, mask: torch.Tensor, idf: torch.Tensor) -> torch.Tensor:
    """Give each token id int64 [batch, n] mass in proportion to its ``idf`` [vocabulary]; see :func:`normalize`."""
    _check_mask(mask)
    if ids.shape != mask.shape:
        raise UsageError(f"ids have shape {list(ids.shape)} and mask {list(mask.shape)}: give the same shape")
    kept = ids.masked_fill(~mask, 0)
    outside = (kept < 0) | (kept >= len(idf))
    if outside.any():
        row, position = outside.nonzero()[0].tolist()
        raise UsageError(
            f"ids[{row}, {position}] is {int(kept[row, position])}: idf holds {len(idf)} tokens, 0 to {len(idf) - 1}"
        )
    return normalize(idf.to(ids.device)[kept], mask)


def norm_marginal(tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Give each token mass in proportion to its vector's length (Yokoi et al. 2020, Word Rotator's Distance)."""
    if tokens.ndim != 3 or tokens.shape[:2] != mask.shape:
        raise UsageError(f"tokens have shape {list(tokens.shape)} and mask {list(mask.shape)}: give [batch, n, dim]")
    return normalize(torch.linalg.vector_norm(tokens.to(working_dtype(tokens)), dim=-1), mask)


def _largest(weights: torch.Tensor) -> torch.Tensor:
    if weights.shape[1] == 0:
        return weights.new_zeros(weights.shape[0], 1)
    return weights.amax(dim=1, keepdim=True)


def _check_mask(mask: torch.Tensor) -> None:
    if mask.dtype != torch.bool or mask.ndim != 2:
        raise UsageError(
            f"mask is {mask.dtype} of shape {list(mask.shape)}: give a torch.bool tensor of shape [batch, n]"
        )
