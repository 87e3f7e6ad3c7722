"""An attack with its parameters as one line of text: ``pgd:eps=2/255,steps=20``, ``typo:edits=0|1|2``.

A name, a colon, parameters with commas between them. Several values with bars between them are a sweep: an attack for
each (for each combination, where two parameters are swept).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from kivuko.attacks.catalogue import Attack, attack_named
from kivuko.attacks.parameters import Value, read_value, shown
from kivuko.errors import UsageError

MOST_ATTACKS = 1000  # that one sweep may stand for


@dataclass(frozen=True)
class AttackSpec:
    """An attack and a value for each of its parameters, in the catalogue's order."""

    attack: Attack
    values: tuple[Value, ...]

    def __getitem__(self, name: str) -> Value:
        """Return the value of a parameter."""
        return dict(zip((one.name for one in self.attack.parameters), self.values, strict=True))[name]

    def number(self, name: str) -> int:
        """Return a whole parameter."""
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
        """The attack as records name it: with every parameter that is not as usual, without the budget."""
        return self._written(skip_budget=True)

    @property
    def text(self) -> str:
        """The canonical form, which parses to this same attack: budget first, then what is not as usual."""
        return self._written(skip_budget=False)

    def with_value(self, name: str, value: Value) -> AttackSpec:
        """Return the same attack with one parameter at another value."""
        place = [one.name for one in self.attack.parameters].index(name)
        return AttackSpec(self.attack, (*self.values[:place], value, *self.values[place + 1 :]))

    def _written(self, skip_budget: bool) -> str:
        told = []
        for parameter, value in zip(self.attack.parameters, self.values, strict=True):
            is_budget = parameter.name == self.attack.budget
            if (is_budget and not skip_budget) or (not is_budget and value != parameter.default):
                told.append(f"{parameter.name}={parameter.written(value)}")
        return self.attack.name + (":" + ",".join(told) if told else "")


def parse_attack(text: str) -> AttackSpec:
    """Read one attack.

    >>> parse_attack("pgd:steps=20,eps=4/510").text
    'pgd:eps=2/255,steps=20'

    Raises:
        UsageError: as :func:`parse_attacks`, or the text is a sweep.
    """
    found = parse_attacks([text])
    if len(found) > 1:
        raise UsageError(f"attack {shown(text)} stands for {len(found)} attacks; one is wanted here.")
    return found[0]


def parse_attacks(texts: Sequence[str]) -> list[AttackSpec]:
    """Read attacks, sweeps as all that they stand for; of equal ones the first is kept.

    >>> [one.text for one in parse_attacks(["typo:edits=1|2", "blur"])]
    ['typo:edits=1', 'typo:edits=2', 'blur:severity=3']

    Raises:
        UsageError: an unknown attack or parameter (the nearest is named), a parameter given twice, a value out of
            range, or a sweep of too many.
    """
    return list(dict.fromkeys(spec for text in texts for spec in _sweep(text)))


def _sweep(text: str) -> list[AttackSpec]:
    name, colon, rest = text.strip().partition(":")
    attack = attack_named(name.strip())
    where = f"attack {shown(text)}"
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
        raise UsageError(f"{where} stands for {count:,} attacks; give at most {MOST_ATTACKS:,}.")
    found = [AttackSpec(attack, values) for values in itertools.product(*choices)]
    for spec in found:
        _check_together(spec, where)
    return found


def _check_together(spec: AttackSpec, where: str) -> None:
    """Refuse values that do not go together."""
    if spec.get("norm", "") == "linf" and Fraction(spec["eps"]) > 1:
        eps = spec.attack.parameter("eps")
        raise UsageError(f"{where}: an L-inf radius above 1 cannot be used; give {eps.allowed}.")


def _example(attack: Attack) -> str:
    first = attack.parameters[0]
    return f"{attack.name}:{first.name}={first.written(first.default)}"
