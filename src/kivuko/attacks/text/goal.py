"""What an attack on a query works against: the rank of the picture that the query should find."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kivuko.errors import DataError

EncodeTexts = Callable[[Sequence[str]], NDArray[np.float32]]  # texts -> unit vectors [texts, dim]
_CELLS = 1_000_000  # of the score matrix that is made at once: a few passes over it stay in the cache


@dataclass(frozen=True, eq=False)
class TextGoal:
    """A gallery, and which picture each query should find.

    Attributes:
        gallery: unit vectors, float32 [images, dim].
        own: int64 [queries], rows of the gallery.
        instead: unit vectors that stand in the place of each query's own picture, perturbed ones say, float32
            [queries, dim]; None: the gallery's.

    Raises:
        DataError: an own picture that is not in the gallery, or a gallery that is not of finite vectors.
    """

    gallery: NDArray[np.float32]
    own: NDArray[np.int64]
    instead: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        if self.gallery.ndim != 2 or not len(self.gallery) or not np.isfinite(self.gallery).all():
            raise DataError("the gallery is empty or holds numbers that are not finite: encode its pictures again.")
        outside = (self.own < 0) | (self.own >= len(self.gallery))
        if outside.any():
            query = int(np.flatnonzero(outside)[0])
            raise DataError(
                f"query {query} should find picture {int(self.own[query])}, but the gallery has {len(self.gallery)}: "
                "give the gallery that the queries belong to."
            )

    def standing(self, vectors: NDArray[np.float32], rows: NDArray[np.int64]) -> Standing:
        """Return where the own pictures stand for queries of these vectors.

        Args:
            vectors: unit vectors, float32 [n, dim].
            rows: int64 [n], which query each vector is of.

        Raises:
            DataError: a vector holds a number that is not finite, or is of another width than the pictures'.
        """
        if vectors.ndim != 2 or vectors.shape[1] != self.gallery.shape[1]:
            raise DataError(
                f"the encoder gave vectors of shape {vectors.shape} for a gallery of {self.gallery.shape[1]} numbers a "
                "picture: take both from the same model."
            )
        if not np.isfinite(vectors).all():
            raise DataError("the encoder gave numbers that are not finite: check its weights.")
        ranks, margins = np.empty(len(rows), dtype=np.int64), np.empty(len(rows), dtype=np.float32)
        chunk = max(1, _CELLS // len(self.gallery))
        for start in range(0, len(rows), chunk):
            part = slice(start, start + chunk)
            scores = vectors[part] @ self.gallery.T
            places = (np.arange(len(scores)), self.own[rows[part]])
            if self.instead is not None:
                scores[places] = (vectors[part] * self.instead[rows[part]]).sum(1)
            own = scores[places].copy()
            ranks[part] = (scores >= own[:, None]).sum(1)  # the own picture is one of them
            scores[places] = -np.inf
            margins[part] = own - scores.max(1)
        return Standing(ranks, margins)


@dataclass(frozen=True, eq=False)
class Standing:
    """``ranks``: int64 [n], from 1, ties against the own picture; ``margins``: own score less the best other."""

    ranks: NDArray[np.int64]
    margins: NDArray[np.float32]

    def badness(self) -> NDArray[np.float64]:
        """Return what an attack raises, float64 [n]: the rank, and among equal ranks the lower margin."""
        found: NDArray[np.float64] = self.ranks - np.clip(self.margins, -2, 2).astype(np.float64) / 8
        return found
