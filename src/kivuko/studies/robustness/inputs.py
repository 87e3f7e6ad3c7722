"""What every run of the robustness study shares: the low-resource study's inputs, attacked images, chosen concepts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kivuko.bitext import word_table
from kivuko.datasets.emoji import EmojiWorld, Query, shipped_image_tower
from kivuko.encoders.image_tower import load_image_tower
from kivuko.encoders.model import quiet
from kivuko.encoders.teacher import TextTeacher
from kivuko.perturbations.image import PixelTower, TextToImage, Threat, apgd
from kivuko.perturbations.image.corruptions import corrupt
from kivuko.perturbations.image.pixel_tower import LEVELS
from kivuko.studies.inputs import ENGLISH, StudyInputs, study_inputs, unit
from kivuko.studies.robustness.grid import CODE_SWITCH, ENGLISH_CRAFTED, Plan, radius

Vectors = NDArray[np.float32]
Attack = tuple[str, float]  # name and budget
EMOJI, ROBUST = "emoji", "emoji-robust"
_BATCH = 256


@dataclass(frozen=True, eq=False)
class TowerImages:
    """What one tower makes of the images.

    Attributes:
        name: as in the records' ``model``.
        folder: of the tower.
        gallery: unit vectors of all clean images, float32 [images, dim].
        attacked: attack -> image's row -> its unit vector under attack, float32 [dim].
        pixels: image's row -> uint8 [3, h, w], of those attacked with own vectors and those shown.
        shown: attack -> image's row -> uint8 [3, h, w], perturbed.
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


def tower_images(
    name: str,
    folder: Path,
    world: EmojiWorld,
    corrupted: Sequence[int],
    queries: Mapping[int, Vectors],
    own: Sequence[int],
    plan: Plan,
    ticked: Callable[[], Any],
) -> TowerImages:
    """Encode the gallery and attack images with nothing but the English names.

    Args:
        corrupted: rows of the images that go through the corruptions.
        queries: image's row -> the teacher's unit vector of its English name, of those that APGD attacks.
        own: rows whose pixels are kept, for attacks with a system's own vectors.
        ticked: called after each piece of work, ``work(plan)`` times.
    """
    with quiet():
        loaded = load_image_tower(folder, len(next(iter(queries.values()))))
    tower = PixelTower(loaded)
    pixels = torch.cat([tower.pixels([world.image(row)]) for row in range(len(world.images))])
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
    return TowerImages(
        name, folder, gallery.numpy(), attacked, _bytes(own, pixels[list(own)]), shown,
    )  # fmt: skip


def work(plan: Plan) -> int:
    """Return how many pieces of work ``tower_images`` tells of."""
    return 1 + sum(len(severities) for _, severities in plan.corruptions) + len(plan.radii)


def _by_row(rows: Sequence[int], vectors: torch.Tensor) -> dict[int, Vectors]:
    return dict(zip(rows, vectors.numpy().astype(np.float32), strict=True))


def _bytes(rows: Sequence[int], pixels: torch.Tensor) -> dict[int, NDArray[np.uint8]]:
    whole = (pixels * LEVELS).round().to(torch.uint8).contiguous().numpy()
    return dict(zip(rows, whole, strict=False))


TEST, VALIDATION = "test", "validation"
_FORMAT = 1  # raise it when systems are attacked or measured in another way


@dataclass(frozen=True, eq=False)
class RobustnessInputs:
    """The low-resource study's inputs, the plan, what the towers make of the images, and the concepts under attack.

    ``concepts``: of the test split, in the order in which attacks take them. ``tables``: language -> word -> English
    word, for code-switching.
    """

    plain: StudyInputs
    plan: Plan
    towers: tuple[TowerImages, ...]
    concepts: tuple[str, ...]
    tables: Mapping[str, Mapping[str, str]]

    @property
    def world(self) -> EmojiWorld:
        """The emoji world, without its pixels."""
        return self.plain.world

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages of the queries."""
        return self.plain.languages

    def queries(self, language: str, split: str = TEST, concepts: int | None = None) -> list[Query]:
        """Return headline queries (not equal to the English name) of a split, of the first so many concepts or all."""
        chosen = None if concepts is None else set(self.concepts[:concepts])
        return [
            query
            for query in self.plain.world.queries(language, split)
            if not query.copied and (chosen is None or query.concept in chosen)
        ]

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all this."""
        told = [_FORMAT, self.plain.fingerprint, asdict(self.plan), self.concepts, self.tables]
        digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
        for tower in self.towers:
            digest.update(tower.fingerprint.encode())
        return digest.hexdigest()


def robustness_inputs(
    world: EmojiWorld,
    languages: Sequence[str],
    teacher: TextTeacher,
    plan: Plan,
    *,
    words: bool,
    encoded: Callable[[int, int], None] | None = None,
    attacked: Callable[[int, int], None] | None = None,
) -> RobustnessInputs:
    """Encode everything, choose the concepts, and attack the images with the English names.

    Args:
        words: see ``study_inputs``.
        encoded: called with (done, total) while the teacher encodes. attacked: the same while images are attacked.
    """
    plain = study_inputs(world, languages, teacher, words=words, progress=encoded)
    concepts = _concepts(world, languages)
    names = [query for query in world.queries(ENGLISH, TEST) if query.concept in set(concepts[: plan.attacked])]
    pooled = teacher.encode_tokens([query.text for query in names]).pooled.cpu().numpy()
    crafted = dict(zip([query.image for query in names], unit(pooled.astype(np.float32)), strict=True))
    own = dict.fromkeys(
        query.image
        for code in languages
        for query in world.queries(code, TEST)
        if query.concept in set(concepts[: plan.own_attacked])
    )
    corrupted = sorted({query.image for code in (ENGLISH, *languages) for query in world.queries(code, TEST)})
    folders, done = tower_folders(), 0

    def ticked() -> None:
        nonlocal done
        done += 1
        if attacked:
            attacked(done, len(folders) * work(plan))

    towers = tuple(
        tower_images(name, folder, world, corrupted, crafted, list(own), plan, ticked)
        for name, folder in folders.items()
    )
    switches = any(name == CODE_SWITCH for name, _ in plan.noise)
    bitext = world.bitext(languages, "train")
    tables = {code: word_table(bitext, code) for code in languages} if switches else {}
    return RobustnessInputs(plain, plan, towers, concepts, tables)


def _concepts(world: EmojiWorld, languages: Sequence[str]) -> tuple[str, ...]:
    """Return test concepts with a headline query in every language, in the order of a hash of the concept."""
    present = [{query.concept for query in world.queries(code, TEST) if not query.copied} for code in languages]
    shared = set.intersection(*present)
    return tuple(sorted(shared, key=lambda one: hashlib.sha256(b"attacked:" + one.encode()).digest()))
