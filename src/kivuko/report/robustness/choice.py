"""Which recipe stands for transport, and which for distillation without it: decided on clean validation queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kivuko.report.low_resource.recipes import DISTILLATION
from kivuko.report.low_resource.study import VALIDATION
from kivuko.report.robustness.attacks import FAMILIES
from kivuko.report.robustness.study import RobustnessStudy, Scope, Spot, System, over_seeds

RULE = (
    "At each bitext size the best recipe with transport and the best distillation recipe without it are chosen by the "
    "low-resource mean MAP over seeds of clean queries of the validation split; no attacked score has a part in the "
    "choice. Recipes hardened against perturbed text do not stand for transport and are reported apart."
)
_WITHOUT_VALIDATION = {
    True: ("optical", "transport", "transplant"),
    False: ("contrastive", "sentence", "cosine", "mse"),
}
EVERYTHING = "all attacks"


@dataclass(frozen=True)
class Choice:
    """What is compared at one bitext size.

    Attributes:
        transport, plain: the chosen recipes; None where none was measured under attack.
        candidates: every recipe with transport that was measured under attack, the chosen one first.
        scopes: all attacks together, then each family, over the attacks and budgets that every one of them was measured
            under.
        notes: what a reader should know of the choice, a line each.
    """

    size: int
    transport: System | None
    plain: System | None
    candidates: tuple[System, ...]
    scopes: tuple[Scope, ...]
    notes: tuple[str, ...]


def choose(study: RobustnessStudy, size: int) -> Choice:
    """Choose at one size."""
    distilled = [
        system
        for system in study.systems(size)
        if study.recipe(system.objective).kind == DISTILLATION and not study.hardened(system.objective)
        and study.measured(system)
    ]  # fmt: skip
    notes: list[str] = []
    validation = {}
    for system in distilled:
        if found := over_seeds(study.seed_values(Spot(system, split=VALIDATION))):
            validation[system] = found.mean
    sides = {uses: [s for s in distilled if study.recipe(s.objective).transport is uses] for uses in (True, False)}
    chosen = {uses: _best(sides[uses], validation, uses, notes, size) for uses in sides}
    first = chosen[True]
    candidates = tuple(sorted(sides[True], key=lambda s: (s != first, s.objective)))
    plain = chosen[False]
    compared = [*candidates, *([plain] if plain else [])]
    return Choice(size, first, plain, candidates, _scopes(study, compared, notes, size), tuple(notes))


def _best(
    systems: Sequence[System], validation: Mapping[System, float], transport: bool, notes: list[str], size: int
) -> System | None:
    what = "with transport" if transport else "without transport"
    if not systems:
        notes.append(f"{size:,} pairs: no distillation recipe {what} was measured under attack")
        return None
    if all(system in validation for system in systems):
        # Equal figures: the first by name, so that the same records give the same page.
        return max(systems, key=lambda system: validation[system])
    fixed = [s for name in _WITHOUT_VALIDATION[transport] for s in systems if s.objective == name]
    best = (fixed or list(systems))[0]
    if len(systems) > 1:
        notes.append(
            f"{size:,} pairs: not every recipe {what} has validation scores, so {best.objective} was taken by its name"
        )
    return best


def _scopes(study: RobustnessStudy, systems: Sequence[System], notes: list[str], size: int) -> tuple[Scope, ...]:
    if not systems:
        return ()
    shared = set.intersection(*(study.measured(system) for system in systems))
    if left_out := sorted({name for s in systems for name, _ in study.measured(s)} - {name for name, _ in shared}):
        notes.append(f"{size:,} pairs: {', '.join(left_out)} was not made on every recipe, so means leave it out")
    by_family: dict[str, list[tuple[str, tuple[float, ...]]]] = {}
    for facts in study.attacks:
        if budgets := tuple(sorted(budget for name, budget in shared if name == facts.name)):
            by_family.setdefault(facts.family, []).append((facts.name, budgets))
    families = [Scope(family, tuple(attacks)) for family, attacks in by_family.items()]
    families.sort(key=lambda scope: FAMILIES.index(scope.name) if scope.name in FAMILIES else len(FAMILIES))
    every = tuple(attack for scope in families for attack in scope.attacks)
    return (Scope(EVERYTHING, every), *families) if every else ()
