"""Attacks as text: ``pgd:eps=2/255,steps=20``.

A name, a colon, parameters separated by commas. Several values separated by bars, ``typo:edits=0|1|2``, are a sweep:
one attack for each value (for each combination, where two parameters are swept). ``package.module:Class:edits=2`` is a
custom attack, see ``kivuko.perturbations.custom``.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from kivuko.errors import UsageError
from kivuko.perturbations.catalog import Attack, Value, attack_named, read_value, shown
from kivuko.perturbations.custom import custom_attack, is_custom, rebuilt

MOST_ATTACKS = 1000  # of one sweep
_EFFORT = frozenset({"edits", "steps", "candidates", "kinds", "queries", "epochs"})  # shown in every label


@dataclass(frozen=True)
class AttackSpec:
    """An attack and a value for each of its parameters, in the catalog's order."""

    attack: Attack
    values: tuple[Value, ...]
    custom: Any = field(default=None, compare=False)  # the object of a custom attack

    def __getitem__(self, name: str) -> Value:
        return dict(zip((one.name for one in self.attack.parameters), self.values, strict=True))[name]

    def number(self, name: str) -> int:
        return int(self[name])

    def get(self, name: str, default: Value) -> Value:
        """Return the value of a parameter, or ``default`` where the attack has no such parameter."""
        return self[name] if self.attack.has(name) else default

    @property
    def budget(self) -> float:
        """The budget as records hold it: a radius on the pixel scale 0-1, a number of edits, a severity."""
        return float(Fraction(self[self.attack.budget]))

    @property
    def label(self) -> str:
        """The attack as records name it: effort and every parameter that is not the default, without the budget."""
        return self._written(skip_budget=True)

    @property
    def text(self) -> str:
        """The canonical form, which parses to this same attack: the budget, then as in the label."""
        return self._written(skip_budget=False)

    def with_value(self, name: str, value: Value) -> AttackSpec:
        """Return the same attack with one parameter at another value."""
        place = [one.name for one in self.attack.parameters].index(name)
        values = (*self.values[:place], value, *self.values[place + 1 :])
        return AttackSpec(self.attack, values, rebuilt(self.custom, self.attack, values))

    def _written(self, skip_budget: bool) -> str:
        parts = []
        for parameter, value in zip(self.attack.parameters, self.values, strict=True):
            is_budget = parameter.name == self.attack.budget
            shown = self.custom is not None or parameter.name in _EFFORT or value != parameter.default
            if (is_budget and not skip_budget) or (not is_budget and shown):
                parts.append(f"{parameter.name}={parameter.written(value)}")
        return self.attack.name + (":" + ",".join(parts) if parts else "")


def parse_attack(text: str) -> AttackSpec:
    """Read one attack.

    >>> parse_attack("pgd:steps=20,eps=4/510").text
    'pgd:eps=2/255,steps=20'
    """
    specs = parse_attacks([text])
    if len(specs) > 1:
        raise UsageError(f"attack {shown(text)} is a sweep of {len(specs)} attacks; give a single one.")
    return specs[0]


def parse_attacks(texts: Sequence[str]) -> list[AttackSpec]:
    """Read attacks, each sweep as its attacks; of equal ones the first is kept.

    >>> [one.text for one in parse_attacks(["typo:edits=1|2", "blur"])]
    ['typo:edits=1', 'typo:edits=2', 'blur:severity=3']
    """
    return list(dict.fromkeys(spec for text in texts for spec in _sweep(text)))


def _sweep(text: str) -> list[AttackSpec]:
    where = f"attack {shown(text)}"
    if is_custom(text):
        attack, colon, rest, build = custom_attack(text)
    else:
        name, colon, rest = text.strip().partition(":")
        attack, build = attack_named(name.strip()), None
    given: dict[str, list[Value]] = {}
    for part in rest.split(",") if colon else []:
        key, equals, values = (side.strip() for side in part.partition("="))
        if not equals or not key or not values:
            raise UsageError(f"{where}: {shown(part)} is not of the form parameter=value, such as {_example(attack)}.")
        parameter = attack.parameter(key)
        if key in given:
            raise UsageError(f"{where}: {key} is given twice; for several values write {key}=A|B.")
        given[key] = [read_value(parameter, value.strip(), where) for value in values.split("|")]
    choices = [given.get(one.name, [one.default]) for one in attack.parameters]
    count = 1
    for values_of_one in choices:
        count *= len(values_of_one)
    if count > MOST_ATTACKS:
        raise UsageError(f"{where} is a sweep of {count:,} attacks; give at most {MOST_ATTACKS:,}.")
    specs = [
        AttackSpec(attack, values, rebuilt(build, attack, values)) for values in itertools.product(*choices)
    ]  # fmt: skip
    for spec in specs:
        _check_together(spec, where)
    return specs


def _check_together(spec: AttackSpec, where: str) -> None:
    if spec.get("norm", "") == "linf" and Fraction(spec["eps"]) > 1:
        eps = spec.attack.parameter("eps")
        raise UsageError(f"{where}: an L-inf radius above 1 cannot be used; give {eps.allowed}.")


def _example(attack: Attack) -> str:
    first = attack.parameters[0]
    return f"{attack.name}:{first.name}={first.written(first.default)}"
