"""What the header of a study tells of its attacks: which family one belongs to, and what its budget counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kivuko.report.low_resource.wording import count

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
