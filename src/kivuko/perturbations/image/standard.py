"""Attacks on images by random search (Square), and the ensemble of attacks that is the standard protocol.

Square: Andriushchenko et al. 2020 (arXiv 1912.00049); for L2 simplified: the square gets a random direction and the
whole change is scaled back to the radius. The ensemble is in the manner of AutoAttack (Croce & Hein 2020): APGD on
cross entropy, targeted APGD on the difference of logits ratio, and Square, which masked gradients do not mislead. Where
one score decides, every gradient loss leads the same way, and a second run of APGD takes the targeted one's place.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from kivuko.errors import UsageError
from kivuko.perturbations.image.goal import AttackedImages, ImageGoal, Threat, broken, finished, margins_of, unchanged
from kivuko.perturbations.image.pgd import apgd
from kivuko.perturbations.image.pixel_tower import BATCH, PixelTower
from kivuko.progress import Report

_SHARE = 0.8  # of the image that the first squares cover
_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # of 10,000 queries: when the share is halved
TARGETS = 9  # candidates that targeted APGD pulls up in turn: the nearest rivals


def square(
    tower: PixelTower,
    pixels: Tensor,  # float32 [n, 3, h, w] in 0-1 on whole levels; row i is attacked image i of the goal
    goal: ImageGoal,
    threat: Threat,
    *,
    queries: int = 1000,  # calls of the tower for each image
    early_stop: bool = True,  # stop with an image once the attacker has won
    seed: int = 0,
    progress: Report | None = None,
) -> AttackedImages:
    """Attack images by random search over squares."""
    if queries < 1:
        raise UsageError(f"a Square attack with {queries} queries: give at least 1.")
    everything = torch.arange(len(pixels))
    worst = unchanged(tower, pixels, goal, everything)
    if threat.allows_nothing:
        return worst
    generator = torch.Generator().manual_seed(seed)
    total, done = len(everything.split(BATCH)) * queries, 0
    lowest, spent = pixels.clone(), torch.zeros(len(pixels), dtype=torch.long)
    for part in everything.split(BATCH):
        rows = part[~broken(goal, worst.margins[part])] if early_stop else part
        now = _stripes(pixels[rows], threat, generator)
        margins = margins_of(tower, now, goal, rows)
        spent[rows] += 1
        lowest[rows] = now
        for query in range(1, queries):
            if early_stop and (won := broken(goal, margins)).any():
                rows, now, margins = rows[~won], now[~won], margins[~won]
            if not len(rows):
                break
            tried = _with_square(now, pixels[rows], threat, _side(query, queries, pixels.shape[-2:]), generator)
            new = margins_of(tower, tried, goal, rows)
            spent[rows] += 1
            better = new < margins
            now = torch.where(better[:, None, None, None], tried, now)
            margins = torch.minimum(new, margins)
            lowest[rows[better]] = tried[better]
            done += 1
            if progress:
                progress(done, total)
    worst.keep_worse(finished(tower, pixels, lowest, goal, everything, threat, spent), everything)
    return worst


def _stripes(original: Tensor, threat: Threat, generator: torch.Generator) -> Tensor:
    """Change each column of each channel by plus or minus the radius."""
    n, channels, _, width = original.shape
    signs = _signs((n, channels, 1, width), generator)
    return _within(original, signs.expand_as(original), threat)


def _with_square(now: Tensor, original: Tensor, threat: Threat, side: int, generator: torch.Generator) -> Tensor:
    """Put one square of a new change in each image, each at a random place."""
    n, channels, height, width = now.shape
    top = torch.randint(height - side + 1, (n, 1), generator=generator)
    left = torch.randint(width - side + 1, (n, 1), generator=generator)
    in_rows = (torch.arange(height) >= top) & (torch.arange(height) < top + side)  # [n, height]
    in_columns = (torch.arange(width) >= left) & (torch.arange(width) < left + side)
    inside = in_rows[:, None, :, None] & in_columns[:, None, None, :]  # [n, 1, height, width]
    signs = _signs((n, channels, 1, 1), generator)
    if threat.norm == "linf":
        tried = torch.where(inside, original + signs * threat.eps, now).clamp(0, 1)
        return tried.contiguous(memory_format=torch.channels_last)
    bump = threat.eps / (side * channels**0.5)
    return threat.project(original, torch.where(inside, now + signs * bump, now)).contiguous(
        memory_format=torch.channels_last
    )


def _within(original: Tensor, change: Tensor, threat: Threat) -> Tensor:
    scale = threat.eps if threat.norm == "linf" else threat.eps / change[0].numel() ** 0.5
    return threat.project(original, original + scale * change).contiguous(memory_format=torch.channels_last)


def _side(query: int, queries: int, size: torch.Size) -> int:
    """Return the side of the squares after so many of the queries; the published schedule, scaled to the budget."""
    at = query / queries * 10_000
    area = _SHARE * size[0] * size[1] / float(2 ** sum(at > when for when in _HALVINGS))
    return min(max(round(math.sqrt(area)), 1), int(min(size)))


def _signs(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randint(2, shape, generator=generator) * 2.0 - 1


def standard(
    tower: PixelTower,
    pixels: Tensor,  # float32 [n, 3, h, w] in 0-1 on whole levels; row i is attacked image i of the goal
    goal: ImageGoal,
    threat: Threat,
    *,
    steps: int = 100,  # of APGD, in each of its runs
    queries: int = 1000,  # of Square
    seed: int = 0,
    progress: Report | None = None,
) -> AttackedImages:
    """Attack images with the ensemble; each keeps the worst of all parts."""
    if threat.allows_nothing:
        return unchanged(tower, pixels, goal, torch.arange(len(pixels)))
    climb = partial(apgd, tower, threat=threat, steps=steps)
    aimed: Callable[..., AttackedImages] = partial(_at_rivals, tower, threat=threat, steps=steps, seed=seed + 2)
    if goal.one_score or goal.targeted:
        aimed = partial(climb, loss="margin", seed=seed + 1)
    attacks = (partial(climb, seed=seed), aimed, partial(square, tower, threat=threat, queries=queries, seed=seed))
    parts = [lambda rows, run=one: run(pixels[rows], GoalRows(goal, rows)) for one in attacks]
    return _in_turn(tower, pixels, goal, parts, progress)


def _at_rivals(
    tower: PixelTower, pixels: Tensor, goal: ImageGoal, threat: Threat, steps: int, seed: int
) -> AttackedImages:
    """Pull up the nearest rivals of the right candidate one after another."""
    scores, labels = goal.logits(tower.encode(pixels), torch.arange(len(pixels)))
    rivals = scores.scatter(1, labels[:, None], -2.0).topk(min(TARGETS, scores.shape[1] - 1), dim=1).indices

    def pull(number: int, rows: Tensor) -> AttackedImages:
        return apgd(
            tower, pixels[rows], GoalRows(goal, rows), threat, steps=steps, loss="targeted-dlr",
            aims=rivals[rows, number], seed=seed + number,
        )  # fmt: skip

    return _in_turn(tower, pixels, goal, [partial(pull, number) for number in range(rivals.shape[1])])


def _in_turn(
    tower: PixelTower, pixels: Tensor, goal: ImageGoal, parts: Sequence[Callable[[Tensor], AttackedImages]],
    progress: Report | None = None,
) -> AttackedImages:  # fmt: skip
    """Run attacks one after another, each on the rows that none before it broke."""
    worst = unchanged(tower, pixels, goal, torch.arange(len(pixels)))
    for number, part in enumerate(parts, 1):
        left = (~broken(goal, worst.margins)).nonzero()[:, 0]
        if len(left):
            worst.keep_worse(part(left), left)
        if progress:
            progress(number, len(parts))
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
