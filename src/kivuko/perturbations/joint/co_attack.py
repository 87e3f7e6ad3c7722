"""Co-Attack (Zhang et al. 2022, arXiv 2206.09391): the query first, then the image against the edited query.

This is the paper's scheme for separate encoders: the query leaves the clean image; then the image leaves both its own
clean vector and the edited query. Edits are those of ``kivuko.perturbations``, so any language will do; distances are
cosines instead of the divergences of softmaxed embeddings in the paper, since cosines are what a search ranks by.

Sep-Attack, which attacks query and image each by itself, is ``greedy`` and ``pgd`` put together by
``kivuko.perturbations.runner``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kivuko.perturbations.image import PixelTower, Threat, pgd
from kivuko.perturbations.image.goal import Progress
from kivuko.perturbations.joint.pairs import AttackedPairs, Pairs, TextSide, goal_of, together
from kivuko.perturbations.text import EncodeTexts


def co_attack(
    encode: EncodeTexts,  # queries -> unit vectors; no gradients are taken, so any system will do
    tower: PixelTower,
    pairs: Pairs,
    threat: Threat,  # ball of the image. text_side: budget of the query.
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
    images = pgd(
        tower, pairs.pixels, goal, threat, steps=steps, loss=apart, early_stop=False, seed=seed, progress=progress
    )  # fmt: skip
    return together(encode, tower, pairs, texts, images)
