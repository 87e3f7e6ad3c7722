"""Sep-Attack: query and picture attacked each by itself, then put together (Zhang et al. 2022, arXiv 2206.09391)."""

from __future__ import annotations

from kivuko.attacks.image import PixelTower, Threat, pgd
from kivuko.attacks.image.result import Progress
from kivuko.attacks.joint.pairs import AttackedPairs, Pairs, TextSide, goal_of, together
from kivuko.attacks.text import EncodeTexts


def separate(
    encode: EncodeTexts,
    tower: PixelTower,
    pairs: Pairs,
    threat: Threat,
    text_side: TextSide,
    *,
    steps: int = 10,
    seed: int = 0,
    progress: Progress | None = None,
) -> AttackedPairs:
    """Edit the query against the clean picture, and perturb the picture against the clean query.

    Args:
        encode: queries -> unit vectors; asked only, so any system will do.
        threat: ball of the picture. text_side: budget of the query.
        steps: of PGD.
    """
    texts = text_side.attack(encode, pairs)
    goal = goal_of(pairs, encode(list(pairs.texts)))
    images = pgd(tower, pairs.pixels, goal, threat, steps=steps, early_stop=False, seed=seed, progress=progress)
    return together(encode, tower, pairs, texts, images)
