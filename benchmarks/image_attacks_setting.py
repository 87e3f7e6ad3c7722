"""What the benchmark of image attacks is about: two image towers, images of the test split, and how much is run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from kivuko.datasets.emoji.sources import shipped_image_tower
from kivuko.datasets.emoji.world import emoji_world
from kivuko.perturbations.image.goal import ImageToText, broken
from kivuko.perturbations.image.pixel_tower import PixelTower

UNDEFENDED, HARDENED = "undefended", "hardened"
RADII = (1, 2, 4, 8)  # of 255, L-inf; at the last one most images fall, so that it tells attacks apart best
SPEED_RADIUS = 1  # small, so that few images fall and both sides go on with the same ones
_PARTS = ("apgd-ce", "apgd-dlr", "square")


@dataclass(frozen=True)
class Extent:
    """How much a run measures. Five restarts are ART's default; its two APGDs then start as often as our ten do.

    ``images``, ``steps``, ``restarts`` (theirs; ours pulls up rivals instead), ``queries``: of the ensembles.
    ``deepfool``: let AutoAttack run DeepFool too, as it does by default.
    ``speed_images``, ``speed_steps``, ``speed_queries``, ``rounds``: of the single attacks that are timed in turn.
    """

    name: str
    images: int
    steps: int
    restarts: int
    queries: int
    deepfool: bool
    speed_images: int
    speed_steps: int
    speed_queries: int
    rounds: int
    radii: tuple[int, ...] = RADII

    @property
    def parts(self) -> tuple[str, ...]:
        """The single attacks that are timed."""
        return _PARTS


EXTENTS = {
    one.name: one
    for one in (
        Extent("quick", 12, 10, 1, 15, False, 12, 5, 10, 3, (2, 8)),
        Extent("normal", 60, 20, 5, 40, False, 48, 10, 15, 5),
        Extent("full", 200, 100, 5, 1000, True, 128, 50, 100, 9),
    )
}


@dataclass(frozen=True, eq=False)
class Setting:
    """One tower and what is attacked there: images, seen as questions of which English name is nearest.

    Attributes:
        pixels: float32 [images, 3, height, width] on whole levels.
        goal: the names as unit vectors, and the right one of each image.
    """

    name: str
    tower: PixelTower
    pixels: Tensor
    goal: ImageToText

    def margins(self, pixels: Tensor) -> Tensor:
        """Return the lead of the right name for pixels [images, 3, h, w]: one judge for all contenders."""
        return self.goal.margins(self.tower.encode(pixels), torch.arange(len(self.goal)))

    def standing(self, pixels: Tensor) -> Tensor:
        """Return which images still find their name, bool [images]; a tie counts against the image."""
        return ~broken(self.goal, self.margins(pixels))

    def some(self, which: Tensor) -> Setting:
        """Return the same setting with some of the images, int64 or bool."""
        return Setting(self.name, self.tower, self.pixels[which], ImageToText(self.goal.texts, self.goal.labels[which]))


def tower_folders(hardened: Path | None = None) -> Mapping[str, Path]:
    """Return the towers to attack that are at hand: the shipped one, and a hardened one, by default the shipped one."""
    shipped = shipped_image_tower()
    folders = {UNDEFENDED: shipped, HARDENED: hardened or shipped.with_name("image_tower_robust")}
    return {name: folder for name, folder in folders.items() if (folder / "modules.json").is_file()}


@lru_cache(maxsize=1)
def questions() -> tuple[list[str], list[int], Tensor]:
    """Return the English names of the test split, no name and no image twice, their images' rows and vectors."""
    from kivuko.encoders.teacher import load_teacher

    names: dict[str, int] = {}
    for query in emoji_world(["sw"]).queries("en", "test"):
        if query.image not in names.values():
            names.setdefault(query.text, query.image)
    teacher, texts = load_teacher(), list(names)
    batches = [teacher.encode_tokens(texts[at : at + 128]).pooled for at in range(0, len(texts), 128)]
    return texts, list(names.values()), F.normalize(torch.cat(batches), dim=-1)


def emoji_setting(name: str, folder: Path, images: int, seed: int = 0) -> Setting:
    """Return a tower and some images of the test split, drawn by the seed; all its names are candidates."""
    from kivuko.encoders.image_tower import load_image_tower

    world = emoji_world(["sw"])
    _, rows, vectors = questions()
    chosen = np.sort(np.random.default_rng(seed).permutation(len(rows))[:images])
    tower = PixelTower(load_image_tower(folder, vectors.shape[1]))
    pixels = tower.pixels([world.image(rows[number]) for number in chosen])
    return Setting(name, tower, pixels, ImageToText(vectors, torch.from_numpy(chosen)))
