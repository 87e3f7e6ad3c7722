"""The standard protocol: an ensemble of attacks, each on the images that the ones before did not break.

In the manner of AutoAttack (Croce & Hein 2020): APGD on cross entropy, targeted APGD on the difference of logits ratio,
and Square, which needs no gradients and so is not misled by masked ones. Where one score decides (search by
text with one image perturbed) every gradient loss leads the same way, and a second run of APGD takes their place.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from kivuko.perturbations.image.apgd import apgd
from kivuko.perturbations.image.goal import AttackedImages, ImageGoal, Progress, broken, unchanged
from kivuko.perturbations.image.pixel_tower import PixelTower
from kivuko.perturbations.image.square import square
from kivuko.perturbations.image.threat import Threat

TARGETS = 9  # candidates that targeted APGD pulls up in turn: the nearest rivals


def standard(
    tower: PixelTower,
    pixels: Tensor,  # float32 [n, 3, h, w] in 0-1 on whole levels; row i is attacked image i of the goal
    goal: ImageGoal,
    threat: Threat,
    *,
    steps: int = 100,  # of APGD, in each of its runs
    queries: int = 1000,  # of Square
    seed: int = 0,
    progress: Progress | None = None,
) -> AttackedImages:
    """Attack images with the ensemble; each keeps the worst of all parts."""
    worst = unchanged(tower, pixels, goal, torch.arange(len(pixels)))
    if threat.allows_nothing:
        return worst
    parts = _parts(tower, goal, threat, steps, queries, seed)
    for number, part in enumerate(parts, 1):
        left = (~broken(goal, worst.margins)).nonzero()[:, 0]
        if len(left):
            worst.keep_worse(part(pixels[left], GoalRows(goal, left)), left)
        if progress:
            progress(number, len(parts))
    return worst


Part = Callable[[Tensor, ImageGoal], AttackedImages]  # (original pixels, their goal) -> perturbed ones


def _parts(tower: PixelTower, goal: ImageGoal, threat: Threat, steps: int, queries: int, seed: int) -> tuple[Part, ...]:
    def first(x: Tensor, g: ImageGoal) -> AttackedImages:
        return apgd(tower, x, g, threat, steps=steps, loss="ce", seed=seed)

    def second(x: Tensor, g: ImageGoal) -> AttackedImages:
        return apgd(tower, x, g, threat, steps=steps, loss="margin", seed=seed + 1)

    def last(x: Tensor, g: ImageGoal) -> AttackedImages:
        return square(tower, x, g, threat, queries=queries, seed=seed)

    def aimed(x: Tensor, g: ImageGoal) -> AttackedImages:
        return _at_rivals(tower, x, g, threat, steps, seed)

    return (first, second, last) if goal.one_score or goal.targeted else (first, aimed, last)


def _at_rivals(
    tower: PixelTower, pixels: Tensor, goal: ImageGoal, threat: Threat, steps: int, seed: int
) -> AttackedImages:
    """Pull up the nearest rivals of the right candidate one after another; broken images are left alone."""
    rows = torch.arange(len(pixels))
    scores, labels = goal.logits(tower.encode(pixels), rows)
    rivals = scores.scatter(1, labels[:, None], -2.0).topk(min(TARGETS, scores.shape[1] - 1), dim=1).indices
    worst = unchanged(tower, pixels, goal, rows)
    for number in range(rivals.shape[1]):
        left = rows[~broken(goal, worst.margins)]
        if not len(left):
            break
        aimed = apgd(
            tower, pixels[left], GoalRows(goal, left), threat, steps=steps, loss="targeted-dlr",
            aims=rivals[left, number], seed=seed + 2 + number,
        )  # fmt: skip
        worst.keep_worse(aimed, left)
    return worst


class GoalRows:
    """A goal's rows ``which``, int64 [m], as a goal of m images."""

    def __init__(self, goal: ImageGoal, which: Tensor) -> None:
        self.goal, self.which = goal, which
        self.targeted, self.one_score = goal.targeted, goal.one_score

    def __len__(self) -> int:
        return len(self.which)

    def margins(self, vectors: Tensor, rows: Tensor) -> Tensor:
        return self.goal.margins(vectors, self.which[rows])

    def logits(self, vectors: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        return self.goal.logits(vectors, self.which[rows])
