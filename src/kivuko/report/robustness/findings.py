"""Everything the page says, worked out before a word of it is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kivuko.evaluation import Header, PerQueryScores, Record
from kivuko.evaluation.examples import AttackedExample
from kivuko.report.low_resource.findings import HEADLINE_SIZE, nearest
from kivuko.report.low_resource.study import LOW
from kivuko.report.robustness.answer import Answer, Headline, answer
from kivuko.report.robustness.choice import EVERYTHING, Choice, choose
from kivuko.report.robustness.family import MATCHED, RATIO, RAW, Family, RobustnessTest, compare_all
from kivuko.report.robustness.study import RobustnessStudy, Spot


@dataclass(frozen=True)
class Findings:
    """The study, what was chosen, every test, the answer, and attacked examples."""

    study: RobustnessStudy
    choices: tuple[Choice, ...]
    family: Family
    headline: Choice | None
    answer: Answer
    examples: tuple[AttackedExample, ...]
    missing: tuple[str, ...]

    def choice(self, size: int) -> Choice | None:
        """Return what was chosen at a size."""
        return next((choice for choice in self.choices if choice.size == size), None)


def examine(
    header: Header,
    records: Sequence[Record],
    per_query: Sequence[PerQueryScores],
    examples: Sequence[AttackedExample] = (),
) -> Findings:
    """Choose, compare, correct and answer.

    Raises:
        DataError: there is nothing to report, or two records contradict each other.
    """
    study = RobustnessStudy(header, records, per_query)
    choices = tuple(choose(study, size) for size in study.sizes)
    family = compare_all(study, choices)
    size = _headline_size(study)
    headline = next((choice for choice in choices if choice.size == size), None)
    told = answer(_headline(study, family, headline), _why_not(headline))
    missing = (*(note for choice in choices for note in choice.notes), *family.missing, *_uneven_seeds(study))
    return Findings(study, choices, family, headline, told, tuple(examples), missing)


def _headline_size(study: RobustnessStudy) -> int | None:
    told = study.header.protocol.get("headline size")
    return told if told in study.sizes else nearest(study.sizes, HEADLINE_SIZE)


def _headline(study: RobustnessStudy, family: Family, choice: Choice | None) -> Headline | None:
    if choice is None or choice.transport is None or not choice.scopes:
        return None
    size, name = choice.size, choice.transport.objective

    def found(scope: str, kind: str) -> RobustnessTest | None:
        return family.find(size, scope, kind, name)

    raw = found(EVERYTHING, RAW)
    if raw is None:
        return None
    kind = MATCHED if found(EVERYTHING, MATCHED) else RATIO
    families = [
        (scope.name, of_scope, found(scope.name, kind))
        for scope in choice.scopes[1:]
        if (of_scope := found(scope.name, RAW)) is not None
    ]
    return Headline(
        raw, found(EVERYTHING, kind), found(EVERYTHING, RATIO), families, len(study.low), len(choice.scopes[0].attacks)
    )


def _why_not(choice: Choice | None) -> str:
    if choice is None:
        return "no model in them was trained on bitext"
    if choice.transport is None or choice.plain is None:
        lacking = "with" if choice.transport is None else "without"
        return f"at {choice.size:,} pairs no distillation recipe {lacking} transport was measured under attack"
    if not choice.scopes:
        return f"at {choice.size:,} pairs the recipes were not measured under the same attacks"
    names = f"{choice.transport.objective} and {choice.plain.objective}"
    return f"at {choice.size:,} pairs {names} could not be compared query by query"


def _uneven_seeds(study: RobustnessStudy) -> list[str]:
    """Say which recipes have fewer training seeds than the header names."""
    most = len(set(study.header.seeds))
    lines = []
    for size in study.sizes:
        for system in study.systems(size):
            trained = [seed for seed in study.seed_values(Spot(system, language=LOW)) if seed is not None]
            if trained and len(trained) < most:
                lines.append(f"{size:,} pairs: {system.objective} has {len(trained)} of {most} seeds")
    return lines
