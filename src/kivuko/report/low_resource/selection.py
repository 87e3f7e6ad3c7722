"""Which recipe stands for transport, and which for distillation without it: decided on the validation split alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kivuko.report.low_resource.recipes import DISTILLATION
from kivuko.report.low_resource.study import LOW, TEST, VALIDATION, Setting, Spot, Study

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
