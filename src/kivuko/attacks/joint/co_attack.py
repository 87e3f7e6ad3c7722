"""Co-Attack: the picture is perturbed against the query as it was edited (Zhang et al. 2022, arXiv 2206.09391).

Their scheme for separate encoders: first the text leaves the clean picture; then the picture leaves both its own clean
vector and the edited text. Edits are those of ``kivuko.edits``, so any language will do; distances are cosines instead
of the divergences that they take of softmaxed embeddings, since cosines are what a search ranks by.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kivuko.attacks.image import PixelTower, Threat, pgd
from kivuko.attacks.image.result import Progress
from kivuko.attacks.joint.pairs import AttackedPairs, Pairs, TextSide, goal_of, together
from kivuko.attacks.text import EncodeTexts


def co_attack(
    encode: EncodeTexts,
    tower: PixelTower,
    pairs: Pairs,
    threat: Threat,
    text_side: TextSide,
    *,
    steps: int = 10,
    weight: float = 3.0,
    seed: int = 0,
    progress: Progress | None = None,
) -> AttackedPairs:
    """Edit the query first, then perturb the picture away from the edited query and from itself.

    Args:
        weight: of the edited query against the clean picture. Arguments else as ``separate``.
    """
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
