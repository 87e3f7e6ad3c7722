"""The pictures of the study: clean and attacked vectors under each image tower, the same for every system."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kivuko.attacks.image import PixelTower, TextToImage, Threat, apgd
from kivuko.attacks.image.corruptions import corrupt
from kivuko.attacks.image.pixel_tower import LEVELS
from kivuko.datasets.emoji import EmojiWorld, shipped_image_tower
from kivuko.encoders.bundle import quiet
from kivuko.encoders.image_tower import load_image_tower
from kivuko.studies.robustness.plan import ENGLISH_CRAFTED, Plan, radius

Vectors = NDArray[np.float32]
Attack = tuple[str, float]  # name and budget
EMOJI, ROBUST = "emoji", "emoji-robust"
_BATCH = 256


@dataclass(frozen=True, eq=False)
class TowerPictures:
    """What one tower makes of the pictures.

    Attributes:
        name: as in the records' ``model``.
        folder: of the tower.
        gallery: unit vectors of all clean pictures, float32 [images, dim].
        attacked: attack -> picture's row -> its unit vector under attack, float32 [dim].
        pixels: picture's row -> uint8 [3, h, w], of those attacked with own vectors and those shown.
        shown: attack -> picture's row -> uint8 [3, h, w], perturbed.
    """

    name: str
    folder: Path
    gallery: Vectors
    attacked: Mapping[Attack, Mapping[int, Vectors]]
    pixels: Mapping[int, NDArray[np.uint8]]
    shown: Mapping[Attack, Mapping[int, NDArray[np.uint8]]]

    @cached_property
    def tower(self) -> PixelTower:
        """The tower itself."""
        with quiet():
            return PixelTower(load_image_tower(self.folder, self.gallery.shape[1]))

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all vectors."""
        digest = hashlib.sha256(np.ascontiguousarray(self.gallery).tobytes())
        for attack in sorted(self.attacked):
            rows = self.attacked[attack]
            digest.update(repr((attack, sorted(rows))).encode())
            digest.update(np.stack([rows[row] for row in sorted(rows)]).tobytes())
        return digest.hexdigest()


def tower_folders() -> dict[str, Path]:
    """Return the towers that ship: the one that searches, and the one hardened against perturbed pixels."""
    plain = shipped_image_tower()
    return {EMOJI: plain, ROBUST: plain.with_name("image_tower_robust")}


def tower_pictures(
    name: str,
    folder: Path,
    world: EmojiWorld,
    corrupted: Sequence[int],
    queries: Mapping[int, Vectors],
    own: Sequence[int],
    plan: Plan,
    ticked: Callable[[], Any],
) -> TowerPictures:
    """Encode the gallery and attack pictures with nothing but the English names.

    Args:
        corrupted: rows of the pictures that go through the corruptions.
        queries: picture's row -> the teacher's unit vector of its English name, of those that APGD attacks.
        own: rows whose pixels are kept, for attacks with a system's own vectors.
        ticked: called after each piece of work, ``work(plan)`` times.
    """
    with quiet():
        loaded = load_image_tower(folder, len(next(iter(queries.values()))))
    tower = PixelTower(loaded)
    pixels = torch.cat([tower.pixels([world.picture(row)]) for row in range(len(world.images))])
    gallery = tower.encode(pixels)
    ticked()
    attacked: dict[Attack, dict[int, Vectors]] = {}
    shown: dict[Attack, dict[int, NDArray[np.uint8]]] = {}
    rows = list(corrupted)
    for corruption, severities in plan.corruptions:
        for severity in severities:
            changed = corrupt(pixels[rows], corruption, severity, seed=0)
            attacked[corruption, float(severity)] = _by_row(rows, tower.encode(changed))
            shown[corruption, float(severity)] = _bytes(own, changed[[rows.index(row) for row in own if row in rows]])
            ticked()
    targets = list(queries)
    goal = TextToImage(torch.from_numpy(np.stack([queries[row] for row in targets])), gallery, torch.tensor(targets))
    start = None
    for levels in plan.radii:
        found = apgd(
            tower,
            pixels[targets],
            goal,
            Threat("linf", radius(levels)),
            steps=plan.steps,
            start=start,
            early_stop=False,
        )
        start = found.pixels  # within the smaller radius is within the larger: a larger one never does less
        attacked[ENGLISH_CRAFTED, radius(levels)] = _by_row(targets, tower.encode(found.pixels))
        kept = [row for row in own if row in queries]
        shown[ENGLISH_CRAFTED, radius(levels)] = _bytes(kept, found.pixels[[targets.index(row) for row in kept]])
        ticked()
    return TowerPictures(
        name, folder, gallery.numpy(), attacked, _bytes(own, pixels[list(own)]), shown,
    )  # fmt: skip


def work(plan: Plan) -> int:
    """Return how many pieces of work ``tower_pictures`` tells of."""
    return 1 + sum(len(severities) for _, severities in plan.corruptions) + len(plan.radii)


def _by_row(rows: Sequence[int], vectors: torch.Tensor) -> dict[int, Vectors]:
    return dict(zip(rows, vectors.numpy().astype(np.float32), strict=True))


def _bytes(rows: Sequence[int], pixels: torch.Tensor) -> dict[int, NDArray[np.uint8]]:
    whole = (pixels * LEVELS).round().to(torch.uint8).contiguous().numpy()
    return dict(zip(rows, whole, strict=False))
