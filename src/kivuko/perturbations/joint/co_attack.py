"""Co-Attack (Zhang et al. 2022, arXiv 2206.09391): the query first, then the image against the edited query.

The paper's scheme for separate encoders, with edits for any language, and with cosines, which a search ranks by,
instead of divergences of softmaxed embeddings. Sep-Attack, each side alone, is in ``kivuko.perturbations.runner``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kivuko.perturbations.image import PixelTower, Threat, pgd
from kivuko.perturbations.image.goal import Progress
from kivuko.perturbations.joint.pairs import AttackedPairs, Pairs, TextSide, goal_of, together
from kivuko.perturbations.text import EncodeTexts


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
    images = pgd(
        tower, pairs.pixels, goal, threat, steps=steps, loss=apart, early_stop=False, seed=seed, progress=progress
    )  # fmt: skip
    return together(encode, tower, pairs, texts, images)
