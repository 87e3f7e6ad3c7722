"""Cosine cost, plan and gradient of many pairs of token lists at once, without padding.

The lists are ragged, and the plan is held fixed (envelope), so the gradient comes out with the cost.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from kivuko.errors import UsageError
from kivuko.transport.marginals import full_precision, working_dtype
from kivuko.transport.problem import Settings, settings
from kivuko.transport.sinkhorn import is_installed
from kivuko.transport.solve import solve
from kivuko.vectors import powers_apart

# Pairs solved together, each padded to the longest: on a GPU each call costs more than the padding of many pairs.
_CHUNK, _CHUNK_OF_A_GPU = 64, 1024


@dataclass(frozen=True, eq=False)
class TokenLists:
    """The tokens of many texts, end to end."""

    vectors: torch.Tensor  # [tokens, dim]
    lengths: torch.Tensor  # int64 [texts]; they add up to the number of tokens
    mean: torch.Tensor | None = None  # [dim], subtracted from every vector before the cosine

    def starts(self) -> torch.Tensor:
        """Return int64 [texts + 1]: text i has the tokens from starts[i] up to starts[i + 1]."""
        return torch.cat([self.lengths.new_zeros(1), self.lengths.cumsum(0)])


@dataclass(frozen=True, eq=False)
class Alignments:
    """The result of :func:`align_lists`; a pair with an empty side has cost 0 and counts as converged."""

    transport_cost: torch.Tensor  # [pairs], <plan, cosine cost>, 0 to 2
    converged: torch.Tensor  # bool [pairs]
    gradient: torch.Tensor  # like the first lists' vectors: of the transport cost, the plan held fixed


def align_lists(
    x: TokenLists, y: TokenLists, *, regularization: float = 0.05, tolerance: float = 1e-4, max_iterations: int = 1000
) -> Alignments:
    """Align each text of ``x`` with that of ``y`` at the same place: uniform marginals, cosine cost, Sinkhorn.

    Equal to ``kivuko.solve`` with ``gradient="envelope"`` on padded costs, and several times as fast on
    the CPU with numba.
    """
    if len(x.lengths) != len(y.lengths) or x.vectors.shape[1:] != y.vectors.shape[1:]:
        raise UsageError(
            f"x holds {len(x.lengths)} texts of vectors {list(x.vectors.shape)}, y {len(y.lengths)} of "
            f"{list(y.vectors.shape)}: give as many texts, of one width"
        )
    options = settings(
        regularization=regularization, marginal_penalty=None, tolerance=tolerance, max_iterations=max_iterations
    )
    with torch.no_grad(), full_precision(x.vectors.device):
        if x.vectors.device.type == "cpu" and is_installed("numba") and len(x.vectors) and len(y.vectors):
            return _compiled(x, y, options)
        return _padded(x, y, options)


def _compiled(x: TokenLists, y: TokenLists, options: Settings) -> Alignments:
    from kivuko.transport.numba_sinkhorn import align_range, in_parts, kernel_options

    dtype = working_dtype(x.vectors, y.vectors)
    arrays = [
        part.detach().to(dtype).contiguous().numpy()
        for side in (x, y)
        for part in (side.vectors, side.vectors.new_zeros(side.vectors.shape[1]) if side.mean is None else side.mean)
    ]
    starts = [side.starts().numpy() for side in (x, y)]
    gradient = torch.empty(x.vectors.shape, dtype=dtype)
    figures = torch.empty(len(x.lengths), 2, dtype=torch.float64)
    inputs = (arrays[0], arrays[1], starts[0], arrays[2], arrays[3], starts[1], kernel_options(options))
    outputs = (gradient.numpy(), figures.numpy())
    work = len(x.vectors) * x.vectors.shape[1] // max(1, len(x.lengths))
    in_parts(lambda first, last: align_range(*inputs, first, last, *outputs), len(x.lengths), work)
    if not figures.isfinite().all():
        first = int((~figures.isfinite()).nonzero()[0, 0])
        raise UsageError(f"the token vectors of pair {first} are not all finite: there is no plan for them")
    transport_cost, error = figures.to(dtype).unbind(1)
    return Alignments(transport_cost, error <= options.tolerance, gradient)


def _padded(x: TokenLists, y: TokenLists, options: Settings) -> Alignments:
    (ux, length), (uy, _) = _directions(x), _directions(y)
    pull = torch.zeros_like(ux)  # what the cost does to each unit vector
    transport_cost = ux.new_zeros(len(x.lengths))
    converged = torch.ones(len(x.lengths), dtype=torch.bool, device=ux.device)
    for texts in _alike_in_length(x.lengths, y.lengths):
        (x_places, x_mask), (y_places, y_mask) = _places(x, texts), _places(y, texts)
        right = uy[y_places]  # [chunk, m, dim]
        cost = (1 - ux[x_places] @ right.transpose(1, 2)).clamp(0, 2)  # [chunk, n, m]
        plan = solve(
            cost, row_mask=x_mask, col_mask=y_mask, regularization=options.regularization, tolerance=options.tolerance,
            max_iterations=options.max_iterations,
        )  # fmt: skip
        pull[x_places[x_mask]] = -(plan.coupling @ right)[x_mask]
        transport_cost[texts], converged[texts] = plan.transport_cost, plan.converged
    # Only what turns a vector counts: its length does not change the cosine.
    along = torch.linalg.vecdot(pull, ux)[:, None]
    return Alignments(transport_cost, converged, (pull - along * ux) / length)


def _directions(lists: TokenLists) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the unit vectors [tokens, dim] of the cosine, and their former lengths [tokens, 1]."""
    vectors = lists.vectors.detach().to(working_dtype(lists.vectors))
    if lists.mean is not None:
        vectors = vectors - lists.mean.to(vectors)
    vectors, scale = powers_apart(vectors)
    length = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    length = length.masked_fill(length < 1e-8, 1.0)  # as in cosine_cost: a zero vector has no direction
    before = length / scale
    return vectors / length, before.masked_fill(before < 1e-8, 1.0)


def _alike_in_length(first: torch.Tensor, second: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield the pairs that have tokens on both sides, in chunks of like length."""
    order = torch.argsort(first + second, stable=True)
    order = order[(first[order] > 0) & (second[order] > 0)]
    size = _CHUNK if order.device.type == "cpu" else _CHUNK_OF_A_GPU
    if len(order):
        yield from order.split(size)


def _places(lists: TokenLists, texts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the places of the tokens of some texts, int64 [texts, longest], and the mask of those that exist."""
    lengths = lists.lengths[texts]
    steps = torch.arange(int(lengths.max()), device=lengths.device)
    mask = steps < lengths[:, None]
    return (lists.starts()[:-1][texts][:, None] + steps).masked_fill(~mask, 0), mask
