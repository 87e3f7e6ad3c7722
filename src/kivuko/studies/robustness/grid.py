"""The systems of the study: which objectives, on how much bitext, with which seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from kivuko.bitext import Bitext
from kivuko.distill.recipe import Recipe
from kivuko.studies.low_resource.grid import (
    QUICK_LANGUAGES,
    QUICK_STEPS,
    QUICK_TRANSLATION,
    UNTRAINED,
    Grid,
    Run,
)
from kivuko.studies.robustness.plan import QUICK_PLAN, STANDARD_PLAN, Plan

# Without transport, with it, and those that learn from misspelt sentences (each beside its plain counterpart).
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

    @property
    def standard(self) -> bool:
        """Whether the grid covers the standard study."""
        systems = self.systems
        names = {recipe.name for recipe in systems.recipes}
        covers = names >= set(RECIPES) and {*systems.sizes} >= {*SIZES} and len(systems.seeds) >= 5
        return covers and self.plan == STANDARD_PLAN and systems.steps is None and systems.translator is None


def standard_grid(recipes: Sequence[Recipe]) -> RobustnessGrid:
    """Return the study as it is reported."""
    return RobustnessGrid(Grid(tuple(recipes), SIZES))


def larger_grid(recipes: Sequence[Recipe]) -> RobustnessGrid:
    """Return the standard grid with twice the seeds, and less and more bitext."""
    return RobustnessGrid(replace(Grid(tuple(recipes), LARGER_SIZES), seeds=tuple(range(10))))


def quick_grid(recipes: Sequence[Recipe]) -> RobustnessGrid:
    """Return a grid that exercises everything in a few minutes and proves nothing."""
    systems = Grid(
        tuple(recipes), QUICK_SIZES, (0, 1), QUICK_LANGUAGES, steps=QUICK_STEPS, translation=QUICK_TRANSLATION
    )
    return RobustnessGrid(systems, QUICK_PLAN)
