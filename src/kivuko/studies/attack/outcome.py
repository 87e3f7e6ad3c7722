"""What an attack left of the queries of one language."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kivuko.attacks.image import Threat
from kivuko.attacks.image.threat import Norm
from kivuko.attacks.spec import AttackSpec
from kivuko.edits import Perturbed
from kivuko.studies.attack.victim import QuerySet, Vectors, Victim


@dataclass(frozen=True, eq=False)
class AttackedPictures:
    """Perturbed pictures, one for each query.

    Attributes:
        rows: which picture was perturbed, int64 [n]: the right one, or of a targeted attack the one that is to win.
        original, pixels: before and after, float32 [n, 3, h, w] in 0-1.
        targeted: whether that picture should win, where else it should lose.
    """

    rows: NDArray[np.int64]
    original: Tensor
    pixels: Tensor
    targeted: bool = False

    def linf(self) -> list[float]:
        """Largest change of any value, per picture."""
        found: list[float] = (self.pixels - self.original).abs().flatten(1).amax(1).tolist()
        return found

    def l2(self) -> list[float]:
        """Length of the change, per picture."""
        found: list[float] = (self.pixels - self.original).flatten(1).norm(dim=1).tolist()
        return found


@dataclass(frozen=True, eq=False)
class Attacked:
    """One language's queries under one attack.

    Attributes:
        scores: cosines of the perturbed queries with all pictures, the perturbed one in its place, float32 [n, images].
        texts: the queries before and after.
        pictures: None where none was touched.
        calls: how often the model was asked, int64 [n].
    """

    spec: AttackSpec
    queries: QuerySet
    scores: Vectors
    texts: Sequence[Perturbed]
    pictures: AttackedPictures | None
    calls: NDArray[np.int64]

    def ranks_before(self) -> NDArray[np.int64]:
        """Rank of the right picture, from 1; ties count against it."""
        return ranks_of(self.queries.scores, self.queries.own)

    def ranks_after(self) -> NDArray[np.int64]:
        """Rank of the right picture after the attack."""
        return ranks_of(self.scores, self.queries.own)

    def target_first(self) -> NDArray[np.float64] | None:
        """Where a targeted attack brought its picture to the first place; None if the attack is not targeted."""
        if self.pictures is None or not self.pictures.targeted:
            return None
        found: NDArray[np.float64] = (ranks_of(self.scores, self.pictures.rows) == 1).astype(np.float64)
        return found


def attacked(
    victim: Victim,
    spec: AttackSpec,
    queries: QuerySet,
    calls: NDArray[np.int64],
    texts: Sequence[Perturbed] | None = None,
    pictures: AttackedPictures | None = None,
) -> Attacked:
    """Score what an attack made; what it left as it was keeps its clean scores to the last bit."""
    texts = [Perturbed(text, text) for text in queries.texts] if texts is None else texts
    vectors, scores = queries.vectors.copy(), queries.scores.copy()
    edited = [n for n, text in enumerate(texts) if text.text != text.original]
    if edited:
        vectors[edited] = victim.encode([texts[n].text for n in edited])
        scores[edited] = vectors[edited] @ victim.gallery.T
    if pictures is not None:
        moved = (pictures.pixels != pictures.original).flatten(1).any(1).numpy().nonzero()[0]
        if len(moved):
            seen = victim.tower.encode(pictures.pixels[torch.from_numpy(moved)]).numpy()
            scores[moved, pictures.rows[moved]] = (seen * vectors[moved]).sum(1)
    return Attacked(spec, queries, scores, texts, pictures, calls)


def threat_of(spec: AttackSpec) -> Threat:
    """Return the ball that an attack's pictures stay in."""
    return Threat(cast(Norm, spec["norm"]), spec.budget)


def ranks_of(scores: Vectors, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rank of one picture for each query, from 1, int64 [n], from scores [n, images]; ties count against it."""
    found: NDArray[np.int64] = (scores >= scores[np.arange(len(rows)), rows][:, None]).sum(1)
    return found
