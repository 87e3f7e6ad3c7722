"""SGA: sets against sets (Lu et al. 2023, "Set-level Guidance Attack", arXiv 2307.14061).

So that a perturbation carries over to other texts and sizes, the query is edited, the image is perturbed at several
sizes at once against all its texts (the edited query and its companions, in any language), and the query is edited
again, now against the perturbed image.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from kivuko.perturbations.image import AttackedImages, PixelTower, Threat
from kivuko.perturbations.image.goal import BATCH, Progress, margins_of, unchanged
from kivuko.perturbations.joint.co_attack import AttackedPairs, Pairs, TextSide, goal_of
from kivuko.perturbations.text import EncodeTexts

SCALES = (0.5, 0.75, 1.25, 1.5)  # besides the image's own size


def sga(
    encode: EncodeTexts,
    tower: PixelTower,
    pairs: Pairs,
    threat: Threat,
    text_side: TextSide,
    *,
    steps: int = 10,
    scales: Sequence[float] = SCALES,
    seed: int = 0,
    progress: Progress | None = None,
) -> AttackedPairs:
    """Attack query and image as sets. Arguments as ``co_attack``; ``scales``: sizes of the image besides its own."""
    first = text_side.attack(encode, pairs)
    against = _mean_texts(encode, pairs, [one.perturbed.text for one in first])
    goal = goal_of(pairs, encode([one.perturbed.text for one in first]))
    rows = torch.arange(len(pairs.texts))
    parts = []
    for number, part in enumerate(rows.split(BATCH)):
        pixels = pairs.pixels[part]
        parts.append(_climb(tower, pixels, against[part], threat, steps, scales, seed + number))
        if progress:
            progress(number + 1, len(rows.split(BATCH)))
    pixels = torch.cat(parts) if parts else pairs.pixels
    calls = torch.full((len(rows),), steps * (1 + len(scales)) + 1)
    attacked = AttackedImages(pixels, margins_of(tower, pixels, goal, rows), calls)
    images = unchanged(tower, pairs.pixels, goal, rows).worse_of(attacked)
    again = text_side.attack(encode, pairs, instead=tower.encode(images.pixels).cpu().numpy())
    return again, images


def _mean_texts(encode: EncodeTexts, pairs: Pairs, edited: Sequence[str]) -> Tensor:
    """Return for each image the mean vector of its texts, float32 [n, dim].

    The mean cosine to a set of texts is the cosine to their mean, up to its length.
    """
    companions = pairs.companions or [()] * len(edited)
    sets = [[text, *others] for text, others in zip(edited, companions, strict=True)]
    vectors = encode([text for one in sets for text in one])
    ends = np.cumsum([len(one) for one in sets])
    return torch.from_numpy(np.stack([part.mean(0) for part in np.split(vectors, ends[:-1])]))


def _climb(
    tower: PixelTower, original: Tensor, against: Tensor, threat: Threat, steps: int, scales: Sequence[float], seed: int
) -> Tensor:
    """Move images [b, 3, h, w] away from texts [b, dim] at all sizes at once; the result is on whole levels."""
    if threat.eps == 0:
        return original
    now = threat.random_start(original, torch.Generator().manual_seed(seed))
    for _ in range(steps):
        leaf = now.detach().requires_grad_()
        with torch.enable_grad():
            cosines = sum((tower(view) * against).sum() for view in _views(leaf, scales))
            (gradient,) = torch.autograd.grad(-torch.as_tensor(cosines), leaf)
        now = threat.project(original, now + 1.25 / steps * threat.eps * 2 * threat.ascent(gradient))
    return threat.on_levels(original, now)


def _views(pixels: Tensor, scales: Sequence[float]) -> list[Tensor]:
    """Return images as they are and resized to each scale and back."""
    size = pixels.shape[-2:]
    views = [pixels]
    for scale in scales:
        other = [max(1, round(scale * side)) for side in size]
        resized = F.interpolate(pixels, size=other, mode="bilinear", align_corners=False)
        views.append(F.interpolate(resized, size=size, mode="bilinear", align_corners=False))
    return views
