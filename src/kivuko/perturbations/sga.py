"""Joint attacks on a query and its image: SGA, sets against sets, and Co-Attack, the query first.

SGA (Lu et al. 2023, "Set-level Guidance Attack", arXiv 2307.14061), so that a perturbation carries over to other texts
and sizes: the query is edited, the image is perturbed at several sizes at once against all its texts (the edited query
and its companions, in any language), and the query is edited again, against the perturbed image. Co-Attack (Zhang et
al. 2022, arXiv 2206.09391) is the scheme for separate encoders, with cosines, which a search ranks by, instead of
divergences of softmaxed embeddings. Sep-Attack is in ``kivuko.perturbations.runner``.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from kivuko.perturbations.edits import Perturbed
from kivuko.perturbations.image.goal import AttackedImages, Threat, margins_of, unchanged
from kivuko.perturbations.image.pgd import pgd
from kivuko.perturbations.image.pixel_tower import BATCH, PixelTower
from kivuko.perturbations.target import QuerySet, Target
from kivuko.perturbations.text.search import AttackedText, Vectors
from kivuko.progress import Report

_WEIGHT = 3.0  # of the edited query against the clean image, in Co-Attack's loss
_SCALES = (0.5, 0.75, 1.25, 1.5)  # of SGA, besides the image's own size

# Edits the queries against the clean images, or against vectors of their images that are given, float32 [n, dim].
EditQueries = Callable[[Vectors | None], list[AttackedText]]
# The queries, whose ranks are those of the text side alone, and the images.
AttackedPairs = tuple[list[AttackedText], AttackedImages]


def co_attack(
    target: Target, queries: QuerySet, pixels: Tensor, threat: Threat, edit: EditQueries, steps: int, seed: int,
    progress: Report | None,
) -> AttackedPairs:  # fmt: skip
    """Edit the query first, then perturb its image, of ``pixels``, away from the edited query and from itself."""
    texts = edit(None)
    vectors = target.encode([one.perturbed.text for one in texts])
    edited, clean = torch.from_numpy(vectors), target.tower.encode(pixels)

    def apart(vectors: Tensor, rows: Tensor) -> Tensor:
        return -(vectors * clean[rows]).sum(1) - _WEIGHT * (vectors * edited[rows]).sum(1)

    goal = replace(queries, vectors=vectors).image_goal(target.gallery)
    return texts, pgd(
        target.tower, pixels, goal, threat, steps=steps, loss=apart, early_stop=False, seed=seed, progress=progress
    )  # fmt: skip


def sga(
    target: Target, queries: QuerySet, pixels: Tensor, threat: Threat, edit: EditQueries, steps: int, seed: int,
    progress: Report | None,
) -> AttackedPairs:  # fmt: skip
    """Attack query and image as sets. Arguments as ``co_attack``."""
    first = [one.perturbed for one in edit(None)]
    against = _mean_texts(target, queries, first)
    goal = replace(queries, vectors=target.encode([one.text for one in first])).image_goal(target.gallery)
    rows = torch.arange(len(queries))
    portions, parts = rows.split(BATCH), []
    for number, part in enumerate(portions):
        parts.append(_climb(target.tower, pixels[part], against[part], threat, steps, seed + number))
        if progress:
            progress(number + 1, len(portions))
    perturbed = torch.cat(parts)
    calls = torch.full((len(rows),), steps * (1 + len(_SCALES)) + 1)
    images = unchanged(target.tower, pixels, goal, rows)
    images.keep_worse(AttackedImages(perturbed, margins_of(target.tower, perturbed, goal, rows), calls), rows)
    return edit(target.tower.encode(images.pixels).cpu().numpy()), images


def _mean_texts(target: Target, queries: QuerySet, edited: Sequence[Perturbed]) -> Tensor:
    """Return for each image the mean vector of its texts, float32 [n, dim].

    The mean cosine to a set of texts is the cosine to their mean, up to its length.
    """
    sets = [[one.text, *others] for one, others in zip(edited, target.companions(queries), strict=True)]
    vectors = target.encode([text for one in sets for text in one])
    ends = np.cumsum([len(one) for one in sets])
    return torch.from_numpy(np.stack([part.mean(0) for part in np.split(vectors, ends[:-1])]))


def _climb(tower: PixelTower, original: Tensor, against: Tensor, threat: Threat, steps: int, seed: int) -> Tensor:
    """Move images [b, 3, h, w] away from texts [b, dim] at all sizes at once; the result is on whole levels."""
    if threat.eps == 0:
        return original
    now = threat.random_start(original, torch.Generator().manual_seed(seed))
    for _ in range(steps):
        leaf = now.detach().requires_grad_()
        with torch.enable_grad():
            cosines = sum((tower(view) * against).sum() for view in _views(leaf))
            (gradient,) = torch.autograd.grad(-torch.as_tensor(cosines), leaf)
        now = threat.project(original, now + 1.25 / steps * threat.eps * 2 * threat.ascent(gradient))
    return threat.on_levels(original, now)


def _views(pixels: Tensor) -> list[Tensor]:
    """Return images as they are and resized to each scale and back."""
    size = pixels.shape[-2:]
    views = [pixels]
    for scale in _SCALES:
        other = [max(1, round(scale * side)) for side in size]
        resized = F.interpolate(pixels, size=other, mode="bilinear", align_corners=False)
        views.append(F.interpolate(resized, size=size, mode="bilinear", align_corners=False))
    return views
