"""Co-Attack (Zhang et al. 2022, arXiv 2206.09391), and the pairs of query and image that joint attacks work on.

Co-Attack here is the scheme for separate encoders, with edits for any language, and with cosines, which a search ranks
by, instead of divergences of softmaxed embeddings. Sep-Attack is in ``kivuko.perturbations.runner``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kivuko.perturbations import EditKind
from kivuko.perturbations.image import AttackedImages, PixelTower, TextToImage, Threat, pgd
from kivuko.perturbations.image.goal import Progress
from kivuko.perturbations.text import AttackedText, EncodeTexts, TextGoal
from kivuko.perturbations.text.greedy import greedy_search


@dataclass(frozen=True, eq=False)
class Pairs:
    """Queries, each with its right image, in a gallery of clean images."""

    texts: Sequence[str]
    languages: Sequence[str]
    own: NDArray[np.int64]  # int64 [n], rows of the gallery
    pixels: Tensor  # float32 [n, 3, h, w] in 0-1 on whole levels, the own images
    gallery: NDArray[np.float32]  # unit vectors of all clean images, float32 [images, dim]
    # other texts of the same image, in any language; SGA works against them too
    companions: Sequence[Sequence[str]] = ()


@dataclass(frozen=True)
class TextSide:
    """The budget of the text side: ``edits`` of ``kinds`` each, the worst of ``candidates`` tried per round."""

    edits: int = 1
    kinds: tuple[str | EditKind, ...] = ("typo",)
    candidates: int = 32
    seed: int = 0

    def attack(
        self, encode: EncodeTexts, pairs: Pairs, instead: NDArray[np.float32] | None = None
    ) -> list[AttackedText]:
        """Edit the queries against the clean images, or against vectors ``instead`` of the own ones [n, dim]."""
        goal = TextGoal(pairs.gallery, pairs.own, instead)
        return greedy_search(
            encode, pairs.texts, pairs.languages, goal,
            kinds=self.kinds, edits=self.edits, candidates=self.candidates, seed=self.seed,
        )  # fmt: skip


# The result of a joint attack on pairs: the queries, whose ranks are those of the text side alone, and the images.
AttackedPairs = tuple[list[AttackedText], AttackedImages]


def goal_of(pairs: Pairs, vectors: NDArray[np.float32]) -> TextToImage:
    """Return the goal of the image side against queries of these unit vectors, float32 [n, dim]."""
    return TextToImage(torch.from_numpy(vectors), torch.from_numpy(pairs.gallery), torch.from_numpy(pairs.own))


def co_attack(
    encode: EncodeTexts,
    tower: PixelTower,
    pairs: Pairs,
    threat: Threat,
    text_side: TextSide,
    *,
    steps: int = 10,  # of PGD
    weight: float = 3.0,  # of the edited query against the clean image
    seed: int = 0,
    progress: Progress | None = None,
) -> AttackedPairs:
    """Edit the query first, then perturb the image away from the edited query and from itself."""
    texts = text_side.attack(encode, pairs)
    edited = torch.from_numpy(encode([one.perturbed.text for one in texts]))
    clean = tower.encode(pairs.pixels)

    def apart(vectors: Tensor, rows: Tensor) -> Tensor:
        return -(vectors * clean[rows]).sum(1) - weight * (vectors * edited[rows]).sum(1)

    goal = goal_of(pairs, edited.numpy())
    return texts, pgd(
        tower, pairs.pixels, goal, threat, steps=steps, loss=apart, early_stop=False, seed=seed, progress=progress
    )  # fmt: skip
