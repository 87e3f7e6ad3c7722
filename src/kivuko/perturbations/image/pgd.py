"""Attacks on images by gradients: FGSM (Goodfellow et al. 2015), PGD (Madry et al. 2018), APGD, and one change for all.

APGD sets its own step size (Croce & Hein 2020, arXiv 2003.01690, algorithm 1). The one change (Moosavi-Dezfooli et
al. 2017, arXiv 1610.08401) is learned as in "Universal Adversarial Training" (Shafahi et al. 2020, arXiv 1811.11304).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from kivuko.errors import DataError, UsageError
from kivuko.perturbations.image.goal import (
    AttackedImages,
    ImageGoal,
    Loss,
    LossName,
    Threat,
    broken,
    finished,
    loss_of,
    margins_of,
    rounds,
    unchanged,
)
from kivuko.perturbations.image.pixel_tower import BATCH, PixelTower
from kivuko.progress import Report

_MOMENTUM = 0.75  # of APGD
_RISING = 0.75  # share of a span's steps that must rise for APGD's step size to stay
_ENOUGH = (
    0.05  # a lead of rivals, in cosine, from which an image is lost for good: there universal changes stop pulling
)


def fgsm(
    tower: PixelTower,
    pixels: Tensor,
    goal: ImageGoal,
    threat: Threat,
    *,
    loss: LossName | Loss = "ce",
    seed: int = 0,
    progress: Report | None = None,
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
    progress: Report | None = None,
) -> AttackedImages:
    """Follow the gradient's direction in steps of one size, back into the ball after each.

    Gradients are taken at the nearest 8-bit image, so that what the model gets wrong can be saved. Of all these
    images, the original too, the one with the lowest margin is kept.
    """
    if steps < 1 or restarts < 1:
        raise UsageError(f"PGD with {steps} steps and {restarts} restarts: both must be above 0.")
    climbed = loss_of(goal, loss)
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


def apgd(
    tower: PixelTower,
    pixels: Tensor,  # float32 [n, 3, h, w] in 0-1 on whole levels; row i is attacked image i of the goal
    goal: ImageGoal,
    threat: Threat,
    *,
    steps: int = 100,  # gradients per image and restart
    restarts: int = 1,
    loss: LossName | Loss = "ce",  # a name of ``LOSSES``, or a function of unit vectors and rows
    aims: Tensor | None = None,  # int64 [n], see ``loss_of``
    start: Tensor | None = None,  # pixels to begin at, inside the ball; None: random
    early_stop: bool = True,  # stop with an image once the attacker has won
    seed: int = 0,
    progress: Report | None = None,
) -> AttackedImages:
    """Attack images with APGD."""
    if steps < 1 or restarts < 1:
        raise UsageError(f"APGD with {steps} steps and {restarts} restarts: both must be above 0.")
    everything = torch.arange(len(pixels))
    worst = unchanged(tower, pixels, goal, everything)
    if threat.allows_nothing:
        return worst
    generator = torch.Generator().manual_seed(seed)
    run = _Run(tower, goal, threat, loss_of(goal, loss, aims), steps, early_stop)
    for restart, rows in rounds(goal, worst, restarts, early_stop, progress):
        first = threat.random_start(pixels[rows], generator) if start is None or restart else start[rows]
        lowest, spent = run.climb(pixels[rows], first, rows)
        worst.keep_worse(finished(tower, pixels[rows], lowest, goal, rows, threat, spent), rows)
    return worst


@dataclass
class _Climb:
    """The state of each image of a batch; every field has a row per image that is still attacked."""

    place: Tensor  # int64, its number in the batch
    rows: Tensor  # int64, its number in the goal
    original: Tensor
    now: Tensor
    before: Tensor
    gradient: Tensor
    best: Tensor
    best_gradient: Tensor
    value: Tensor
    best_value: Tensor
    lowest: Tensor  # margin seen so far
    step: Tensor  # step size, on the pixel scale
    rises: Tensor  # steps of this span after which the loss rose
    halved: Tensor  # whether the last checkpoint halved the step
    best_then: Tensor  # best value at the last checkpoint

    def keep(self, which: Tensor) -> None:
        for name, value in list(vars(self).items()):
            setattr(self, name, value[which])

    def checkpoint(self, span: int) -> None:
        """Halve the step where too few steps of the span rose, or where neither step size nor best value changed."""
        stalled = self.rises < _RISING * span
        stuck = ~self.halved & (self.best_value <= self.best_then)
        self.halved = stalled | stuck
        self.step = torch.where(self.halved, self.step / 2, self.step)
        back = self.halved[:, None, None, None]
        self.now, self.gradient = (
            torch.where(back, self.best, self.now),
            torch.where(back, self.best_gradient, self.gradient),
        )
        self.value = torch.where(self.halved, self.best_value, self.value)
        self.best_then, self.rises = self.best_value.clone(), torch.zeros_like(self.rises)


@dataclass(frozen=True)
class _Run:
    tower: PixelTower
    goal: ImageGoal
    threat: Threat
    loss: Loss
    steps: int
    early_stop: bool

    def climb(self, original: Tensor, first: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the pixels with the lowest margin seen [b, 3, h, w], and the calls spent on each int64 [b]."""
        count = len(rows)
        value, gradient, margins = self._look(first, rows)
        lowest, spent = first.clone(), torch.ones(count, dtype=torch.long)
        at = _Climb(
            place=torch.arange(count), rows=rows, original=original, now=first, before=first, gradient=gradient,
            best=first, best_gradient=gradient, value=value, best_value=value.clone(), lowest=margins,
            step=torch.full((count,), 2 * self.threat.eps), rises=torch.zeros(count),
            halved=torch.zeros(count, dtype=torch.bool), best_then=value.clone(),
        )  # fmt: skip
        self._retire(at, margins, spent)
        span, since = max(int(0.22 * self.steps), 1), 0
        shrink, least = max(int(0.03 * self.steps), 1), max(int(0.06 * self.steps), 1)
        for step in range(self.steps):
            if not len(at.place):
                break
            self._move(at, _MOMENTUM if step else 1.0)
            value, at.gradient, margins = self._look(at.now, at.rows)
            spent[at.place] += 1
            lower = margins < at.lowest
            lowest[at.place[lower]] = at.now[lower]
            at.lowest = torch.minimum(margins, at.lowest)
            at.rises += value > at.value
            higher = (value > at.best_value)[:, None, None, None]
            at.best = torch.where(higher, at.now, at.best)
            at.best_gradient = torch.where(higher, at.gradient, at.best_gradient)
            at.value, at.best_value = value, torch.maximum(value, at.best_value)
            self._retire(at, margins, spent)
            since += 1
            if since == span:
                at.checkpoint(span)
                since, span = 0, max(span - shrink, least)
        return lowest, spent

    def _move(self, at: _Climb, momentum: float) -> None:
        """Take a step along the gradient and part of the last one, back into the ball."""
        ahead = at.now + at.step[:, None, None, None] * self.threat.ascent(at.gradient)
        ahead = self.threat.project(at.original, ahead)
        mixed = at.now + momentum * (ahead - at.now) + (1 - momentum) * (at.now - at.before)
        at.before, at.now = at.now, self.threat.project(at.original, mixed)

    def _look(self, pixels: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the loss [b], its gradient [b, 3, h, w] and the margins [b]: one pass through the tower."""
        value, gradient, vectors = gradient_pass(self.tower, pixels, self.loss, rows)
        return value, gradient, self.goal.margins(vectors, rows)

    @torch.no_grad()
    def _retire(self, at: _Climb, margins: Tensor, spent: Tensor) -> None:
        """Stop attacking images that the attacker has won, if early stopping is on and rounding keeps the win."""
        if not self.early_stop or not (won := broken(self.goal, margins) & (margins <= at.lowest)).any():
            return
        rounded = self.threat.on_levels(at.original[won], at.now[won])
        spent[at.place[won]] += 1
        sure = won.clone()
        sure[won] = broken(self.goal, self.goal.margins(self.tower(rounded), at.rows[won]))
        at.keep(~sure)


def universal(
    tower: PixelTower,
    pixels: Tensor,  # float32 [n, 3, h, w] in 0-1, the images that it is learned on
    goal: ImageGoal,
    threat: Threat,
    *,
    epochs: int = 10,  # passes over them
    step_size: float = 0.1,  # in radii, for signs of the gradient summed over a batch
    seed: int = 0,
    progress: Report | None = None,
) -> Tensor:
    """Return one change [1, 3, h, w] inside the radius that harms as many images as it can; see apply_universal."""
    if not len(pixels):
        raise DataError("no image to learn a universal perturbation on: give at least one.")
    margin, generator = loss_of(goal, "margin"), torch.Generator().manual_seed(seed)

    def loss(vectors: Tensor, rows: Tensor) -> Tensor:
        return margin(vectors, rows).clamp_max(_ENOUGH)

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
