"""Attacks on images: the ball of allowed changes (threat model), the attacker's goals, losses and results."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from kivuko.errors import UsageError
from kivuko.perturbations.catalog import LARGEST_RADIUS, LEVELS
from kivuko.perturbations.image.pixel_tower import BATCH, PixelTower
from kivuko.progress import Report

Norm = Literal["linf", "l2"]
_TIE, _BISECTIONS = 0.02, 12
_SLACK = 1e-6  # of one level: 2 / 255 * 255 must count as two whole levels in spite of rounding


@dataclass(frozen=True)
class Threat:
    """A ball of radius ``eps`` on the pixel scale 0-1, intersected with the cube [0, 1]."""

    norm: Norm  # "linf", the largest change of any value, or "l2", the Euclidean length of the change
    eps: float  # the radius; for "linf" in 0-1, for "l2" in 0-1000. A radius of 0 allows the original only.

    def __post_init__(self) -> None:
        if self.norm not in get_args(Norm):
            raise UsageError(f"unknown norm '{self.norm}': choose linf or l2.")
        largest = 1 if self.norm == "linf" else LARGEST_RADIUS
        if not 0 <= self.eps <= largest:  # NaN too
            raise UsageError(f"eps={self.eps} is no {self.norm} radius: choose one from 0 to {largest:g} (2/255, say).")

    @property
    def allows_nothing(self) -> bool:
        """True if the radius is below one level, so that only the original is inside."""
        return self.eps * LEVELS + _SLACK < 1

    def project(self, original: Tensor, pixels: Tensor) -> Tensor:
        """Bring pixels [images, 3, height, width] back inside the ball and the cube.

        For "linf" this is the nearest such point. For "l2" the change is shortened and then cut by the cube, which
        can only shorten it further: inside, if not always nearest.
        """
        return self.shorten(pixels - original).add_(original).clamp_(0, 1)

    def shorten(self, change: Tensor) -> Tensor:
        """Bring changes [images, 3, height, width] into the ball around zero."""
        if self.norm == "linf":
            return change.clamp(-self.eps, self.eps)
        return change * (self.eps / _length(change).clamp_min(1e-12)).clamp_max(1)

    def ascent(self, gradient: Tensor) -> Tensor:
        """Return the steepest direction of length 1 in this norm; zero where the gradient is."""
        if self.norm == "linf":
            return gradient.sign()
        return gradient / _length(gradient).clamp_min(1e-30)

    def random_start(self, original: Tensor, generator: torch.Generator) -> Tensor:
        """Draw a point inside for every image, uniform in the ball and then cut by the cube."""
        if self.norm == "linf":
            change = torch.empty_like(original).uniform_(-self.eps, self.eps, generator=generator)
        else:
            change = torch.empty_like(original).normal_(generator=generator)
            share = torch.empty_like(change[:, :1, :1, :1]).uniform_(generator=generator)
            change *= self.eps * share ** (1 / original[0].numel()) / _length(change)
        return self.project(original, change.add_(original))

    def on_levels(self, original: Tensor, pixels: Tensor) -> Tensor:
        """Round pixels to 8-bit values so that the rounded image is still inside the ball and the cube.

        For "linf" a radius counts in whole levels, rounded down. For "l2" the values furthest from their level below
        are rounded away from the original, for as long as the change does not grow longer. Both arguments: float32
        [images, 3, height, width]; ``original`` is on whole levels, ``pixels`` may be a little outside the ball.
        """
        if self.norm == "linf":
            reach = int(self.eps * LEVELS + _SLACK)
            steps = ((pixels - original) * LEVELS).round_().clamp_(-reach, reach)
        else:
            steps = whole_steps((pixels - original) * LEVELS, self.eps * LEVELS)
        # Sums of whole numbers: exact, so that a level is the same float wherever it comes from.
        return (original * LEVELS).round_().add_(steps).clamp_(0, LEVELS).div_(LEVELS)


def whole_steps(change: Tensor, radius: float) -> Tensor:
    """Round changes [images, 3, height, width], in levels, to whole ones no longer than they are and the radius (L2).

    Values are rounded toward zero; the length that this frees is spent on those with the largest fractions, above a
    threshold by bisection, which costs a fifth of sorting them. The result is inside exactly, since its whole numbers
    are squared and summed in double precision; where that is too long, the first, shorter rounding is kept.
    """
    flat = change.reshape(len(change), -1)
    nearest = flat.round()  # of a change that is whole but for what float32 errs
    flat = torch.where((flat - nearest).abs() < 1e-4, nearest, flat)
    length = flat.double().norm(dim=1, keepdim=True)
    shorter = radius * (1 - 1e-6) / length.clamp_min(1e-12)  # by more than float32 errs
    flat = flat * torch.where(length > radius, shorter, torch.ones_like(length)).to(flat.dtype)
    size = flat.abs()
    down = size.floor()
    # Equal fractions are distinguished by their place, evenly spread, so that some of them can go up where not all can.
    fraction = size - down + _TIE * (torch.arange(flat.shape[1], device=flat.device) * 0.618034 % 1)
    cost = (2 * down + 1) * (size > down)  # (d + 1)^2 - d^2
    allowed = size.double().square().sum(1, keepdim=True).clamp_max(radius**2) + _SLACK
    spare = (allowed - down.double().square().sum(1, keepdim=True)).float()
    low, high = torch.zeros_like(spare), torch.full_like(spare, 1 + 2 * _TIE)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        fits = (cost * (fraction >= middle)).sum(1, keepdim=True) <= spare
        low, high = torch.where(fits, low, middle), torch.where(fits, middle, high)
    up = down + ((fraction >= high) & (size > down))
    whole: Tensor = torch.where(up.double().square().sum(1, keepdim=True) <= allowed, up, down) * flat.sign()
    return whole.to(change.dtype).reshape(change.shape)


def _length(change: Tensor) -> Tensor:
    """Return the Euclidean length per image, [images, 1, 1, 1]."""
    length: Tensor = change.flatten(1).norm(dim=1)
    return length[:, None, None, None]


class ImageGoal(Protocol):
    """The goal of an attack on images; ``rows``: the images that the vectors belong to.

    ``targeted``: the labeled candidate should win, otherwise lose.
    ``one_score``: a single cosine decides, so every loss pushes the same way and the cheapest will do.
    """

    @property
    def targeted(self) -> bool: ...

    @property
    def one_score(self) -> bool: ...

    def __len__(self) -> int: ...

    def margins(self, vectors: Tensor, rows: Tensor) -> Tensor:
        """Return what the attacker lowers, float [batch], differentiable in the vectors; see :func:`broken`."""
        ...

    def logits(self, vectors: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the cosines with every candidate, float [batch, candidates], and the labeled ones, int64 [batch]."""
        ...


def broken(goal: ImageGoal, margins: Tensor) -> Tensor:
    """Return where the attacker has won, bool: a tie counts against the image, and against a targeted attacker."""
    return margins < 0 if goal.targeted else margins <= 0


@dataclass(frozen=True)
class TextToImage:
    """Search: each image is perturbed alone and looked for by its query among all other images, which stay clean.

    Candidate 0 is the image itself, the others are the other images.
    """

    # unit vectors float32 [images, dim], one query for each attacked image. Of a targeted goal: the query that the
    # image should come first for.
    queries: Tensor
    gallery: Tensor  # unit vectors of the clean images, float32 [images, dim]
    own: Tensor  # row in the gallery of each attacked image, int64 [images]
    targeted: bool = False  # the image should come first, otherwise not
    one_score = True

    def __post_init__(self) -> None:
        if len(self.queries) != len(self.own):
            raise UsageError(f"{len(self.queries)} queries for {len(self.own)} images: there must be one for each.")
        if len(self.gallery) < 2:
            raise UsageError("a gallery of one image: search cannot fail there. Give at least two images.")
        _check_rows(self.own, len(self.gallery), "images")

    def __len__(self) -> int:
        return len(self.own)

    @cached_property
    def best_rival(self) -> Tensor:
        """The cosine of each query with the best other image, float32 [images]."""
        best = self.queries.new_empty(len(self.own))
        for rows in torch.arange(len(self.own), device=self.own.device).split(1024):
            scores = self.queries[rows] @ self.gallery.T
            best[rows] = scores.scatter_(1, self.own[rows, None], -torch.inf).amax(1)
        return best

    def margins(self, vectors: Tensor, rows: Tensor) -> Tensor:
        """Return the lead of the image over the best other image, negated if targeted."""
        lead = self._cosine(vectors, rows) - self.best_rival[rows]
        return -lead if self.targeted else lead

    def logits(self, vectors: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        scores = self.queries[rows] @ self.gallery.T
        scores = scores.scatter(1, self.own[rows, None], scores[:, :1])  # the first image takes the own one's place
        scores = torch.cat([self._cosine(vectors, rows)[:, None], scores[:, 1:]], dim=1)
        return scores, torch.zeros_like(rows)

    def _cosine(self, vectors: Tensor, rows: Tensor) -> Tensor:
        return (vectors * self.queries[rows]).sum(1)


@dataclass(frozen=True)
class ImageToText:
    """Classification: which of the texts is nearest to the image."""

    texts: Tensor  # unit vectors float32 [candidates, dim], no text twice
    labels: Tensor  # the right text of each attacked image, int64 [images]. Of a targeted goal: the wanted one.
    targeted: bool = False  # that text should win, otherwise lose
    one_score = False

    def __post_init__(self) -> None:
        if len(self.texts) < 2:
            raise UsageError("one candidate text: an image cannot be mistaken there. Give at least two texts.")
        _check_rows(self.labels, len(self.texts), "texts")

    def __len__(self) -> int:
        return len(self.labels)

    def margins(self, vectors: Tensor, rows: Tensor) -> Tensor:
        """Return the lead of the labeled text over the best other one, negated if targeted."""
        lead = lead_of(*self.logits(vectors, rows))
        return -lead if self.targeted else lead

    def logits(self, vectors: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        return vectors @ self.texts.T, self.labels[rows]


def lead_of(scores: Tensor, labels: Tensor) -> Tensor:
    """Return the lead of the labeled candidate over the best other one, [batch], from scores [batch, candidates]."""
    others = scores.scatter(1, labels[:, None], -torch.inf)
    return scores.gather(1, labels[:, None])[:, 0] - others.amax(1)


def _check_rows(rows: Tensor, length: int, what: str) -> None:
    outside = rows[(rows < 0) | (rows >= length)]
    if len(outside):
        raise UsageError(f"an image's own is number {int(outside[0])}, but there are {length} {what}.")


@dataclass(frozen=True, eq=False)
class AttackedImages:
    """Perturbed images, on whole levels of an 8-bit image and inside the radius."""

    pixels: Tensor  # float32 [n, 3, h, w]
    margins: Tensor  # float32 [n], of these very pixels; see ``ImageGoal``
    calls: Tensor  # int64 [n], calls of the tower for each image

    def keep_worse(self, other: AttackedImages, rows: Tensor) -> None:
        """Take the perturbations of images ``rows`` where their margin is lower; their calls are added."""
        chosen = other.margins < self.margins[rows]
        worse = rows[chosen]
        self.pixels[worse], self.margins[worse] = other.pixels[chosen], other.margins[chosen]
        self.calls[rows] += other.calls


@torch.no_grad()
def margins_of(tower: PixelTower, pixels: Tensor, goal: ImageGoal, rows: Tensor) -> Tensor:
    """Return the margins of pixels [n, 3, h, w], in batches."""
    parts = zip(pixels.split(BATCH), rows.split(BATCH), strict=True)
    return torch.cat([goal.margins(tower(part), own) for part, own in parts]) if len(rows) else torch.zeros(0)


def finished(
    tower: PixelTower, original: Tensor, pixels: Tensor, goal: ImageGoal, rows: Tensor, threat: Threat, calls: Tensor
) -> AttackedImages:
    """Round to levels and take the margins of what is left."""
    rounded = threat.on_levels(original, pixels)
    return AttackedImages(rounded, margins_of(tower, rounded, goal, rows), calls + 1)


def unchanged(tower: PixelTower, original: Tensor, goal: ImageGoal, rows: Tensor) -> AttackedImages:
    return AttackedImages(original.clone(), margins_of(tower, original, goal, rows), torch.zeros_like(rows))


def rounds(
    goal: ImageGoal, worst: AttackedImages, restarts: int, early_stop: bool, progress: Report | None
) -> Iterator[tuple[int, Tensor]]:
    """Yield (restart, rows int64 [batch]) of the images to attack next, batch by batch.

    With ``early_stop`` images that are broken in ``worst`` are left out.
    """
    parts = torch.arange(len(worst.margins)).split(BATCH)
    for restart in range(restarts):
        for number, part in enumerate(parts):
            rows = part[~broken(goal, worst.margins[part])] if early_stop else part
            if len(rows):
                yield restart, rows
            if progress:
                progress(restart * len(parts) + number + 1, restarts * len(parts))


Loss = Callable[[Tensor, Tensor], Tensor]  # (unit vectors [batch, dim], rows int64 [batch]) -> float [batch]
LossName = Literal["margin", "ce", "dlr", "targeted-dlr"]
LOSSES: tuple[str, ...] = get_args(LossName)

# Cosines lie in [-1, 1]. Times 20, a lead of 0.3 is worth 6 nats, so the softmax neither goes flat over thousands of
# candidates nor rounds to 0 and 1; at the 100 of CLIP it is 30 nats, and float32 has lost the gradient.
CE_SCALE = 20.0


def loss_of(goal: ImageGoal, name: LossName | Loss, aims: Tensor | None = None) -> Loss:
    """Return the loss of a name against a goal; a function as it is.

    - "margin": the lead of the labeled candidate over the best other one, negated.
    - "ce": cross entropy of the cosines times 20.
    - "dlr": the lead over the difference of the largest and third largest score, negated, which does not change with
      the scale of the scores (Croce & Hein 2020, equation 6).
    - "targeted-dlr": the lead over one candidate, divided by the difference of the largest and the mean of the third
      and fourth largest score, negated (equation 7).

    With three candidates or fewer there is nothing to divide by: then both are leads. Against a targeted goal the
    signs are the other way round, and "targeted-dlr" is "dlr". Where one score decides every loss is the margin.

    ``aims``: of "targeted-dlr", the candidate to pull up for each image of the goal, int64 [images].
    """
    if callable(name):
        return name
    if name not in LOSSES:
        raise UsageError(f"unknown loss '{name}': choose one of {', '.join(LOSSES)}.")
    if name == "margin" or goal.one_score:
        return lambda vectors, rows: -goal.margins(vectors, rows)
    if name == "targeted-dlr" and aims is None and not goal.targeted:
        raise UsageError("targeted-dlr needs the candidates to pull up: give aims, or choose dlr.")
    sign = -1 if goal.targeted else 1

    def cross_entropy(vectors: Tensor, rows: Tensor) -> Tensor:
        scores, labels = goal.logits(vectors, rows)
        return sign * F.cross_entropy(scores * CE_SCALE, labels, reduction="none")

    def ratio(vectors: Tensor, rows: Tensor) -> Tensor:
        scores, labels = goal.logits(vectors, rows)
        return -sign * lead_of(scores, labels) / _spread(scores, mean=False)

    def aimed_ratio(vectors: Tensor, rows: Tensor) -> Tensor:
        assert aims is not None
        scores, labels = goal.logits(vectors, rows)
        lead = scores.gather(1, labels[:, None]) - scores.gather(1, aims[rows, None])
        return -lead[:, 0] / _spread(scores, mean=True)

    if name == "ce":
        return cross_entropy
    return ratio if name == "dlr" or goal.targeted else aimed_ratio


def _spread(scores: Tensor, mean: bool) -> Tensor | float:
    """Return the divisor of DLR: the best score less the third, or less the mean of the third and fourth."""
    if scores.shape[1] <= 3:
        return 1.0
    top = scores.topk(4, dim=1).values
    return (top[:, 0] - (top[:, 2:].mean(1) if mean else top[:, 2])).clamp_min(1e-12)
