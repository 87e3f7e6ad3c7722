"""FGSM (Goodfellow et al. 2015) and projected gradient descent (Madry et al. 2018)."""

from __future__ import annotations

import torch
from torch import Tensor

from kivuko.errors import UsageError
from kivuko.perturbations.image.goal import (
    AttackedImages,
    ImageGoal,
    Loss,
    LossName,
    Progress,
    broken,
    loss_of,
    rounds,
    unchanged,
)
from kivuko.perturbations.image.pixel_tower import PixelTower
from kivuko.perturbations.image.threat import Threat


def fgsm(
    tower: PixelTower,
    pixels: Tensor,
    goal: ImageGoal,
    threat: Threat,
    *,
    loss: LossName | Loss = "ce",
    seed: int = 0,
    progress: Progress | None = None,
) -> AttackedImages:
    """Take one step as long as the radius along the gradient at the image; see :func:`pgd`."""
    return pgd(
        tower, pixels, goal, threat, steps=1, step_size=1.0, random_start=False, loss=loss, seed=seed, progress=progress
    )  # fmt: skip


def pgd(
    tower: PixelTower,
    pixels: Tensor,  # float32 [n, 3, h, w] in 0-1 on whole levels; row i is attacked image i of the goal
    goal: ImageGoal,
    threat: Threat,
    *,
    steps: int = 10,
    step_size: float | None = None,  # in radii; None: 2.5 / steps, so that the far side can be reached
    restarts: int = 1,  # with ``random_start`` each from another point
    random_start: bool = True,
    loss: LossName | Loss = "ce",  # a name of ``LOSSES``, or a function of unit vectors and rows
    early_stop: bool = True,  # stop with an image once the attacker has won
    seed: int = 0,
    progress: Progress | None = None,
) -> AttackedImages:
    """Follow the gradient's direction in steps of one size, back into the ball after each.

    Gradients are taken at the nearest 8-bit image, so that what the model gets wrong can be saved. Of all these
    images, the original too, the one with the lowest margin is kept.
    """
    if steps < 1 or restarts < 1:
        raise UsageError(f"PGD with {steps} steps and {restarts} restarts: both must be above 0.")
    climbed = loss if callable(loss) else loss_of(goal, loss)
    everything = torch.arange(len(pixels))
    worst = unchanged(tower, pixels, goal, everything)
    if threat.allows_nothing:
        return worst
    size = threat.eps * (2.5 / steps if step_size is None else step_size)
    generator = torch.Generator().manual_seed(seed)
    for _, rows in rounds(goal, worst, restarts, early_stop, progress):
        first = threat.random_start(pixels[rows], generator) if random_start else pixels[rows]
        _follow(tower, goal, threat, climbed, pixels[rows], first, rows, size, steps, early_stop, worst)
    return worst


def _follow(
    tower: PixelTower, goal: ImageGoal, threat: Threat, loss: Loss, original: Tensor, now: Tensor, rows: Tensor,
    size: float, steps: int, early_stop: bool, worst: AttackedImages,
) -> None:  # fmt: skip
    """Take the steps with one batch, and keep worse images in ``worst``."""
    for _ in range(steps):
        seen = threat.on_levels(original, now)
        _, gradient, vectors = gradient_pass(tower, seen, loss, rows)
        won = _note(worst, goal, seen, vectors, rows)
        if early_stop and won.any():
            original, now, gradient, rows = original[~won], now[~won], gradient[~won], rows[~won]
        if not len(rows):
            return
        now = threat.project(original, now + size * threat.ascent(gradient))
    seen = threat.on_levels(original, now)
    with torch.no_grad():
        _note(worst, goal, seen, tower(seen), rows)


def _note(worst: AttackedImages, goal: ImageGoal, seen: Tensor, vectors: Tensor, rows: Tensor) -> Tensor:
    """Keep the images that are worse than before; return where the attacker has won, [batch]."""
    margins = goal.margins(vectors, rows)
    worst.keep_worse(AttackedImages(seen, margins, torch.ones_like(rows)), rows)
    return broken(goal, margins)


def gradient_pass(tower: PixelTower, pixels: Tensor, loss: Loss, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the loss [b], its gradient by the pixels [b, 3, h, w], and the unit vectors [b, dim]: one pass."""
    leaf = pixels.detach().requires_grad_()
    with torch.enable_grad():
        vectors = tower(leaf)
        value = loss(vectors, rows)
        (gradient,) = torch.autograd.grad(value.sum(), leaf)
    return value.detach(), gradient, vectors.detach()
