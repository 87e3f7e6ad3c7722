"""The grid of the robustness study: its systems, and the plan of attacks on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from kivuko.bitext.pairs import Bitext
from kivuko.errors import UsageError
from kivuko.evaluation.attack.results import attack_facts as facts_of
from kivuko.perturbations.catalog import CODE_SWITCH
from kivuko.perturbations.runner import sweeps
from kivuko.perturbations.spec import AttackSpec, parse_attacks
from kivuko.studies.grid import UNTRAINED, Grid, Run, low_resource_grid
from kivuko.training.recipe import Recipe


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

    def plus(self, attacks: Sequence[str]) -> Plan:
        """Return the plan with further attacks, as ``kivuko attack`` takes them.

        Noise is on all queries; searches and gradients attack as many concepts as those of the plan at most do.
        """
        most = max((one.concepts for one in self.attacks if one.concepts is not None), default=None)
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
        return Plan(tuple(planned))

    @property
    def switches_code(self) -> bool:
        return CODE_SWITCH in self.noises()


_NOT_PLANNED = ("universal", "universal-text", "sga")  # they need queries that the study does not have
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
    PlannedAttack("hotflip", concepts=30),
    PlannedAttack("gaussian-noise:severity=1|3|5"),
    *(PlannedAttack(f"{name}:severity=3") for name in ("blur", "jpeg", "occlusion", "contrast")),
    PlannedAttack(f"apgd:eps=1/255|2/255|4/255|8/255,steps=20,{_ENGLISH}", concepts=100),
    PlannedAttack("apgd:eps=4/255,steps=8", concepts=40),
    PlannedAttack(f"{_SEP},eps=2/255,steps=20,candidates=32", concepts=100),
))  # fmt: skip
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
# Two sizes, so that a better system can be set back to the clean accuracy of a worse one.
SIZES: tuple[int | None, ...] = (300, 1000)
HEADLINE_SIZE = 1000
LARGER_SIZES: tuple[int | None, ...] = (100, 300, 1000, None)


@dataclass(frozen=True)
class RobustnessGrid:
    """``systems``: the low-resource study's grid; ``plan``: the attacks on each system."""

    systems: Grid
    plan: Plan = STANDARD_PLAN

    def runs(self, bitext: Bitext) -> list[Run]:
        """Return every run: the English teacher on English names, then each objective."""
        return [run for run in self.systems.runs(bitext) if run.kind != UNTRAINED]

    def changed(self, **changes: Any) -> RobustnessGrid:
        return replace(self, systems=self.systems.changed(**changes))

    @property
    def standard(self) -> bool:
        """True if the grid covers the standard study."""
        systems = self.systems
        names = {recipe.name for recipe in systems.recipes}
        covers = names >= set(RECIPES) and {*systems.sizes} >= {*SIZES} and len(systems.seeds) >= 5
        return covers and self.plan == STANDARD_PLAN and systems.steps is None and systems.translator is None


def robustness_grid(recipes: Sequence[Recipe], mode: str = "standard") -> RobustnessGrid:
    """Return the standard grid, a "quick" one of a few minutes, or a "larger" one with more seeds and sizes."""
    if mode == "quick":
        return RobustnessGrid(low_resource_grid(recipes, "quick"), QUICK_PLAN)
    if mode == "larger":
        return RobustnessGrid(Grid(tuple(recipes), LARGER_SIZES, tuple(range(10))))
    return RobustnessGrid(Grid(tuple(recipes), SIZES))
