"""Vectors of extreme lengths brought to a usual one, so that their squares neither overflow nor vanish."""

from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_SHORTEST, _LONGEST = 1e-8, 1e18  # lengths whose squares are numbers, and whose gradients are not beyond measure
_LEAST_EXPONENT, _LARGEST_EXPONENT = -120, 120  # of the powers of two that scale
_Vectors = TypeVar("_Vectors", Tensor, NDArray[Any])


def rescaled(vectors: _Vectors) -> _Vectors:
    """Return vectors [..., dim] with the directions that they have, at lengths that a cosine can be taken of.

    Where all lengths are usual the vectors are returned as they are; else each is multiplied by a power of two, which
    changes no bit of a cosine. Half precision becomes single. The gradient of a vector shorter than 1e-8 has the right
    direction and is of order one; a zero vector stays zero.

    >>> float(torch.nn.functional.cosine_similarity(*map(rescaled, torch.tensor([[[3e20, 4e20]], [[3e-30, 4e-30]]]))))
    1.0
    """
    return powers_apart(vectors)[0]


def powers_apart(vectors: _Vectors) -> tuple[_Vectors, Any]:
    """Return ``rescaled`` vectors and what they were multiplied by, [..., 1] or 1.0."""
    if isinstance(vectors, Tensor):
        return _tensor(vectors)
    return _array(vectors)


def _tensor(vectors: Tensor) -> tuple[Tensor, Any]:
    vectors = vectors.float() if vectors.dtype == torch.float16 else vectors
    with torch.no_grad():
        length = torch.linalg.vector_norm(vectors, dim=-1)
        unusual = ~((length >= _SHORTEST) & (length <= _LONGEST))
        if not unusual.any() or not vectors[unusual].any():  # zero vectors, which padding is, stay what they are
            return vectors, 1.0
        largest = vectors.abs().amax(-1, keepdim=True)
        exponent = torch.frexp(largest.float()).exponent.clamp(_LEAST_EXPONENT, _LARGEST_EXPONENT)
        scale = torch.ldexp(torch.ones_like(largest, dtype=torch.float32), -exponent).to(vectors)
        wanted = vectors * scale
    if not vectors.requires_grad:
        return wanted, scale
    followed = vectors * torch.where(length[..., None] < _SHORTEST, 1.0, scale)
    return wanted + (followed - followed.detach()), scale


def _array(vectors: NDArray[Any]) -> tuple[NDArray[Any], Any]:
    vectors = vectors.astype(np.float32) if vectors.dtype == np.float16 else vectors
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        length = np.linalg.norm(vectors, axis=-1)
    unusual = ~((length >= _SHORTEST) & (length <= _LONGEST))
    if not unusual.any() or not vectors[unusual].any():
        return vectors, 1.0
    largest = np.abs(vectors).max(-1, keepdims=True, initial=0)
    exponent = np.frexp(largest)[1].clip(_LEAST_EXPONENT, _LARGEST_EXPONENT)
    scale = np.ldexp(np.ones_like(largest), -exponent)
    return vectors * scale, scale


def unit_rows(vectors: NDArray[Any]) -> NDArray[np.float32]:
    """Return vectors [n, dim] at length 1, float32, whatever length they have; zeros stay zeros.

    >>> unit_rows(np.array([[3e30, 4e30], [3e-30, 4e-30], [0, 0]])).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    vectors = rescaled(vectors)
    unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(min=1e-12)
    return unit.astype(np.float32, copy=False)
