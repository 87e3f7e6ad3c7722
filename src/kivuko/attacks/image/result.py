"""What an attack on pictures came to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from kivuko.attacks.image.goal import ImageGoal, broken
from kivuko.attacks.image.pixel_tower import PixelTower
from kivuko.attacks.image.threat import Threat

Progress = Callable[[int, int], None]  # (steps done, steps)
BATCH = 128  # pictures that go through the tower together


@dataclass(frozen=True, eq=False)
class AttackedImages:
    """Perturbed pictures, on whole levels of an 8-bit image and inside the radius.

    Attributes:
        pixels: float32 [n, 3, h, w].
        margins: float32 [n], of these very pixels; see ``ImageGoal``.
        calls: int64 [n], how often the tower was asked about each picture.
    """

    pixels: Tensor
    margins: Tensor
    calls: Tensor

    def worse_of(self, other: AttackedImages) -> AttackedImages:
        """Return for each picture the perturbation with the lower margin; the calls of both are spent."""
        better = other.margins < self.margins
        pixels = torch.where(better[:, None, None, None], other.pixels, self.pixels)
        return AttackedImages(
            pixels.contiguous(memory_format=torch.channels_last),
            torch.minimum(self.margins, other.margins),
            self.calls + other.calls,
        )


@torch.no_grad()
def margins_of(tower: PixelTower, pixels: Tensor, goal: ImageGoal, rows: Tensor) -> Tensor:
    """Return the margins of pixels [n, 3, h, w], in batches."""
    parts = zip(pixels.split(BATCH), rows.split(BATCH), strict=True)
    return torch.cat([goal.margins(tower(part), own) for part, own in parts]) if len(rows) else torch.zeros(0)


def finished(
    tower: PixelTower, original: Tensor, pixels: Tensor, goal: ImageGoal, rows: Tensor, threat: Threat, calls: Tensor
) -> AttackedImages:
    """Round to levels and take the margins of what is left; where rounding undid all harm the original stays."""
    rounded = threat.on_levels(original, pixels)
    found = AttackedImages(rounded, margins_of(tower, rounded, goal, rows), calls + 1)
    return unchanged(tower, original, goal, rows).worse_of(found)


def unchanged(tower: PixelTower, original: Tensor, goal: ImageGoal, rows: Tensor) -> AttackedImages:
    """Return the pictures as they are."""
    return AttackedImages(original.clone(), margins_of(tower, original, goal, rows), torch.zeros_like(rows))


def rounds(
    goal: ImageGoal, worst: AttackedImages, restarts: int, early_stop: bool, progress: Progress | None
) -> Iterator[tuple[int, Tensor]]:
    """Yield (restart, rows int64 [batch]) of the pictures to attack next, batch by batch.

    With ``early_stop`` pictures that ``worst`` says are lost by then are left out.
    """
    parts = torch.arange(len(worst.margins)).split(BATCH)
    for restart in range(restarts):
        for number, part in enumerate(parts):
            rows = part[~broken(goal, worst.margins[part])] if early_stop else part
            if len(rows):
                yield restart, rows
            if progress:
                progress(restart * len(parts) + number + 1, restarts * len(parts))
