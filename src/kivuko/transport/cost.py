"""Costs between token vectors: cosine, centered cosine, squared Euclidean."""

import torch

from kivuko.errors import UsageError
from kivuko.transport.marginals import full_precision, working_dtype
from kivuko.vectors import rescaled

_SHORTEST = 1e-8  # below this length a vector, at its usual length, is zero


def cosine_cost(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return [batch, n, m] in [0, 2]: one minus the cosine of each x [batch, n, dim] and y [batch, m, dim].

    A zero vector is at cost 1 from everything, with a finite gradient. The type is float64 if an input's is, else
    float32, also under autocast.

    >>> cosine_cost(torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[2.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]]))
    tensor([[[0., 1., 2.]]])
    """
    _check_pair(x, y)
    dtype = working_dtype(x, y)
    with full_precision(x.device):
        similarity = _unit(x.to(dtype)) @ _unit(y.to(dtype)).transpose(1, 2)  # [batch, n, m]
        return (1 - similarity).clamp(0, 2)  # rounding can step just outside


def centered_cosine_cost(x: torch.Tensor, y: torch.Tensor, x_mean: torch.Tensor, y_mean: torch.Tensor) -> torch.Tensor:
    """Return the cosine cost of vectors relative to the means [dim] of their corpora.

    Contextual embeddings share a large common component, so raw cosines are close to one another and plans over them
    diffuse (Ethayarajh 2019). Shapes and types as in :func:`cosine_cost`.
    """
    _check_pair(x, y)
    for name, mean in (("x_mean", x_mean), ("y_mean", y_mean)):
        if mean.shape != x.shape[-1:]:
            raise UsageError(f"{name} has shape {list(mean.shape)}: give one mean vector of shape [{x.shape[-1]}]")
    dtype = working_dtype(x, y)
    return cosine_cost(x.to(dtype) - x_mean.to(dtype), y.to(dtype) - y_mean.to(dtype))


def squared_euclidean_cost(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return [batch, n, m]: the squared distances, on unit vectors twice the cosine cost.

    Regularization and penalties are in its unit. Shapes and types as in :func:`cosine_cost`.

    >>> squared_euclidean_cost(torch.tensor([[[0.0, 0.0]]]), torch.tensor([[[3.0, 4.0], [0.0, 1.0]]]))
    tensor([[[25.,  1.]]])
    """
    _check_pair(x, y)
    dtype = working_dtype(x, y)
    with full_precision(x.device):
        # Squares of vectors far from the origin cancel; distances do not depend on where that is.
        origin = x.detach().to(dtype).mean(dim=1, keepdim=True) if x.shape[1] else 0.0
        x, y = x.to(dtype) - origin, y.to(dtype) - origin
        squares = x.square().sum(-1)[:, :, None] + y.square().sum(-1)[:, None, :]
        return (squares - 2 * x @ y.transpose(1, 2)).clamp_min(0)  # rounding can step just below


def _unit(vectors: torch.Tensor) -> torch.Tensor:
    # Dividing a zero vector by 1 and not by a tiny number keeps its gradient of order one.
    vectors = rescaled(vectors)
    length: torch.Tensor = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return vectors / length.masked_fill(length < _SHORTEST, 1.0)


def _check_pair(x: torch.Tensor, y: torch.Tensor) -> None:
    if x.ndim != 3 or y.ndim != 3 or x.shape[0] != y.shape[0] or x.shape[2] != y.shape[2]:
        raise UsageError(
            f"x has shape {list(x.shape)} and y {list(y.shape)}: give [batch, n, dim] and [batch, m, dim] "
            "with the same batch and dim"
        )
