"""The lines of the plots: a few that matter, told apart by role, and all others thin in the background."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kivuko.evaluation import Interval
from kivuko.report.low_resource.comparisons import Choice
from kivuko.report.low_resource.findings import Findings
from kivuko.report.low_resource.study import LEXICAL, MSE, TEACHER, TRANSLATE_TEST, Setting, Spot

TRANSPORT, WITHOUT, OTHER = "transport", "without", "other"
ROLES = {
    TRANSPORT: "with transport",
    WITHOUT: "without",
    MSE: "mse",
    TRANSLATE_TEST: "translate-test",
    LEXICAL: "word table",
    TEACHER: "teacher, as is",
    OTHER: "other recipes",
}
"""What a line stands for, and its label. The first two are, at each size, the recipes chosen on validation."""


@dataclass(frozen=True)
class Series:
    """One line: what it stands for and its points by bitext size; ``points[None]`` holds at every size."""

    role: str
    points: dict[int | None, Interval]

    @property
    def label(self) -> str:
        """Its name in a plot."""
        return ROLES[self.role]


Measured = Callable[[Setting, "int | None", str], "Interval | None"]


def map_series(findings: Findings, setting: Setting, language: str) -> list[Series]:
    """Return the lines of MAP against bitext size in one language or group, background first."""

    def measured(setting: Setting, size: int | None, objective: str) -> Interval | None:
        return findings.study.over_seeds(Spot(setting, size, objective, language, subset=findings.study.subset))

    found = [*_others(findings, setting, measured), *_named(findings, setting, measured)]
    teacher = measured(setting, None, TEACHER)
    return [*found, Series(TEACHER, {None: teacher})] if teacher else found


def gap_series(findings: Findings, setting: Setting) -> list[Series]:
    """Return the lines of high- minus low-resource MAP against bitext size."""
    return _named(findings, setting, findings.study.gap)


def _named(findings: Findings, setting: Setting, measured: Measured) -> list[Series]:
    pick: dict[str, Callable[[Choice], str | None]] = {
        LEXICAL: lambda choice: LEXICAL,
        TRANSLATE_TEST: lambda choice: TRANSLATE_TEST,
        MSE: lambda choice: MSE,
        WITHOUT: lambda choice: choice.plain,
        TRANSPORT: lambda choice: choice.transport,  # last, so that it lies on top
    }
    found = []
    for role, of in pick.items():
        points: dict[int | None, Interval] = {}
        for choice in findings.choices:
            name = of(choice) if choice.setting == setting else None
            if name is not None and (interval := measured(setting, choice.size, name)) is not None:
                points[choice.size] = interval
        if points:
            found.append(Series(role, points))
    return found


def _others(findings: Findings, setting: Setting, measured: Measured) -> list[Series]:
    names = {name for size in findings.study.sizes(setting) for name in findings.study.objectives(setting, size)}
    found = []
    for name in sorted(names - {MSE, TRANSLATE_TEST, LEXICAL}):
        points: dict[int | None, Interval] = {}
        for size in findings.study.sizes(setting):
            if (interval := measured(setting, size, name)) is not None:
                points[size] = interval
        if points:
            found.append(Series(OTHER, points))
    return found
