"""Attacks as text: ``pgd:eps=2/255,steps=20``, or ``package.module:Class:edits=2`` for an attack of your own.

A name, a colon, parameters separated by commas. Several values separated by bars, ``typo:edits=0|1|2``, are a sweep:
one attack for each value (for each combination, where two parameters are swept). The keywords of an own class, all with
defaults, are its parameters; ``edits`` or ``eps`` is its budget, unless the class attribute ``budget`` names another
one. It has one of two methods, ``perturb_texts`` (see TextAttack) or ``perturb_images`` (see ImageAttack).
"""

from __future__ import annotations

import inspect
import itertools
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Protocol

from kivuko.errors import UsageError
from kivuko.perturbations import catalog
from kivuko.perturbations.catalog import Attack, Parameter, Value, shown
from kivuko.perturbations.edits import Perturbed
from kivuko.plugins import load_plugin
from kivuko.text import pluralize

if TYPE_CHECKING:
    from torch import Tensor

    from kivuko.perturbations.image.goal import ImageGoal
    from kivuko.perturbations.image.pixel_tower import PixelTower
    from kivuko.perturbations.text.search import EncodeTexts, TextGoal

MOST_ATTACKS = 1000  # of one sweep
_EFFORT = frozenset({"edits", "steps", "candidates", "kinds", "queries", "epochs"})  # shown in every label
_OWN = re.compile(r"\s*([^\W\d][\w.]*:[^\W\d][\w.]*)\s*(?:(:)(.*))?", re.DOTALL)
_LARGEST = 1_000_000_000  # value of a parameter of an own attack


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
        attack, build = catalog.attack_named(name.strip()), None
    first = attack.parameters[0]
    example = f"{attack.name}:{first.name}={first.written(first.default)}"
    given: dict[str, list[Value]] = {}
    for part in rest.split(",") if colon else []:
        key, equals, values = (side.strip() for side in part.partition("="))
        if not equals or not key or not values:
            raise UsageError(f"{where}: {shown(part)} is not of the form parameter=value, such as {example}.")
        parameter = attack.parameter(key)
        if key in given:
            raise UsageError(f"{where}: {key} is given twice; for several values write {key}=A|B.")
        given[key] = [catalog.read_value(parameter, value.strip(), where) for value in values.split("|")]
    choices = [given.get(one.name, [one.default]) for one in attack.parameters]
    if (count := math.prod(map(len, choices))) > MOST_ATTACKS:
        raise UsageError(f"{where} is a sweep of {count:,} attacks; give at most {MOST_ATTACKS:,}.")
    specs = [AttackSpec(attack, values, rebuilt(build, attack, values)) for values in itertools.product(*choices)]
    if any(spec.get("norm", "") == "linf" and Fraction(spec["eps"]) > 1 for spec in specs):
        allowed = attack.parameter("eps").allowed
        raise UsageError(f"{where}: an L-inf radius above 1 cannot be used; give {allowed}.")
    return specs


class TextAttack(Protocol):
    """An attack on queries."""

    def perturb_texts(
        self, texts: Sequence[str], languages: Sequence[str], encode: EncodeTexts, goal: TextGoal
    ) -> Sequence[str | Perturbed]:
        """Return the perturbed queries, one for each; languages are codes such as "sw".

        ``encode``: texts to unit vectors, float32 [texts, dim]; every text counts as a call. ``goal``: the gallery and
        the right image of each query; ``goal.rank(encode(texts), rows)`` ranks it.
        """
        ...


class ImageAttack(Protocol):
    """An attack on the image that each query should find."""

    def perturb_images(self, pixels: Tensor, goal: ImageGoal, tower: PixelTower) -> Tensor:
        """Return the perturbed images, of the shape of ``pixels``: float32 [n, 3, height, width] in 0-1.

        They are rounded to 8-bit levels and, where the class has a parameter ``eps``, cut to that L-inf radius. The
        attacker wants ``goal.margins(tower(pixels), rows)`` below 0, rows being int64 [n]; ``tower`` is differentiable.
        """
        ...


def is_custom(text: str) -> bool:
    """Return True for ``package.module:Class``, perhaps with parameters; False for an attack of the catalog."""
    return _OWN.fullmatch(text) is not None and not catalog.is_catalog_name(text.partition(":")[0].strip())


def custom_attack(text: str) -> tuple[Attack, str, str, Callable[..., Any]]:
    """Load the class that a text names: its description, the colon and the parameters after it, and the class."""
    form = _OWN.fullmatch(text)
    assert form is not None
    name, colon, rest = form[1], form[2] or "", form[3] or ""
    build = load_plugin(name, "attack")
    on_texts, on_images = (callable(getattr(build, method, None)) for method in ("perturb_texts", "perturb_images"))
    if on_texts == on_images:
        raise UsageError(f"attack {name}: give it one of the methods perturb_texts and perturb_images.")
    budget = str(getattr(build, "budget", "edits" if on_texts else "eps"))
    try:
        signature = inspect.signature(build)
    except (TypeError, ValueError) as problem:
        raise UsageError(f"attack {name}: its keywords cannot be read; make it a class or a dataclass.") from problem
    parameters = [_parameter(name, one) for one in signature.parameters.values()]
    parameters.sort(key=lambda one: one.name != budget)
    if not parameters or parameters[0].name != budget:
        raise UsageError(f"attack {name}: it has no keyword '{budget}' for its budget; add one, or name another one "
                         "as the class attribute 'budget'.")  # fmt: skip
    description = (inspect.getdoc(build) or "an attack of your own").strip().partition("\n")[0].rstrip(".")
    kind = "text" if on_texts else "image"
    needs = getattr(build, "needs", "queries" if on_texts else "gradients")
    return Attack(name, kind, needs, budget, tuple(parameters), description), colon, rest, build  # type: ignore[arg-type]


def rebuilt(custom: Any, attack: Attack, values: Sequence[Value]) -> Any:
    """Return the custom attack with these values; None for an attack of the catalog."""
    if custom is None:
        return None
    build = custom if inspect.isclass(custom) else type(custom)
    named = {
        one.name: float(value) if isinstance(value, Fraction) else value
        for one, value in zip(attack.parameters, values, strict=True)
    }
    try:
        return build(**named)
    except Exception as problem:
        reason = (str(problem) or type(problem).__name__).splitlines()[0]
        raise UsageError(
            f"attack {attack.name}: {', '.join(f'{k}={v}' for k, v in named.items())}: {reason}"
        ) from problem


def perturbed_texts(
    custom: TextAttack, texts: Sequence[str], languages: Sequence[str], encode: EncodeTexts, goal: TextGoal
) -> tuple[list[Perturbed], int]:
    """Run a custom attack on queries; the second value counts the texts that it encodes, per query."""
    calls = 0

    def counting(queries: Sequence[str]) -> Any:
        nonlocal calls
        calls += len(queries)
        return encode(queries)

    results = list(custom.perturb_texts(list(texts), list(languages), counting, goal))
    if len(results) != len(texts) or not all(isinstance(one, str | Perturbed) for one in results):
        name = f"{type(custom).__module__}:{type(custom).__qualname__}"
        raise UsageError(
            f"attack {name}: perturb_texts must return {pluralize(len(texts), 'text')}, one for each query."
        )
    perturbed = [
        one if isinstance(one, Perturbed) else Perturbed(text, one) for text, one in zip(texts, results, strict=True)
    ]
    return perturbed, -(-calls // max(1, len(texts)))


def _parameter(name: str, keyword: inspect.Parameter) -> Parameter:
    """Return the parameter that a keyword with a default is read as."""
    default = keyword.default
    if default is inspect.Parameter.empty:
        raise UsageError(f"attack {name}: its keyword '{keyword.name}' has no default; give it one.")
    if isinstance(default, bool):
        return catalog.Flag(keyword.name, default)
    if isinstance(default, int):
        return catalog.Whole(keyword.name, default, 0, _LARGEST)
    if isinstance(default, float | Fraction):
        number = catalog.Number(
            keyword.name, Fraction(0), 0, _LARGEST, "a number that is not negative, such as 0.5 or 2/255"
        )  # fmt: skip
        return replace(number, default=number.read(str(default)))
    if isinstance(default, str):
        return catalog.Text(keyword.name, default)
    raise UsageError(f"attack {name}: its keyword '{keyword.name}' must be a number, a text, true or false.")
