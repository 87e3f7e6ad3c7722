"""The grid of a study, objectives × bitext sizes × seeds, and the runs that it consists of."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from kivuko.bitext.pairs import Bitext
from kivuko.bitext.word_alignment import check_aligner, has_fast_align
from kivuko.errors import UsageError
from kivuko.languages import DEFAULT_LANGUAGES, resource_groups
from kivuko.training.recipe import Recipe
from kivuko.translation.marian import TranslationSettings

# Without transport, then with it. Those clearly behind on validation are in the larger grid (docs/experiments.md, 12).
RECIPES = ("mse", "cosine", "contrastive", "greedy", "counted", "transport", "transplant", "optical")
LARGER_RECIPES = (*RECIPES, "sentence", "relational", "barycenter")
QUICK_RECIPES = ("mse", "contrastive", "optical")
QUICK_LANGUAGES = ("sw", "mr", "fi", "de")

# Of sentences: word alignment without transport first, so that a study that was cut short still answers for it.
CONTROLS = ("ibm1", "ibm2", "fast-align", "counted")
CONTRASTS = ("ibm1", "ibm2", "fast-align")
SENTENCE_RECIPES = (*CONTROLS, "mse", "contrastive", "paper", "transport", "transplant", "optical")
LARGER_SENTENCE_RECIPES = (*SENTENCE_RECIPES, "cosine", "unbalanced", "proximal")
PRETRAINED_RECIPES = ("m2m", "ibm1", "contrastive", "optical")

Mode = Literal["standard", "quick", "larger"]


@dataclass(frozen=True)
class Variant:
    """What decides the usual grid of a study."""

    mode: Mode = "standard"
    sentences: bool = False  # or emoji
    student: str = "static"

    @property
    def pretrained(self) -> bool:
        return self.student != "static"


STANDARD = Variant()
Size = int | None  # pairs per language; None: all that there are
SIZES: tuple[Size, ...] = (100, 300, 1000, None)
QUICK_SIZES: tuple[Size, ...] = (100, 300)
LARGER_SIZES: tuple[Size, ...] = (30, 100, 300, 1000, None)
SEEDS, QUICK_SEEDS, LARGER_SEEDS = 5, 2, 10

BATCH, PRETRAINED_BATCH, VALIDATE_EVERY, QUICK_STEPS = 256, 32, 50, 40
TRANSLATION = TranslationSettings()
QUICK_TRANSLATION = TranslationSettings(
    vocabulary_size=2000, width=64, least_steps=20, most_steps=20, selections=1, selection_pairs=40, beams=1
)
QUICK: dict[str, Any] = {
    "sizes": QUICK_SIZES, "seeds": tuple(range(QUICK_SEEDS)), "languages": QUICK_LANGUAGES, "steps": QUICK_STEPS,
    "translation": QUICK_TRANSLATION,
}  # fmt: skip
# Up to so many pairs per language, so many steps; on sentences every start was best before step 300.
_STEPS = ((100, 150), (300, 250), (1000, 350), (math.inf, 500))
_SENTENCE_STEPS = ((100, 150), (300, 250), (math.inf, 300))
_PRETRAINED_STEPS = ((100, 60), (300, 100), (1000, 150), (math.inf, 200))

TEACHER, UNTRAINED, TRANSLATE_TEST, LEXICAL = "teacher", "untrained", "translate-test", "lexical"  # also objectives
ZERO_SHOT, SHIFT = "zero-shot", "shift"  # objectives that search in a pretrained student's own space
DISTILLATION, PRETRAINED, OWN_SPACE = "distillation", "pretrained", "own space"
_RESERVED = (TEACHER, UNTRAINED, TRANSLATE_TEST, LEXICAL, ZERO_SHOT, SHIFT)


@dataclass(frozen=True)
class Run:
    """One system to train or load, and to measure."""

    objective: str  # its name in the records
    kind: str  # "teacher", "untrained", "distillation", "translate-test", "lexical", "pretrained" (a translator), ...
    size: int | None = None  # pairs per language; None where no bitext of the study is used
    whole: bool = False  # whether ``size`` is all that there is, so that nothing is sampled
    seed: int | None = None  # None where nothing is random
    recipe: Recipe | None = None  # of a distillation, its schedule set
    translation: TranslationSettings | None = None  # settings of a translator that is trained
    translator: str | None = None  # name or folder of a pretrained one
    student: str = "static"  # of a distillation, as ``kivuko distill --student`` takes it
    aligner: str = "transport"  # of a word table

    @property
    def label(self) -> str:
        size = None if self.size is None else "all pairs" if self.whole else f"{self.size:,} pairs"
        seed = None if self.seed is None else f"seed {self.seed}"
        return ", ".join(part for part in (self.objective, size, seed) if part)

    @property
    def cost(self) -> float:
        """Rough seconds on one core, for the order of runs and the progress bar only."""
        pairs = self.size or 0
        if self.recipe is not None:
            return 6 + self.recipe.schedule.steps * (0.015 + 2.2e-5 * pairs)
        if self.translation is not None:
            return 30 + 0.1 * min(self.translation.most_steps, self.translation.least_steps + 0.4 * pairs)
        return {TEACHER: 15.0, UNTRAINED: 8.0, LEXICAL: 25.0}.get(self.kind, 300.0)


@dataclass(frozen=True)
class Grid:
    """The conditions of a study."""

    recipes: tuple[Recipe, ...]
    sizes: tuple[Size, ...] = SIZES  # pairs per language, None for all
    seeds: tuple[int, ...] = tuple(range(SEEDS))
    languages: tuple[str, ...] = DEFAULT_LANGUAGES
    steps: int | None = None  # of every recipe at every size; None: :func:`steps_for`
    translation: TranslationSettings | None = TRANSLATION  # settings of translate-test; None leaves it out
    translator: str | None = None  # name or folder of a pretrained translator that takes the place of the trained ones
    lexical: bool = True  # whether word tables are among the objectives
    tables: tuple[str, ...] = ("transport",)  # their aligners
    own_space: bool = False  # whether the student's own space is, zero-shot and with SHIFT
    student: str = "static"
    multi_vector: bool = True  # whether late interaction is measured
    batch: int = BATCH
    up_to: bool = False  # whether a language that has fewer pairs than a size takes part with all of its own

    def __post_init__(self) -> None:
        names = [recipe.name for recipe in self.recipes]
        for what, given in (("recipe", names), ("size", self.sizes), ("seed", self.seeds)):
            if not given:
                raise UsageError(f"the study has no {what}: name at least one.")
        if twice := [name for name in names if names.count(name) > 1]:
            raise UsageError(f"two recipes are of one name, {twice[0]!r}: rename a file, so that records differ.")
        if taken := [name for name in names if name in _RESERVED]:
            raise UsageError(f"{taken[0]!r} is the name of another row in every result: give that recipe another name.")
        for aligner in {*(recipe.start.aligner for recipe in self.recipes), *(self.tables if self.lexical else ())}:
            check_aligner(aligner)

    @staticmethod
    def check_languages(codes: Sequence[str]) -> None:
        """Raise UsageError for a study without a low-resource language."""
        if not resource_groups(codes)["low-resource"]:
            raise UsageError("none of the languages is a low-resource one: add one, for example --languages sw so.")

    def steps_at(self, size: int) -> int:
        return self.steps or steps_for(size, self.up_to, self.student != "static")

    def runs(self, bitext: Bitext) -> list[Run]:
        """Return every run: the two references, then objective by objective, size by size, seed by seed."""
        sizes = _resolved(self.sizes, bitext, self.up_to)
        runs = [Run(TEACHER, TEACHER), Run(UNTRAINED, UNTRAINED)]
        for recipe in self.recipes:
            for size, whole in sizes:
                steps = recipe.schedule.steps and self.steps_at(size)  # 0: nothing is trained
                budget = recipe.with_schedule(steps=steps, batch_size=self.batch, validate_every=VALIDATE_EVERY)
                cell = Run(recipe.name, DISTILLATION, size, whole, None, budget, student=self.student)
                runs += [replace(cell, seed=seed) for seed in self.seeds]
        cells = [(size, whole, seed) for size, whole in sizes for seed in self.seeds]
        if self.translator is not None:
            runs.append(Run(TRANSLATE_TEST, PRETRAINED, translator=self.translator))
        elif self.translation is not None:
            runs += [Run(TRANSLATE_TEST, TRANSLATE_TEST, *cell, translation=self.translation) for cell in cells]
        if self.lexical:
            for aligner in self.tables:
                name = LEXICAL if aligner == "transport" else f"{LEXICAL}-{aligner}"
                runs += [Run(name, LEXICAL, *cell, aligner=aligner) for cell in cells]
        if self.own_space:
            runs.append(Run(ZERO_SHOT, OWN_SPACE, student=self.student))
            runs += [Run(SHIFT, OWN_SPACE, *cell, student=self.student) for cell in cells]
        return runs

    @property
    def standard(self) -> bool:
        """True if the grid covers the standard study, with its budgets."""
        names = {recipe.name for recipe in self.recipes}
        usual = PRETRAINED_RECIPES if self.student != "static" else SENTENCE_RECIPES if self.up_to else RECIPES
        covers = names >= set(usual) and {*self.sizes} >= {*SIZES} and {*self.seeds} >= {*range(SEEDS)}
        as_ever = covers and self.steps is None and self.translator is None
        if self.up_to:
            return as_ever
        return as_ever and self.languages == DEFAULT_LANGUAGES and self.lexical and self.translation == TRANSLATION


AnyGrid = TypeVar("AnyGrid", bound=Grid)


def usual_recipes(variant: Variant) -> tuple[str, ...]:
    """Return the names of the low-resource study's usual recipes."""
    if variant.mode == "quick":
        return QUICK_RECIPES
    if variant.pretrained:
        return PRETRAINED_RECIPES
    if variant.sentences:
        names = LARGER_SENTENCE_RECIPES if variant.mode == "larger" else SENTENCE_RECIPES
        return tuple(name for name in names if name != "fast-align" or has_fast_align())
    return LARGER_RECIPES if variant.mode == "larger" else RECIPES


def low_resource_grid(recipes: Sequence[Recipe], variant: Variant = STANDARD) -> Grid:
    """Return the standard grid, a "quick" one of two minutes, or a "larger" one with more seeds and a smaller size."""
    grid = Grid(tuple(recipes))
    if variant.mode == "quick":
        grid = replace(grid, **QUICK)
    elif variant.mode == "larger":
        grid = replace(grid, sizes=LARGER_SIZES, seeds=tuple(range(LARGER_SEEDS)))
    if variant.sentences:
        grid = replace(grid, own_space=variant.pretrained)
        if variant.mode == "larger":  # a table's run takes longer than a student's: thousands of sentences are encoded
            grid = replace(grid, tables=("transport", "ibm1", *(("fast_align",) if has_fast_align() else ())))
    return for_variant(grid, variant)


def for_variant(grid: AnyGrid, variant: Variant) -> AnyGrid:
    """Return a grid with what sentences and pretrained students change of it."""
    if variant.sentences:
        # A Marian model trained on so few sentences takes minutes a run to translate them all (docs/experiments.md).
        grid = replace(grid, languages=(), translation=None, lexical=not variant.pretrained, up_to=True)
    if variant.pretrained:
        grid = replace(grid, student=variant.student, multi_vector=False, batch=PRETRAINED_BATCH)
    return grid


def contrasts(grid: Grid) -> list[str]:
    """Return the controls that the study's question names beside the best recipe without transport."""
    names = {recipe.name for recipe in grid.recipes}
    return [name for name in CONTRASTS if name in names]


def read_sizes(sizes: Sequence[Size | str]) -> tuple[Size, ...]:
    """Read sizes such as ``("100,300", "all")`` or ``(100, None)``, each once."""
    words = ["all" if one is None else str(one) for one in sizes]
    words = [word for one in words for word in one.replace(",", " ").split()]
    for word in words:
        if word != "all" and not (word.isdecimal() and len(word) <= 18 and int(word) > 0):
            raise UsageError(f"--sizes {word[:40]}: give a number of pairs per language, at least 1, or 'all'.")
    return tuple(dict.fromkeys(None if word == "all" else int(word) for word in words))


def steps_for(size: int, sentences: bool = False, pretrained: bool = False) -> int:
    """Return the training steps of all recipes at a number of pairs per language."""
    table = _PRETRAINED_STEPS if pretrained else _SENTENCE_STEPS if sentences else _STEPS
    return next(steps for most, steps in table if size <= most)


def pairs_per_language(bitext: Bitext) -> int:
    """Return the rounded mean of pairs per language, as ``About.pairs_per_language``."""
    return round(len(bitext) / max(1, len(bitext.languages())))


def _resolved(sizes: Sequence[Size], bitext: Bitext, up_to: bool) -> list[tuple[int, bool]]:
    """Return (pairs per language, whether that is all) of each size; ``up_to``: a language may have fewer."""
    counts = {code: len(pairs) for code, pairs in bitext.by_language().items()}
    least = (max if up_to else min)(counts, key=lambda code: counts[code])
    resolved: dict[int, Size] = {}
    for size in sizes:
        if size is not None and size > counts[least]:
            raise UsageError(
                f"--sizes {size}: {least} has {counts[least]:,} training pairs. Give a smaller size, or 'all'."
            )
        pairs = pairs_per_language(bitext) if size is None else size
        if pairs in resolved:
            raise UsageError(f"--sizes: {pairs} and 'all' are the same here, {pairs:,} pairs. Name one of them.")
        resolved[pairs] = size
    return [(pairs, size is None) for pairs, size in resolved.items()]
