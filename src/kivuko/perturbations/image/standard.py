"""The standard protocol: an ensemble of attacks in which each goes on with what the ones before left standing.

In the manner of AutoAttack (Croce & Hein 2020): APGD on cross entropy, targeted APGD on the difference of logits ratio,
and Square, which needs no gradients and so also finds what masked gradients hide. Where one score decides (search by
text with one image perturbed) every gradient loss leads the same way, and a second run of APGD takes their place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from kivuko.errors import UsageError
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
    """Attack images with the ensemble; each keeps the worst that any part found."""
    return standard_curve(
        tower, pixels, goal, [threat], steps=steps, queries=queries, seed=seed, progress=progress
    )[0]  # fmt: skip


def standard_curve(
    tower: PixelTower,
    pixels: Tensor,
    goal: ImageGoal,
    threats: Sequence[Threat],  # of one norm, in rising order of their radii
    *,
    steps: int = 100,
    queries: int = 1000,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[AttackedImages]:
    """Attack images within several radii of one norm, the smallest first.

    What breaks an image within a smaller radius breaks it within a larger one too, so only what is left standing is
    attacked again within the larger: robust accuracy never rises with the radius.
    """
    if len({threat.norm for threat in threats}) > 1 or any(a.eps > b.eps for a, b in pairwise(threats)):
        raise UsageError("the radii of a curve must be of one norm and in rising order.")
    worst = unchanged(tower, pixels, goal, torch.arange(len(pixels)))
    curve = []
    for number, threat in enumerate(threats):
        if not threat.allows_nothing:
            parts = _parts(tower, goal, threat, steps, queries, seed)
            for place, part in enumerate(parts):
                worst = _go_on(part, worst, pixels, goal)
                if progress:
                    progress(number * len(parts) + place + 1, len(threats) * len(parts))
        curve.append(worst)
    return curve


Part = Callable[[Tensor, ImageGoal], AttackedImages]  # (original pixels, their goal) -> what was found


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
        found = apgd(
            tower, pixels[left], Some(goal, left), threat, steps=steps, loss="targeted-dlr",
            aims=rivals[left, number], seed=seed + 2 + number,
        )  # fmt: skip
        worst = _merged(worst, found, left)
    return worst


def _go_on(part: Part, worst: AttackedImages, pixels: Tensor, goal: ImageGoal) -> AttackedImages:
    """Run one part of the ensemble on the images that still stand."""
    left = (~broken(goal, worst.margins)).nonzero()[:, 0]
    return _merged(worst, part(pixels[left], Some(goal, left)), left) if len(left) else worst


def _merged(worst: AttackedImages, found: AttackedImages, rows: Tensor) -> AttackedImages:
    pixels, margins, calls = worst.pixels.clone(), worst.margins.clone(), worst.calls.clone()
    worse = found.margins < margins[rows]
    pixels[rows[worse]], margins[rows[worse]] = found.pixels[worse], found.margins[worse]
    calls[rows] += found.calls
    return AttackedImages(pixels, margins, calls)


class Some:
    """A goal's rows ``which``, int64 [m], as a goal of m images."""

    def __init__(self, goal: ImageGoal, which: Tensor) -> None:
        self.goal, self.which = goal, which
        self.targeted, self.one_score = goal.targeted, goal.one_score

    def __len__(self) -> int:
        return len(self.which)

    def margins(self, vectors: Tensor, rows: Tensor) -> Tensor:
        """See ImageGoal."""
        return self.goal.margins(vectors, self.which[rows])

    def logits(self, vectors: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """See ImageGoal."""
        return self.goal.logits(vectors, self.which[rows])
