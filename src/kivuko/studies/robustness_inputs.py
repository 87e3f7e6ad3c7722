"""The robustness study's grid, its plan of attacks, and the inputs that its runs share: perturbed images among them."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kivuko.bitext.pairs import Bitext
from kivuko.bitext.sampling import word_table
from kivuko.datasets.emoji.sources import shipped_image_tower
from kivuko.datasets.emoji.world import EmojiWorld, Query
from kivuko.encoders.image_tower import load_image_tower
from kivuko.encoders.model import quiet
from kivuko.encoders.teacher import TextTeacher
from kivuko.errors import UsageError
from kivuko.evaluation.attack.results import attack_facts as facts_of
from kivuko.perturbations.catalog import CODE_SWITCH
from kivuko.perturbations.edits import EditKind, code_switch
from kivuko.perturbations.image.corruptions import corrupt
from kivuko.perturbations.image.pixel_tower import PixelTower
from kivuko.perturbations.runner import AttackRunner, image_side, sweeps
from kivuko.perturbations.spec import AttackSpec, parse_attacks
from kivuko.perturbations.target import Crafted, Draws, QuerySet, from_bytes, to_bytes
from kivuko.perturbations.text.gradients import GradientEncoder
from kivuko.perturbations.text.search import EncodeTexts
from kivuko.studies.data import ENGLISH, TEST, EmojiData, StudyData
from kivuko.studies.grid import QUICK, STANDARD, UNTRAINED, Grid, Run, Variant, for_variant
from kivuko.studies.inputs import StudyInputs, study_inputs
from kivuko.training.recipe import Recipe
from kivuko.vectors import unit_rows


@dataclass(frozen=True)
class PlannedAttack:
    """An attack on systems."""

    text: str  # as ``kivuko attack`` takes it; of a sweep, each budget is measured
    concepts: int | None = None  # attack the queries of this many concepts; None: all queries
    # also on translators, which must translate every perturbed query; attacks on images alone are on all systems
    translators: bool = False

    @property
    def specs(self) -> list[AttackSpec]:
        """The attack at each budget, rising; all with one label."""
        groups = sweeps(parse_attacks([self.text]))
        if len(groups) != 1:
            raise ValueError(f"{self.text}: only the budget may be swept; plan the others one by one")
        return groups[0]

    @property
    def against_images(self) -> bool:
        return self.specs[0].attack.kind == "image"


@dataclass(frozen=True)
class Plan:
    """Every attack of the study. The place of a noise among the text noises is part of its random numbers."""

    attacks: tuple[PlannedAttack, ...]

    def noises(self) -> list[str]:
        """Return the names of the text noises, in order."""
        specs = [one.specs[0] for one in self.attacks]
        return [spec.attack.name for spec in specs if spec.attack.family == "text noise"]

    def plus(self, attacks: Sequence[str], concepts: int | None = None) -> Self:
        """Return the plan with further attacks, as ``kivuko attack`` takes them.

        Noise is on all queries; searches and gradients attack so many concepts, by default as many as those of the
        plan at most do.
        """
        most = concepts or max((one.concepts for one in self.attacks if one.concepts is not None), default=None)
        planned = list(self.attacks)
        there = {one.specs[0].label for one in planned}
        for group in sweeps(parse_attacks(attacks)):
            spec = group[0]
            if spec.attack.name in _NOT_PLANNED or spec.get("targeted", False):
                raise UsageError(f"attack {spec.text}: the study cannot run it; use 'kivuko attack'.")
            if spec.label in there:
                raise UsageError(f"attack {spec.text}: the study has it already.")
            budgets = "|".join(one.attack.parameters[0].written(one.values[0]) for one in group)
            rest = spec.label.removeprefix(spec.attack.name).lstrip(":")
            text = f"{spec.attack.name}:{spec.attack.budget}={budgets}" + (f",{rest}" if rest else "")
            noise = spec.attack.needs == "nothing"
            planned.append(PlannedAttack(text, None if noise else most))
        return replace(self, attacks=tuple(planned))

    @property
    def switches_code(self) -> bool:
        return CODE_SWITCH in self.noises()


_NOT_PLANNED = ("universal", "universal-text", "sga")  # they need queries that the study does not have
# Exhaustive: no text has more single edits than candidates.
_EVERY_EDIT = "greedy:edits=1,candidates=100000,kinds=any"
_ENGLISH = "warm_start=true,crafted=english"
_SEP = "sep-attack:edits=1,image=apgd,crafted=english,warm_start=true"
STANDARD_PLAN = Plan((
    PlannedAttack("typo:edits=1|2|3", translators=True),
    PlannedAttack("keyboard:edits=2"),
    PlannedAttack("confusable:edits=2", translators=True),
    PlannedAttack("diacritics:edits=2"),
    PlannedAttack("drop-word", translators=True),
    PlannedAttack("swap-words"),
    PlannedAttack("code-switch"),
    PlannedAttack("greedy:edits=1|2,candidates=32", concepts=100),
    PlannedAttack("hotflip", concepts=100),  # fewer would decide over how many concepts all means are
    PlannedAttack(_EVERY_EDIT, concepts=20),  # of means it is no part
    PlannedAttack("gaussian-noise:severity=1|3|5"),
    *(PlannedAttack(f"{name}:severity=3") for name in ("blur", "jpeg", "occlusion", "contrast")),
    PlannedAttack(f"apgd:eps=1/255|2/255|4/255|8/255,steps=20,{_ENGLISH}", concepts=100),
    PlannedAttack("apgd:eps=4/255,steps=8", concepts=100),
    PlannedAttack(f"{_SEP},eps=2/255,steps=20,candidates=32", concepts=100),
))  # fmt: skip
# On sentences: budgets in code points, so that a script whose letters are several of them has no more room.
TEXT_PLAN = Plan(
    (
        PlannedAttack("typo:edits=1|2|4|8"),
        PlannedAttack("code-points:points=2|4|8|16"),
        PlannedAttack("keyboard:edits=4"),
        PlannedAttack("confusable:edits=4"),
        PlannedAttack("split:edits=2"),
        PlannedAttack("diacritics:edits=4"),
        PlannedAttack("drop-word:edits=1|4"),
        PlannedAttack("swap-words:edits=2"),
        PlannedAttack("code-switch:edits=1|4"),
        PlannedAttack("greedy:edits=1|2|4,candidates=32", concepts=150),
        PlannedAttack("hotflip:edits=1|2", concepts=150),
        PlannedAttack(_EVERY_EDIT, concepts=4),  # of means it is no part: a sentence has thousands of edits
    )
)
QUICK_TEXT_PLAN = Plan(
    (
        PlannedAttack("typo:edits=2|8"),
        PlannedAttack("code-points:points=4"),
        PlannedAttack("code-switch:edits=2"),
        PlannedAttack("greedy:edits=1|2,candidates=8", concepts=8),
    )
)
QUICK_PLAN = Plan((
    PlannedAttack("typo:edits=1|2", translators=True),
    PlannedAttack("greedy:candidates=8", concepts=12),
    PlannedAttack("hotflip", concepts=8),
    PlannedAttack("gaussian-noise:severity=3"),
    PlannedAttack(f"apgd:eps=2/255|8/255,steps=5,{_ENGLISH}", concepts=12),
    PlannedAttack("apgd:eps=8/255,steps=3", concepts=8),
    PlannedAttack(f"{_SEP},eps=2/255,steps=5,candidates=8", concepts=12),
))  # fmt: skip


def attack_facts(plan: Plan) -> dict[str, dict[str, Any]]:
    """Return the header's entry of each attack, by its label: family, description, unit, parameters, concepts."""
    facts: dict[str, dict[str, Any]] = {}
    for planned in plan.attacks:
        spec = planned.specs[0]
        facts[spec.label] = facts_of(spec)
        if planned.concepts is not None:
            facts[spec.label]["concepts"] = planned.concepts
    return facts


# Without transport, with it, and those that learn from misspelled sentences (each next to its plain counterpart).
RECIPES = (
    "mse", "cosine", "contrastive", "greedy", "transport", "transplant", "optical", "contrastive-robust",
    "optical-robust",
)  # fmt: skip
QUICK_RECIPES = ("contrastive", "optical", "optical-robust")
SENTENCE_RECIPES = ("ibm1", "contrastive", "cosine", "transport", "transplant", "optical", "optical-robust")
PRETRAINED_RECIPES = ("contrastive", "transport")
# Two sizes, so that a better system can be set back to the clean accuracy of a worse one.
SIZES: tuple[int | None, ...] = (300, 1000)
HEADLINE_SIZE = 1000
LARGER_SIZES: tuple[int | None, ...] = (100, 300, 1000, None)


@dataclass(frozen=True)
class RobustnessGrid(Grid):
    """The low-resource study's grid, and the plan of attacks on each system."""

    plan: Plan = STANDARD_PLAN

    def runs(self, bitext: Bitext) -> list[Run]:
        """Return every run: the English teacher on English names, then each objective."""
        return [run for run in super().runs(bitext) if run.kind != UNTRAINED]

    @property
    def standard(self) -> bool:
        """True if the grid covers the standard study."""
        names = {recipe.name for recipe in self.recipes}
        pretrained = self.student != "static"
        usual = PRETRAINED_RECIPES if pretrained else SENTENCE_RECIPES if self.up_to else RECIPES
        covers = names >= set(usual) and {*self.sizes} >= {*SIZES} and len(self.seeds) >= 5
        plan = TEXT_PLAN if self.up_to else STANDARD_PLAN
        as_ever = self.steps is None and self.translator is None and self.image_tower is None
        return covers and self.plan == plan and as_ever


def usual_recipes(variant: Variant) -> tuple[str, ...]:
    """Return the names of the study's usual recipes."""
    if variant.mode == "quick":
        return QUICK_RECIPES
    return PRETRAINED_RECIPES if variant.pretrained else SENTENCE_RECIPES if variant.sentences else RECIPES


def robustness_grid(recipes: Sequence[Recipe], variant: Variant = STANDARD) -> RobustnessGrid:
    """Return the standard grid, a "quick" one of a few minutes, or a "larger" one with more seeds and sizes."""
    grid = RobustnessGrid(tuple(recipes), SIZES)
    if variant.mode == "larger":
        grid = replace(grid, sizes=LARGER_SIZES, seeds=tuple(range(10)))
    elif variant.mode == "quick":
        grid = replace(grid, **QUICK, plan=QUICK_PLAN)
    if variant.sentences:
        grid = replace(grid, plan=QUICK_TEXT_PLAN if variant.mode == "quick" else TEXT_PLAN, lexical=False)
    return for_variant(grid, variant)


Vectors = NDArray[np.float32]
EMOJI, ROBUST = "emoji", "emoji-robust"
TEXTS_ONLY = ""  # in the place of a tower's name, where English texts are searched


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


def tower_folders(instead: Path | None = None) -> dict[str, Path]:
    """Return the towers that ship, the one that searches and its hardened copy, or one ``instead`` of them."""
    if instead is not None:
        return {instead.resolve().name: instead}
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
    dim: int,  # of its vectors
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
        loaded = load_image_tower(folder, dim)
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


_FORMAT = 3  # raise it when systems are attacked or measured in another way


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
    def data(self) -> StudyData:
        return self.plain.data

    @property
    def languages(self) -> tuple[str, ...]:
        return self.plain.languages

    def queries(self, language: str, split: str = TEST) -> list[Query]:
        """Return the headline queries (not equal to the English name) of a split."""
        return [query for query in self.data.queries(language, split) if not query.copied]

    def gallery(self, split: str, tower: TowerImages) -> Vectors:
        """Return what is searched in a split: a tower's images, or English sentences."""
        return tower.gallery if tower.name else self.plain.document_vectors[self.data.rows(split)]

    @cached_property
    def fingerprint(self) -> str:
        parts = [_FORMAT, self.plain.fingerprint, asdict(self.plan), self.concepts, self.tables]
        digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode())
        for tower in self.towers:
            digest.update(tower.fingerprint.encode())
        return digest.hexdigest()


def robustness_inputs(
    data: StudyData,
    teacher: TextTeacher,
    plan: Plan,
    *,
    words: bool,  # see ``study_inputs``
    image_tower: Path | None = None,  # in place of those that ship
    # called with (done, total)
    encoded: Callable[[int, int], None] | None = None,
    attacked: Callable[[int, int], None] | None = None,
) -> RobustnessInputs:
    """Encode everything, choose the concepts, and attack the images with the English names."""
    plain = study_inputs(data, teacher, words=words, image_tower=image_tower, progress=encoded)
    concepts = _concepts(data)
    names = {query.image: query.text for query in data.queries(ENGLISH, TEST)}
    if isinstance(data, EmojiData):
        towers = _towers(data, teacher, plan, tower_folders(image_tower), concepts, names, attacked)
    else:
        towers = (TowerImages(TEXTS_ONLY, Path(), plain.document_vectors[data.rows(TEST)], {}, {}, {}),)
    bitext = data.bitext("train")
    tables = {code: word_table(bitext, code) for code in data.languages} if plan.switches_code else {}
    return RobustnessInputs(plain, plan, towers, concepts, tables, dict(sorted(names.items())))


def _towers(
    data: EmojiData,
    teacher: TextTeacher,
    plan: Plan,
    folders: Mapping[str, Path],
    concepts: Sequence[str],
    names: dict[int, str],
    attacked: Callable[[int, int], None] | None,
) -> tuple[TowerImages, ...]:
    """Return the towers' images, perturbed with the English names; these are added to ``names``."""
    world = data.world
    named = set(concepts[: _largest(plan, english=True)])
    attacked_names = [query for query in world.queries(ENGLISH, TEST) if query.concept in named]
    english: dict[int, Vectors] = {}
    if attacked_names:  # a plan may attack with own vectors alone
        pooled = teacher.encode_tokens([query.text for query in attacked_names]).pooled.cpu().numpy()
        vectors = unit_rows(pooled.astype(np.float32))
        english = dict(zip([query.image for query in attacked_names], vectors, strict=True))
    names |= {query.image: query.text for query in attacked_names}
    queried = set(concepts[: _largest(plan, english=False)])
    own = dict.fromkeys(
        query.image for code in data.languages for query in world.queries(code, TEST) if query.concept in queried
    )
    done = 0

    def ticked() -> None:
        nonlocal done
        done += 1
        if attacked:
            attacked(done, len(folders) * work(plan))

    ordered = dict(sorted(names.items()))
    return tuple(
        tower_images(name, folder, teacher.dim, world, ordered, english, list(own), plan, ticked)
        for name, folder in folders.items()
    )


def _largest(plan: Plan, *, english: bool) -> int | None:
    """Return the number of concepts whose images are attacked, against English names or own vectors; None: all."""
    sides = [(planned.concepts, image_side(planned.specs[0])) for planned in plan.attacks]
    numbers = [
        concepts
        for concepts, side in sides
        if side.attack.kind != "text" and side.attack.needs != "nothing" and is_crafted(side) == english
    ]
    return None if None in numbers else max((one for one in numbers if one is not None), default=0)


def _concepts(data: StudyData) -> tuple[str, ...]:
    """Return test concepts with a headline query in every language, in the order of a hash of the concept."""
    present = [{query.concept for query in data.queries(code, TEST) if not query.copied} for code in data.languages]
    shared = set.intersection(*present)
    return tuple(sorted(shared, key=lambda one: hashlib.sha256(b"attacked:" + one.encode()).digest()))
