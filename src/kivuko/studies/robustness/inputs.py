"""The inputs that all runs of the robustness study share: those of the low-resource study, and perturbed images."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kivuko.bitext.sampling import word_table
from kivuko.datasets.emoji.sources import shipped_image_tower
from kivuko.datasets.emoji.world import EmojiWorld, Query
from kivuko.encoders.image_tower import load_image_tower
from kivuko.encoders.model import quiet
from kivuko.encoders.teacher import TextTeacher
from kivuko.perturbations.edits import EditKind, code_switch
from kivuko.perturbations.image.corruptions import corrupt
from kivuko.perturbations.image.pixel_tower import PixelTower
from kivuko.perturbations.runner import AttackRunner, image_side
from kivuko.perturbations.spec import AttackSpec
from kivuko.perturbations.target import Crafted, Draws, QuerySet, from_bytes, to_bytes
from kivuko.perturbations.text.gradients import GradientEncoder
from kivuko.perturbations.text.search import EncodeTexts
from kivuko.studies.inputs import ENGLISH, TEST, StudyInputs, study_inputs, unit
from kivuko.studies.robustness.grid import Plan, PlannedAttack

Vectors = NDArray[np.float32]
EMOJI, ROBUST = "emoji", "emoji-robust"


@dataclass(frozen=True)
class StudyDraws(Draws):
    """Random numbers of the study: noise on texts depends on the seed, the noise's place in the plan and the budget."""

    noises: tuple[str, ...] = ()

    @property
    def image_seed(self) -> int:
        """The same for all systems, so that they search the same images."""
        return 0

    def edits(self, spec: AttackSpec, queries: QuerySet) -> Iterator[np.random.Generator]:
        """Yield one generator for all queries of a language."""
        rng = np.random.default_rng([self.seed, self.noises.index(spec.attack.name), int(spec.budget)])
        return iter([rng] * len(queries))

    def corrupt(self, spec: AttackSpec, pixels: Tensor, rows: NDArray[np.int64]) -> Tensor:
        """Corrupt all images together."""
        return corrupt(pixels, spec.attack.name, spec.number("severity"), seed=0)


@dataclass(frozen=True, eq=False)
class StudyTarget:
    """A system, or while images are perturbed beforehand an image tower alone, as attacks see it."""

    gallery: Vectors
    load_tower: Callable[[], PixelTower]
    pixels: Callable[[Sequence[int]], Tensor]
    encode: EncodeTexts
    encode_english: EncodeTexts
    inside: GradientEncoder | None = None
    tables: Mapping[str, Mapping[str, str]] | None = None

    @property
    def tower(self) -> PixelTower:
        return self.load_tower()

    @property
    def gradients(self) -> GradientEncoder:
        assert self.inside is not None
        return self.inside

    def code_switch(self, language: str) -> EditKind:
        return code_switch(self.tables or {})

    def training(self, language: str) -> QuerySet:
        raise NotImplementedError("the study plans no universal attack")

    def companions(self, queries: QuerySet) -> Sequence[Sequence[str]]:
        raise NotImplementedError("the study does not plan SGA")


@dataclass(frozen=True, eq=False)
class TowerImages:
    """An image tower's view of the images."""

    name: str  # as in the records' ``model``
    folder: Path
    gallery: Vectors  # unit vectors of all clean images, float32 [images, dim]
    crafted: Mapping[AttackSpec, Crafted]  # those that need no system, without their pixels
    # image's row -> uint8 [3, h, w], of those attacked with own vectors and those shown
    pixels: Mapping[int, NDArray[np.uint8]]
    shown: Mapping[AttackSpec, Mapping[int, NDArray[np.uint8]]]  # attack -> image's row -> uint8 [3, h, w], perturbed

    @cached_property
    def tower(self) -> PixelTower:
        with quiet():
            return PixelTower(load_image_tower(self.folder, self.gallery.shape[1]))

    def pixels_of(self, rows: Sequence[int]) -> Tensor:
        """Return clean images, float32 [n, 3, h, w]."""
        return from_bytes(np.stack([self.pixels[row] for row in rows]))

    @cached_property
    def fingerprint(self) -> str:
        digest = hashlib.sha256(np.ascontiguousarray(self.gallery).tobytes())
        for spec in sorted(self.crafted, key=lambda spec: spec.text):
            digest.update(repr((spec.text, sorted(self.crafted[spec].places))).encode())
            digest.update(self.crafted[spec].vectors.tobytes())
        return digest.hexdigest()


def tower_folders() -> dict[str, Path]:
    """Return the towers that ship: the one that searches, and the one hardened against perturbed pixels."""
    plain = shipped_image_tower()
    return {EMOJI: plain, ROBUST: plain.with_name("image_tower_robust")}


def is_crafted(spec: AttackSpec) -> bool:
    """Return True for attacks on images that need no system: noise, or against English names."""
    if spec.attack.kind == "text" or spec.custom is not None:
        return False
    return spec.attack.needs == "nothing" or spec.get("crafted", "own") == "english"


def tower_images(
    name: str,
    folder: Path,
    world: EmojiWorld,
    names: Mapping[int, str],  # row of each image that goes through the corruptions -> its English name
    # row of the image -> the teacher's unit vector of its English name, of those that are attacked
    english: Mapping[int, Vectors],
    own: Sequence[int],  # rows whose pixels are kept, for attacks with a system's own vectors
    plan: Plan,
    ticked: Callable[[], Any],  # called after each piece of work, ``work(plan)`` times
) -> TowerImages:
    """Encode the gallery and perturb images with nothing but the English names."""
    with quiet():
        loaded = load_image_tower(folder, len(next(iter(english.values()))))
    tower = PixelTower(loaded)
    pixels = torch.cat([tower.pixels([world.image(row)]) for row in range(len(world.images))])
    gallery = tower.encode(pixels).numpy()
    ticked()
    by_name = {names[row]: vector for row, vector in english.items()}

    def encode_english(texts: Sequence[str]) -> Vectors:
        return np.stack([by_name[text] for text in texts])

    target = StudyTarget(
        gallery, lambda: tower, lambda rows: pixels[list(rows)], encode_english, encode_english
    )  # fmt: skip
    crafted: dict[AttackSpec, Crafted] = {}
    shown: dict[AttackSpec, dict[int, NDArray[np.uint8]]] = {}
    for planned in _crafted_attacks(plan):
        rows = list(names) if planned.specs[0].attack.needs == "nothing" else list(english)
        texts = [names[row] for row in rows]
        own_rows = np.array(rows, dtype=np.int64)
        queries = QuerySet(ENGLISH, texts, texts, own_rows, gallery[own_rows], texts)
        runner = AttackRunner(target, {ENGLISH: queries}, StudyDraws())
        runner.craft(planned.specs)
        for spec, images in runner.crafted.items():
            assert images.pixels is not None
            places = {row: place for (_, row), place in images.places.items()}
            shown[spec] = {row: images.pixels[places[row]] for row in own if row in places}
            crafted[spec] = replace(images, pixels=None)
            ticked()
    kept = dict(zip(own, to_bytes(pixels[list(own)]), strict=True))
    return TowerImages(name, folder, gallery, crafted, kept, shown)


def work(plan: Plan) -> int:
    """Return the number of calls of ``ticked`` in ``tower_images``."""
    return 1 + sum(len(planned.specs) for planned in _crafted_attacks(plan))


def _crafted_attacks(plan: Plan) -> list[PlannedAttack]:
    """Return the attacks on images alone that need no system."""
    return [planned for planned in plan.attacks if planned.against_images and is_crafted(planned.specs[0])]


_FORMAT = 2  # raise it when systems are attacked or measured in another way


@dataclass(frozen=True, eq=False)
class RobustnessInputs:
    """The low-resource study's inputs, the plan, the towers' images, and the concepts under attack.

    ``concepts``: of the test split, in the order in which attacks take them. ``tables``: language -> word -> English
    word, for code-switching. ``names``: row of an image -> its English name.
    """

    plain: StudyInputs
    plan: Plan
    towers: tuple[TowerImages, ...]
    concepts: tuple[str, ...]
    tables: Mapping[str, Mapping[str, str]]
    names: Mapping[int, str]

    @property
    def world(self) -> EmojiWorld:
        return self.plain.world

    @property
    def languages(self) -> tuple[str, ...]:
        return self.plain.languages

    def queries(self, language: str, split: str = TEST) -> list[Query]:
        """Return the headline queries (not equal to the English name) of a split."""
        return [query for query in self.plain.world.queries(language, split) if not query.copied]

    @cached_property
    def fingerprint(self) -> str:
        parts = [_FORMAT, self.plain.fingerprint, asdict(self.plan), self.concepts, self.tables]
        digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode())
        for tower in self.towers:
            digest.update(tower.fingerprint.encode())
        return digest.hexdigest()


def robustness_inputs(
    world: EmojiWorld,
    languages: Sequence[str],
    teacher: TextTeacher,
    plan: Plan,
    *,
    words: bool,  # see ``study_inputs``
    # called with (done, total)
    encoded: Callable[[int, int], None] | None = None,
    attacked: Callable[[int, int], None] | None = None,
) -> RobustnessInputs:
    """Encode everything, choose the concepts, and attack the images with the English names."""
    plain = study_inputs(world, languages, teacher, words=words, progress=encoded)
    concepts = _concepts(world, languages)
    named = set(concepts[: _largest(plan, english=True)])
    attacked_names = [query for query in world.queries(ENGLISH, TEST) if query.concept in named]
    pooled = teacher.encode_tokens([query.text for query in attacked_names]).pooled.cpu().numpy()
    vectors = unit(pooled.astype(np.float32))
    english = dict(zip([query.image for query in attacked_names], vectors, strict=True))
    names = {query.image: query.text for query in (*world.queries(ENGLISH, TEST), *attacked_names)}
    names = dict(sorted(names.items()))
    queried = set(concepts[: _largest(plan, english=False)])
    own = dict.fromkeys(
        query.image for code in languages for query in world.queries(code, TEST) if query.concept in queried
    )
    folders, done = tower_folders(), 0

    def ticked() -> None:
        nonlocal done
        done += 1
        if attacked:
            attacked(done, len(folders) * work(plan))

    towers = tuple(
        tower_images(name, folder, world, names, english, list(own), plan, ticked) for name, folder in folders.items()
    )
    bitext = world.bitext(languages, "train")
    tables = {code: word_table(bitext, code) for code in languages} if plan.switches_code else {}
    return RobustnessInputs(plain, plan, towers, concepts, tables, names)


def _largest(plan: Plan, *, english: bool) -> int | None:
    """Return the number of concepts whose images are attacked, against English names or own vectors; None: all."""
    sides = [(planned.concepts, image_side(planned.specs[0])) for planned in plan.attacks]
    numbers = [
        concepts
        for concepts, side in sides
        if side.attack.kind != "text" and side.attack.needs != "nothing" and is_crafted(side) == english
    ]
    return None if None in numbers else max((one for one in numbers if one is not None), default=0)


def _concepts(world: EmojiWorld, languages: Sequence[str]) -> tuple[str, ...]:
    """Return test concepts with a headline query in every language, in the order of a hash of the concept."""
    present = [{query.concept for query in world.queries(code, TEST) if not query.copied} for code in languages]
    shared = set.intersection(*present)
    return tuple(sorted(shared, key=lambda one: hashlib.sha256(b"attacked:" + one.encode()).digest()))
