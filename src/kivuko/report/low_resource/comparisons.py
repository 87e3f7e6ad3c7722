"""Every comparison on the page: one family, so that asking often does not make luck look like a finding."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kivuko.errors import DataError
from kivuko.evaluation import Comparison, compare, holm
from kivuko.report.low_resource.study import (
    DISTILLATION,
    LEXICAL,
    LOW,
    MSE,
    TEST,
    TRANSLATE_TEST,
    VALIDATION,
    Setting,
    Spot,
    Study,
)

RULE = (
    "For each task, way of scoring and bitext size, the best recipe with transport and the best distillation recipe "
    "without it are chosen by the low-resource mean MAP over seeds on the validation split. They are then compared "
    "on the test split, which had no part in the choice."
)


@dataclass(frozen=True)
class Choice:
    """The recipes chosen at one setting and size.

    Attributes:
        transport, plain: the best with and without transport; None where none could be chosen.
        validation: every candidate's low-resource mean MAP over seeds on the validation split.
        missing: what stood in the way, a line each.
    """

    setting: Setting
    size: int
    transport: str | None
    plain: str | None
    validation: Mapping[str, float]
    missing: tuple[str, ...] = ()


def choose(study: Study, setting: Setting, size: int) -> Choice:
    """Choose at one setting and size; a test figure never decides, not even where validation is missing."""
    facts = [study.facts(name) for name in study.objectives(setting, size)]
    candidates = {f.name: f.transport for f in facts if f.kind == DISTILLATION}
    validation = {}
    for name in candidates:
        spot = Spot(setting, size, name, LOW, split=VALIDATION, subset=study.subset)
        if (found := study.over_seeds(spot)) is not None:
            validation[name] = found.mean
    missing: list[str] = []
    transport = _best([n for n, uses in candidates.items() if uses], validation, "with transport", missing)
    plain = _best([n for n, uses in candidates.items() if not uses], validation, "without transport", missing)
    missing += [
        f"{name} was chosen on validation but has no low-resource test MAP"
        for name in (transport, plain)
        if name and not study.seed_values(Spot(setting, size, name, LOW, split=TEST, subset=study.subset))
    ]
    return Choice(setting, size, transport, plain, validation, tuple(missing))


def _best(names: Sequence[str], validation: Mapping[str, float], what: str, missing: list[str]) -> str | None:
    measured = [name for name in names if name in validation]
    if left_out := [name for name in names if name not in validation]:
        missing.append(f"no validation scores of {', '.join(left_out)}, so they could not be chosen")
    if not names:
        missing.append(f"no distillation recipe {what} was measured (the header says which recipes use transport)")
    # Equal figures: the first by name, so that the same records give the same page.
    return max(measured, key=lambda name: validation[name], default=None)


LEVEL = 0.05
WITHOUT = "best without transport"
OPPONENTS = (WITHOUT, TRANSLATE_TEST, LEXICAL, MSE)


@dataclass(frozen=True)
class PairedTest:
    """The best transport recipe against another on the test split, low-resource mean MAP.

    ``roles``: what the other one stands for; "mse" may also be the best without transport, and is then tested once.
    ``adjusted``: the p value after Holm over the whole family.
    """

    setting: Setting
    size: int
    roles: tuple[str, ...]
    comparison: Comparison
    adjusted: float

    @property
    def gain(self) -> float:
        """The relative difference, first / second - 1; infinite over a second that finds nothing at all."""
        first, second = self.comparison.means
        if second > 0:
            return first / second - 1
        return math.inf if first > 0 else 0.0

    @property
    def significant(self) -> bool:
        """True where the p value after Holm is below the level."""
        return self.adjusted < LEVEL


@dataclass(frozen=True)
class Family:
    """All tests of the page, and a line for each one that could not be made."""

    tests: tuple[PairedTest, ...]
    missing: tuple[str, ...]

    def find(self, setting: Setting, size: int, role: str) -> PairedTest | None:
        """Return the test against the recipe in this role."""
        same = (t for t in self.tests if (t.setting, t.size) == (setting, size) and role in t.roles)
        return next(same, None)


def compare_all(study: Study, choices: Sequence[Choice]) -> Family:
    """Compare the chosen transport recipe with every opponent at every setting and size, then correct with Holm."""
    made: dict[str, tuple[Choice, tuple[str, ...], Comparison]] = {}
    missing: list[str] = []
    for choice in choices:
        where = f"{choice.setting.dataset}/{choice.setting.scoring}, {choice.size:,} pairs"
        missing += [f"{where}: {problem}" for problem in choice.missing]
        if choice.transport is None:
            continue
        for other, roles in _opponents(study, choice).items():
            try:
                sides = [study.blocks(choice.setting, choice.size, name) for name in (choice.transport, other)]
                # A position, not the names: those come from a user, and two could be spelled alike with a separator.
                made[str(len(made))] = (choice, roles, compare(sides[0], sides[1], study.low))
            except DataError as problem:
                missing.append(f"{where}: {choice.transport} against {other} was not tested: {problem}")
        measured = study.objectives(choice.setting, choice.size)
        missing += [f"{where}: no {name} was measured" for name in OPPONENTS[1:] if name not in measured]
    adjusted = holm({key: comparison.test.p_value for key, (_, _, comparison) in made.items()})
    tests = (
        PairedTest(choice.setting, choice.size, roles, comparison, adjusted[key])
        for key, (choice, roles, comparison) in made.items()
    )
    return Family(tuple(tests), tuple(missing))


def _opponents(study: Study, choice: Choice) -> dict[str, tuple[str, ...]]:
    """Recipe name to its roles, each recipe once."""
    measured = study.objectives(choice.setting, choice.size)
    asked = [(WITHOUT, choice.plain), *((name, name) for name in OPPONENTS[1:] if name in measured)]
    found: dict[str, tuple[str, ...]] = {}
    for role, name in asked:
        if name is not None and name != choice.transport:
            found[name] = (*found.get(name, ()), role)
    return found
