"""APGD: projected gradient ascent that sets its own step size.

Croce & Hein 2020, "Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse Parameter-free Attacks"
(arXiv 2003.01690), algorithm 1: momentum; at checkpoints the step is halved for images whose loss has stalled, which
then continue from their best pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

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
    finished,
    loss_of,
    rounds,
    unchanged,
)
from kivuko.perturbations.image.pgd import gradient_pass
from kivuko.perturbations.image.pixel_tower import PixelTower
from kivuko.perturbations.image.threat import Threat

_MOMENTUM = 0.75
_RISING = 0.75  # share of a span's steps that must rise for the step size to stay


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
    progress: Progress | None = None,
) -> AttackedImages:
    """Attack images with APGD."""
    if steps < 1 or restarts < 1:
        raise UsageError(f"APGD with {steps} steps and {restarts} restarts: both must be above 0.")
    everything = torch.arange(len(pixels))
    worst = unchanged(tower, pixels, goal, everything)
    if threat.allows_nothing:
        return worst
    climbed = loss if callable(loss) else loss_of(goal, loss, aims)
    generator = torch.Generator().manual_seed(seed)
    run = _Run(tower, goal, threat, climbed, steps, early_stop)
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
