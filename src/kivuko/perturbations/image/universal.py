"""One perturbation for all images (Moosavi-Dezfooli et al. 2017, arXiv 1610.08401).

By gradients over batches, with a loss that is cut off, so that images which are lost already pull no more and all
effort goes to the others (Shafahi et al. 2020, "Universal Adversarial Training", arXiv 1811.11304).
"""

from __future__ import annotations

import torch
from torch import Tensor

from kivuko.errors import DataError
from kivuko.perturbations.image.goal import BATCH, AttackedImages, ImageGoal, Progress, loss_of, margins_of
from kivuko.perturbations.image.pgd import gradient_pass
from kivuko.perturbations.image.pixel_tower import PixelTower
from kivuko.perturbations.image.threat import Threat

ENOUGH = 0.05  # a lead of rivals, in cosine, from which an image is lost for good


def universal(
    tower: PixelTower,
    pixels: Tensor,  # float32 [n, 3, h, w] in 0-1, the images that it is learned on
    goal: ImageGoal,
    threat: Threat,
    *,
    epochs: int = 10,  # passes over them
    step_size: float = 0.1,  # in radii, for signs of the gradient summed over a batch
    seed: int = 0,
    progress: Progress | None = None,
) -> Tensor:
    """Return one change [1, 3, h, w] inside the radius that harms as many images as it can; see apply_universal."""
    if not len(pixels):
        raise DataError("no image to learn a universal perturbation on: give at least one.")
    margin, generator = loss_of(goal, "margin"), torch.Generator().manual_seed(seed)

    def loss(vectors: Tensor, rows: Tensor) -> Tensor:
        return margin(vectors, rows).clamp_max(ENOUGH)

    change = torch.zeros_like(pixels[:1])
    for epoch in range(epochs):
        for rows in torch.randperm(len(pixels), generator=generator).split(BATCH):
            _, gradient, _ = gradient_pass(tower, (pixels[rows] + change).clamp(0, 1), loss, rows)
            change = change + step_size * threat.eps * threat.ascent(gradient.sum(0, keepdim=True))
            change = threat.shorten(change)
        if progress:
            progress(epoch + 1, epochs)
    return change


def apply_universal(
    tower: PixelTower, pixels: Tensor, goal: ImageGoal, threat: Threat, change: Tensor
) -> AttackedImages:
    """Add a universal change [1, 3, h, w] to images, whether it harms them or not."""
    rows = torch.arange(len(pixels))
    changed = threat.on_levels(pixels, threat.project(pixels, pixels + change))
    return AttackedImages(changed, margins_of(tower, changed, goal, rows), torch.ones_like(rows))
