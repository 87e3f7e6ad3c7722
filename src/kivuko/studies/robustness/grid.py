"""The systems of the study: which objectives, on how much bitext, with which seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from kivuko.bitext import Bitext
from kivuko.perturbations.image.pixel_tower import LEVELS
from kivuko.studies.grid import QUICK_LANGUAGES, QUICK_STEPS, QUICK_TRANSLATION, UNTRAINED, Grid, Run
from kivuko.training.recipe import Recipe

TEXT_NOISE, TEXT_ADVERSARIAL = "text noise", "text adversarial"
IMAGE_NOISE, IMAGE_ADVERSARIAL, JOINT = "image noise", "image adversarial", "joint"
GREEDY, HOTFLIP, CODE_SWITCH = "greedy", "hotflip", "code-switch"
ENGLISH_CRAFTED, OWN_CRAFTED, SEPARATE = "apgd-english", "apgd-own", "sep"
EDITS, RADIUS, SEVERITY = "edits", "radius", "severity"


def radius(levels: int) -> float:
    """Return so many 255ths."""
    return levels / LEVELS


@dataclass(frozen=True)
class Plan:
    """What every system goes through.

    Attributes:
        noise: kind or group of edit -> numbers of edits; on every query.
        spoken: those that translators go through, which must translate every perturbed query.
        greedy_edits, hotflip_edits: the largest budgets; the smaller ones come with them.
        greedy_candidates, hotflip_candidates: tried per query and round.
        corruptions: name -> severities; on the image of every query.
        radii: of APGD crafted with the English name's vector, in 255ths.
        own_radii: of APGD crafted with the system's own query vector.
        steps, own_steps: of APGD.
        joint: (edits, radius in 255ths): the greedy edits and the English-crafted image together.
        attacked: concepts whose queries are attacked by search or gradients; noise is on all.
        own_attacked, hotflip_attacked: the same for APGD with own vectors, and for HotFlip.
    """

    noise: tuple[tuple[str, tuple[int, ...]], ...] = (
        ("typo", (1, 2, 3)), ("keyboard", (2,)), ("confusable", (2,)), ("diacritics", (2,)),
        ("drop-word", (1,)), ("swap-words", (1,)), (CODE_SWITCH, (1,)),
    )  # fmt: skip
    spoken: tuple[str, ...] = ("typo", "confusable", "drop-word")
    greedy_edits: int = 2
    greedy_candidates: int = 32
    hotflip_edits: int = 1
    hotflip_candidates: int = 16
    corruptions: tuple[tuple[str, tuple[int, ...]], ...] = (
        ("gaussian-noise", (1, 3, 5)), ("blur", (3,)), ("jpeg", (3,)), ("occlusion", (3,)), ("contrast", (3,)),
    )  # fmt: skip
    radii: tuple[int, ...] = (1, 2, 4, 8)
    own_radii: tuple[int, ...] = (4,)
    steps: int = 20
    own_steps: int = 8
    joint: tuple[tuple[int, int], ...] = ((1, 2),)
    attacked: int = 100
    own_attacked: int = 40
    hotflip_attacked: int = 30


STANDARD_PLAN = Plan()
QUICK_PLAN = Plan(
    noise=(("typo", (1, 2)),), spoken=("typo",), greedy_edits=1, greedy_candidates=8, hotflip_edits=1,
    corruptions=(("gaussian-noise", (3,)),), radii=(2, 8), own_radii=(8,), steps=5, own_steps=3,
    attacked=12, own_attacked=8, hotflip_attacked=8,
)  # fmt: skip


def attack_facts(plan: Plan) -> dict[str, dict[str, object]]:
    """Return what the report says of each attack: its family, description, unit and concepts."""
    edits = {
        "typo": "letters inserted, left out, swapped or replaced at random",
        "keyboard": "letters replaced by a neighbor on the language's keyboard",
        "confusable": "letters replaced by look-alikes of other scripts",
        "diacritics": "accents and vowel signs left out, where there are any",
        "drop-word": "a word left out, where there are several",
        "swap-words": "two neighboring words swapped, where there are several",
        CODE_SWITCH: "a word said in English, as the bitext's plans align it",
    }
    found: dict[str, dict[str, object]] = {
        name: {"kind": TEXT_NOISE, "description": edits.get(name, name), "unit": EDITS} for name, _ in plan.noise
    }
    found[GREEDY] = {
        "kind": TEXT_ADVERSARIAL, "unit": EDITS, "concepts": plan.attacked,
        "description": f"the worst of {plan.greedy_candidates} random misspellings, edit after edit; asks the system "
        "only",
    }  # fmt: skip
    if plan.hotflip_edits:
        found[HOTFLIP] = {
            "kind": TEXT_ADVERSARIAL, "unit": "subwords", "concepts": plan.hotflip_attacked,
            "description": "subwords exchanged for others of the vocabulary, chosen by gradients; students only",
        }  # fmt: skip
    for name, _ in plan.corruptions:
        found[name] = {"kind": IMAGE_NOISE, "description": "on the right image", "unit": SEVERITY}
    found[ENGLISH_CRAFTED] = {
        "kind": IMAGE_ADVERSARIAL, "unit": RADIUS, "concepts": plan.attacked,
        "description": f"APGD, {plan.steps} steps, away from the English name's vector, tried on every language",
    }  # fmt: skip
    found[OWN_CRAFTED] = {
        "kind": IMAGE_ADVERSARIAL, "unit": RADIUS, "concepts": plan.own_attacked,
        "description": f"APGD, {plan.own_steps} steps, away from the system's own query vector",
    }  # fmt: skip
    for edits_made, levels in plan.joint:
        found[separate(edits_made)] = {
            "kind": JOINT, "unit": RADIUS, "concepts": plan.attacked,
            "description": f"{edits_made} greedy edit(s) of the query and, apart, the image within {levels}/255, "
            f"as in {ENGLISH_CRAFTED}",
        }  # fmt: skip
    return found


def separate(edits: int) -> str:
    """Return the name of the joint attack in records."""
    return f"{SEPARATE}:edits={edits}"


# Without transport, with it, and those that learn from misspelled sentences (each beside its plain counterpart).
RECIPES = (
    "mse", "cosine", "contrastive", "greedy", "transport", "transplant", "optical", "contrastive-robust",
    "optical-robust",
)  # fmt: skip
QUICK_RECIPES = ("contrastive", "optical", "optical-robust")
# Two sizes, so that a better system can be set back to the clean accuracy of a worse one.
SIZES: tuple[int | None, ...] = (300, 1000)
HEADLINE_SIZE = 1000
LARGER_SIZES: tuple[int | None, ...] = (100, 300, 1000, None)
QUICK_SIZES: tuple[int | None, ...] = (100, 300)


@dataclass(frozen=True)
class RobustnessGrid:
    """``systems``: the low-resource study's grid of systems; ``plan``: what each goes through."""

    systems: Grid
    plan: Plan = STANDARD_PLAN

    def runs(self, bitext: Bitext) -> list[Run]:
        """Return every run: the English teacher on English names, then objective by objective.

        Raises:
            UsageError: see ``Grid.runs``.
        """
        return [run for run in self.systems.runs(bitext) if run.kind != UNTRAINED]

    def changed(self, **changes: Any) -> RobustnessGrid:
        """Return the grid with other settings of its systems."""
        return replace(self, systems=self.systems.changed(**changes))

    @property
    def standard(self) -> bool:
        """Whether the grid covers the standard study."""
        systems = self.systems
        names = {recipe.name for recipe in systems.recipes}
        covers = names >= set(RECIPES) and {*systems.sizes} >= {*SIZES} and len(systems.seeds) >= 5
        return covers and self.plan == STANDARD_PLAN and systems.steps is None and systems.translator is None


def robustness_grid(recipes: Sequence[Recipe], mode: str = "standard") -> RobustnessGrid:
    """Return the standard grid, a "quick" one, or a "larger" one with twice the seeds, and less and more bitext."""
    if mode == "quick":
        return quick_grid(recipes)
    if mode == "larger":
        return RobustnessGrid(Grid(tuple(recipes), LARGER_SIZES, tuple(range(10))))
    return RobustnessGrid(Grid(tuple(recipes), SIZES))


def quick_grid(recipes: Sequence[Recipe]) -> RobustnessGrid:
    """Return a grid that exercises everything in a few minutes and proves nothing."""
    systems = Grid(
        tuple(recipes), QUICK_SIZES, (0, 1), QUICK_LANGUAGES, steps=QUICK_STEPS, translation=QUICK_TRANSLATION
    )
    return RobustnessGrid(systems, QUICK_PLAN)
