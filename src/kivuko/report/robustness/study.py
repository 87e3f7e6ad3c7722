"""The records of a robustness study, ordered by what its page asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kivuko.errors import DataError
from kivuko.evaluation import Header, Interval, PerQueryScores, Record, seed_interval, seed_means
from kivuko.evaluation.comparison import mixture, on_queries_of
from kivuko.languages import DEFAULT_LANGUAGES
from kivuko.report.low_resource.study import (
    ALL,
    ENGLISH,
    GROUPS,
    HEADLINE,
    HIGH,
    LOW,
    MAP,
    TEST,
    RecipeFacts,
    Seed,
    is_low,
    recipe_facts,
)
from kivuko.report.rendering import count

TEXT_NOISE, TEXT_ADVERSARIAL = "text noise", "text adversarial"
IMAGE_NOISE, IMAGE_ADVERSARIAL, JOINT = "image noise", "image adversarial", "joint"
FAMILIES = (TEXT_NOISE, TEXT_ADVERSARIAL, IMAGE_NOISE, IMAGE_ADVERSARIAL, JOINT)
OF_IMAGES = (IMAGE_NOISE, IMAGE_ADVERSARIAL, JOINT)
OTHER = "other attacks"
EDITS, RADIUS, SEVERITY = "edits", "radius", "severity"

_KNOWN = {
    TEXT_ADVERSARIAL: ("greedy", "hotflip", "char-gradient", "universal-text"),
    IMAGE_NOISE: ("gaussian-noise", "blur", "jpeg", "occlusion", "contrast"),
    IMAGE_ADVERSARIAL: (
        "fgsm", "pgd", "apgd", "square", "standard", "universal", "apgd-english", "apgd-own", "pgd-english", "pgd-own",
    ),
    JOINT: ("sep", "co-attack", "sga"),
    TEXT_NOISE: (
        "typo", "insert", "delete", "swap", "substitute", "keyboard", "confusable", "diacritics", "case", "width",
        "normalization", "join", "split", "drop-word", "swap-words", "code-switch",
    ),
}  # fmt: skip
_UNITS = {
    TEXT_NOISE: EDITS,
    TEXT_ADVERSARIAL: EDITS,
    IMAGE_NOISE: SEVERITY,
    IMAGE_ADVERSARIAL: RADIUS,
    JOINT: RADIUS,
}


@dataclass(frozen=True)
class AttackFacts:
    """``family``: one of ``FAMILIES``, or what the header says; ``unit``: "edits", "radius", "severity" or another."""

    name: str
    family: str
    description: str
    unit: str


def attack_facts(protocol: Mapping[str, Any], name: str) -> AttackFacts:
    """Read the facts of one attack; what is not told is taken from its name."""
    told = protocol.get("attacks")
    entry = told.get(name) if isinstance(told, Mapping) else None
    entry = entry if isinstance(entry, Mapping) else {}
    family = str(entry.get("kind") or next((kind for kind, names in _KNOWN.items() if name in names), OTHER))
    unit = str(entry.get("unit") or entry.get("budget unit") or _UNITS.get(family, "budget"))
    return AttackFacts(name, family, str(entry.get("description") or ""), unit)


def in_order(attacks: Sequence[AttackFacts]) -> list[AttackFacts]:
    """Return the attacks by family, in the order of ``FAMILIES``, then by name."""
    place = {family: row for row, family in enumerate(FAMILIES)}
    return sorted(attacks, key=lambda facts: (place.get(facts.family, len(place)), facts.family, facts.name))


def budget_label(unit: str, budget: float | None) -> str:
    """Write a budget: ``2 edits``, ``4/255``, ``severity 3``; ``clean`` for none."""
    if budget is None or budget == 0:
        return "clean"
    if unit == EDITS and budget == int(budget):
        return count(int(budget), "edit")
    if unit == RADIUS:
        levels = budget * 255
        return f"{round(levels)}/255" if abs(levels - round(levels)) < 1e-6 and levels < 255 else f"{budget:g}"
    return f"{unit} {budget:g}"


def budget_tick(unit: str, budget: float) -> str:
    """Write a budget at an axis that says its unit: ``2``, ``4/255``."""
    return budget_label(unit, budget) if unit == RADIUS and budget else f"{budget:g}"


Budgeted = tuple[str, float]
"""An attack at a budget."""


@dataclass(frozen=True)
class System:
    """What was attacked: a student under an objective, at a bitext size, with an image tower (``model`` names both)."""

    model: str
    objective: str
    size: int | None


@dataclass(frozen=True)
class Spot:
    """Where one figure of one system stands; ``attack`` None: clean."""

    system: System
    attack: Budgeted | None = None
    language: str = LOW
    measure: str = MAP
    split: str = TEST


@dataclass(frozen=True)
class Scope:
    """A set of attacks that are spoken of together: each weighs alike, and so does each budget of one."""

    name: str
    attacks: tuple[tuple[str, tuple[float, ...]], ...]

    @property
    def weights(self) -> dict[Budgeted, float]:
        """Each attack and budget with its weight; they add up to 1."""
        return {
            (attack, budget): 1 / (len(self.attacks) * len(budgets))
            for attack, budgets in self.attacks
            for budget in budgets
        }


class RobustnessStudy:
    """A study's records and per-query MAP.

    Attributes:
        header: how they came to be.
        models: those measured; the first one has the plain image tower, the others are hardened.
        attacks: those measured on the test split, by family.
        languages: those measured, English aside; ``low`` and ``high`` are the two groups of them.

    Raises:
        DataError: there is nothing to report, or two records say different things of the same condition.
    """

    def __init__(self, header: Header, records: Sequence[Record], per_query: Sequence[PerQueryScores]) -> None:
        self.header = header
        if not any(record.measure == MAP and record.attack is not None for record in records):
            raise DataError("the records hold no MAP of attacked queries, so there is nothing to report; run the study")
        self.subset = HEADLINE if any(record.subset == HEADLINE for record in records) else ALL
        self._seeds = _by_spot(record for record in records if record.subset == self.subset)
        self._blocks: dict[Spot, list[PerQueryScores]] = {}
        for block in per_query:
            if block.measure == MAP and block.subset == self.subset:
                self._blocks.setdefault(replace(_spot(block), language=LOW), []).append(block)
        self._mixed: dict[tuple[System, Scope], list[PerQueryScores] | None] = {}
        self._budgets: dict[System, dict[str, set[float]]] = {}
        for spot in self._seeds:
            found = self._budgets.setdefault(spot.system, {})
            if spot.attack is not None and spot.split == TEST and spot.measure == MAP:
                found.setdefault(spot.attack[0], set()).add(spot.attack[1])
        self.models = _ordered_models({system.model for system in self._budgets})
        names = {attack for budgets in self._budgets.values() for attack in budgets}
        self.attacks = tuple(in_order([attack_facts(header.protocol, name) for name in names]))
        self.languages = _ordered_languages({spot.language for spot in self._seeds} - {ENGLISH, *GROUPS})
        self.low = tuple(code for code in self.languages if is_low(code))
        self.high = tuple(code for code in self.languages if not is_low(code))

    @property
    def sizes(self) -> tuple[int, ...]:
        """The bitext sizes, ascending."""
        return tuple(sorted({system.size for system in self._budgets if system.size is not None}))

    def systems(self, size: int | None, model: str | None = None) -> tuple[System, ...]:
        """Return what was measured at a size, in order of name; size None: without bitext."""
        model = model or self.models[0]
        found = [system for system in self._budgets if (system.size, system.model) == (size, model)]
        return tuple(sorted(found, key=lambda system: system.objective))

    def budgets(self, attack: str, systems: Iterable[System] | None = None) -> tuple[float, ...]:
        """Return the budgets of an attack, ascending: of any system, or of these."""
        chosen = self._budgets if systems is None else systems
        return tuple(sorted({b for system in chosen for b in self._budgets.get(system, {}).get(attack, ())}))

    def measured(self, system: System) -> set[Budgeted]:
        """Return every attack and budget that a system was measured under."""
        return {(attack, budget) for attack, found in self._budgets.get(system, {}).items() for budget in found}

    def recipe(self, objective: str) -> RecipeFacts:
        """Return what the header tells of a recipe."""
        return recipe_facts(self.header.protocol, objective)

    def hardened(self, objective: str) -> bool:
        """Say whether the header tells that a recipe was trained on perturbed text."""
        told = self.header.protocol.get("recipes")
        entry = told.get(objective) if isinstance(told, Mapping) else None
        return isinstance(entry, Mapping) and entry.get("robust") is True

    def seed_values(self, spot: Spot) -> dict[Seed, float]:
        """Return the figure of each seed; a group's is made from its languages where no record holds it."""
        if found := self._seeds.get(spot):
            return {seed: record.value for seed, record in found.items()}
        members = self.members(spot.language)
        if members == (spot.language,) or not members:
            return {}
        parts = [self.seed_values(replace(spot, language=code)) for code in members]
        return {
            seed: sum(part[seed] for part in parts) / len(parts)
            for seed in parts[0]
            if all(seed in part for part in parts)
        }

    def members(self, language: str) -> tuple[str, ...]:
        """Return the languages of a group, or the language alone."""
        return {LOW: self.low, HIGH: self.high}.get(language, (language,))

    def clean_values(
        self, system: System, attacked: Sequence[PerQueryScores], language: str = LOW
    ) -> dict[Seed, float]:
        """Return each seed's clean MAP over the queries that an attack was made on, which may not be all of them."""
        clean = self.blocks(system)
        told = self.seed_values(Spot(system, language=language))
        if sum(len(block.values) for block in attacked) in (0, sum(len(block.values) for block in clean)):
            return told
        return _means(lambda kept: on_queries_of(clean, kept), attacked, self.members(language), told)

    def scope_values(self, system: System, scope: Scope, language: str = LOW) -> dict[Seed, float]:
        """Return each seed's mean MAP over a scope's attacks; nothing where one of them was not measured."""
        told = self._told_of_scope(system, scope, language)
        blocks = self.scope_blocks(system, scope) or []
        return _means(lambda kept: kept, blocks, self.members(language), told)

    def _told_of_scope(self, system: System, scope: Scope, language: str) -> dict[Seed, float]:
        """Do so from the records alone, where each attack speaks of its own queries."""
        parts = [(weight, self.seed_values(Spot(system, attack, language))) for attack, weight in scope.weights.items()]
        if not parts:
            return {}
        return {
            seed: sum(weight * part[seed] for weight, part in parts)
            for seed in parts[0][1]
            if all(seed in part for _, part in parts)
        }

    def blocks(self, system: System, attack: Budgeted | None = None) -> list[PerQueryScores]:
        """Return the per-query MAP on the test split, one block per language and seed."""
        return self._blocks.get(Spot(system, attack), [])

    def scope_blocks(self, system: System, scope: Scope) -> list[PerQueryScores] | None:
        """Return each query's mean over a scope's attacks; None where one of them was not measured query by query."""
        key = (system, scope)
        if key not in self._mixed:
            parts = [(weight, self.blocks(system, attack)) for attack, weight in scope.weights.items()]
            self._mixed[key] = mixture(parts) if parts and all(blocks for _, blocks in parts) else None
        return self._mixed[key]

    def facts(self, attack: str) -> AttackFacts:
        """Return what is known of an attack."""
        return attack_facts(self.header.protocol, attack)


def _means(
    of: Callable[[list[PerQueryScores]], list[PerQueryScores]],
    blocks: Sequence[PerQueryScores],
    languages: Sequence[str],
    otherwise: dict[Seed, float],
) -> dict[Seed, float]:
    """Return each seed's mean over languages of what becomes of the blocks; ``otherwise`` where that cannot be told."""
    kept = [block for block in blocks if block.language in languages]
    if not kept:
        return otherwise
    try:
        return seed_means(of(kept), languages)
    except DataError:
        return otherwise


def over_seeds(values: Mapping[Seed, float]) -> Interval | None:
    """Return the mean over seeds with its t interval, or None where nothing was measured."""
    return seed_interval(list(values.values())) if values else None


def _spot(record: Record | PerQueryScores) -> Spot:
    condition = record if isinstance(record, Record) else record.condition
    system = System(condition.model, condition.objective, condition.bitext_size)
    attack = None
    if condition.attack is not None and condition.budget != 0:
        attack = (condition.attack, float(condition.budget or 0))
    return Spot(system, attack, record.language, record.measure, condition.split)


def _by_spot(records: Iterable[Record]) -> Mapping[Spot, dict[Seed, Record]]:
    found: dict[Spot, dict[Seed, Record]] = {}
    for record in records:
        if record.attack is not None and record.budget == 0:
            continue  # a budget of nothing is clean, and clean stands there already
        seeds = found.setdefault(_spot(record), {})
        if record.seed in seeds and seeds[record.seed] != record:
            raise DataError(
                f"two records of {record.measure} of {record.objective!r} in {record.language!r}, seed {record.seed}, "
                f"attack {record.attack!r}: they contradict each other; run the study again"
            )
        seeds[record.seed] = record
    return found


def _ordered_models(found: set[str]) -> tuple[str, ...]:
    return tuple(sorted(found, key=lambda name: ("robust" in name, len(name), name)))


def _ordered_languages(found: set[str]) -> tuple[str, ...]:
    known = [code for code in DEFAULT_LANGUAGES if code in found]
    return (*known, *sorted(found - set(known)))
