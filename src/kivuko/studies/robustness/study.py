"""The robustness study, objectives × attacks × budgets × seeds: does transport make image search more robust?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from kivuko.bitext.pairs import Bitext
from kivuko.datasets.emoji.world import EmojiWorld
from kivuko.encoders.model import quiet
from kivuko.encoders.teacher import load_teacher
from kivuko.evaluation.records import Header
from kivuko.progress import bars, late_task
from kivuko.studies.engine import FinishedRuns, Study
from kivuko.studies.inputs import needs_words
from kivuko.studies.low_resource import study_header
from kivuko.studies.robustness.grid import (
    HEADLINE_SIZE,
    QUICK_RECIPES,
    RECIPES,
    RobustnessGrid,
    attack_facts,
    robustness_grid,
)
from kivuko.studies.robustness.inputs import RobustnessInputs, robustness_inputs
from kivuko.studies.robustness.measuring import prepare
from kivuko.training.recipe import Recipe

STUDY = "robustness"
_KEPT = (
    "datasets", "ties", "ranking", "R@k", "intervals", "headline", "queries", "splits", "languages", "groups",
    "sizes", "pairs in all", "sampling", "seeds", "steps", "batch", "student", "selection in a run",
    "validation data", "teacher", "translation", "workers", "seconds per run",
)  # fmt: skip


def robustness_header(
    grid: RobustnessGrid,
    inputs: RobustnessInputs,
    bitext: Bitext,
    finished: FinishedRuns,
    command: str,
    workers: int,
) -> Header:
    """Return the header of the study's records."""
    systems = study_header(grid.systems, inputs.plain, bitext, finished, command, workers)
    sizes = [size for size in systems.protocol["sizes"] if size is not None]
    recipes = {name: dict(facts) for name, facts in systems.protocol["recipes"].items()}
    for recipe in grid.systems.recipes:
        recipes[recipe.name]["robust"] = recipe.augmentation is not None
        if recipe.augmentation is not None:
            recipes[recipe.name]["augmentation"] = asdict(recipe.augmentation)
            counterpart = recipe.name.removesuffix("-robust")
            if counterpart in recipes and counterpart != recipe.name:
                recipes[recipe.name]["counterpart"] = counterpart
    protocol: dict[str, Any] = {
        "study": STUDY,
        "standard": grid.standard,
        "quick": systems.protocol["quick"],
        "question": "Does optimal-transport distillation improve the robustness of multilingual CLIP against "
        "adversarial perturbations in low-resource image retrieval?",
        **{key: systems.protocol[key] for key in _KEPT if key in systems.protocol},
        "headline size": HEADLINE_SIZE if HEADLINE_SIZE in sizes else max(sizes, default=None),
        "recipes": recipes,
        "attacks": attack_facts(grid.plan),
        "plan": asdict(grid.plan),
        "threat": "the query or the one right image is changed, every other image stays clean; pixels are those "
        "that the tower sees (64 x 64), on whole steps of 1/255 and inside the L-inf radius",
        "image towers": {tower.name: "ships with Kivuko" for tower in inputs.towers},
        "measures": "MAP, R@1 and R@10 over the whole gallery; with one right image MAP is the mean reciprocal rank",
        "noise": "one draw per query, attack, budget and seed, the same for all systems of a seed",
        "attacked concepts": {
            "available": len(inputs.concepts),
            **{one.specs[0].label: one.concepts for one in grid.plan.attacks if one.concepts is not None},
        },
        "fingerprint": inputs.fingerprint,
        "limits": _limits(grid, systems.protocol["limits"]),
    }  # fmt: skip
    return Header(command=command, protocol=protocol, seeds=grid.systems.seeds)


def _limits(grid: RobustnessGrid, systems: Sequence[str]) -> list[str]:
    own = [
        "The image tower is shared: objectives differ in their queries only, so an image attack shows how much a "
        "query's vector leaves between the right image and the next, not how robust an objective makes a tower.",
        "English-crafted perturbations are the same for all systems; those crafted with own vectors take fewer steps, "
        "on fewer concepts, as the attacks' labels and the attacked concepts say.",
        "Translators are too slow for searches: translate-test meets noise and perturbed images.",
        "Diacritics and word edits do nothing where a query has no mark or one word; such queries count as they are.",
        "Images are small and plain, and the tower was trained on noisy views of them: radii that break a photograph "
        "model may leave it unmoved.",
    ]
    return [*own, *systems]


def perturbed_inputs(world: EmojiWorld, grid: RobustnessGrid, progress: bool | None) -> RobustnessInputs:
    """Encode what all runs share, and perturb the images that need no system, with progress bars."""
    with quiet():
        teacher = load_teacher()
    with bars(progress) as display:
        return robustness_inputs(
            world, grid.systems.languages, teacher, grid.plan, words=needs_words(grid.systems.recipes),
            encoded=late_task(display, "teacher"), attacked=late_task(display, "attacking images"),
        )  # fmt: skip


ROBUSTNESS = Study(
    STUDY,
    robustness_grid,
    {"standard": RECIPES, "quick": QUICK_RECIPES, "larger": RECIPES},
    perturbed_inputs,
    prepare,
    robustness_header,
)


def robustness_study(attacks: Sequence[str] = ()) -> Study:
    """Return the study with further attacks, as ``kivuko attack`` takes them: ``package.module:Class``, say."""

    def grid(recipes: Sequence[Recipe], mode: str = "standard") -> RobustnessGrid:
        usual = robustness_grid(recipes, mode)
        return replace(usual, plan=usual.plan.plus(attacks))

    return replace(ROBUSTNESS, grid=grid) if attacks else ROBUSTNESS
