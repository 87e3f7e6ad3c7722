"""Accuracy against budget: per family of attacks a row of small multiples, and a table of every number drawn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from markupsafe import Markup

from kivuko.evaluation import Interval
from kivuko.report.low_resource.figures import FigureSet
from kivuko.report.low_resource.recipes import TEACHER, TRANSLATE_TEST
from kivuko.report.low_resource.series import OTHER, TRANSPORT, WITHOUT
from kivuko.report.low_resource.table import Cell, Row, RowGroup, Table, cells
from kivuko.report.low_resource.wording import DASH, count, spread
from kivuko.report.robustness.attacks import EDITS, OF_IMAGES, RADIUS, SEVERITY, AttackFacts, budget_label, budget_tick
from kivuko.report.robustness.findings import Findings
from kivuko.report.robustness.panels import HARDENED, TOWER, BudgetAxis, Line, budget_panel
from kivuko.report.robustness.study import Spot, System, over_seeds

_AXIS = {EDITS: "edits of the query", RADIUS: "radius of the perturbation", SEVERITY: "severity"}


def curve_figures(findings: Findings) -> list[FigureSet]:
    """Low-resource mean MAP against budget at the headline size, a row of panels per family of attacks."""
    by_family: dict[str, list[AttackFacts]] = {}
    for facts in findings.study.attacks:
        by_family.setdefault(facts.family, []).append(facts)
    return [
        _family_figure(findings, family, attacks, place) for place, (family, attacks) in enumerate(by_family.items())
    ]


def _family_figure(findings: Findings, family: str, attacks: Sequence[AttackFacts], place: int) -> FigureSet:
    drawn = {facts: _lines(findings, facts) for facts in attacks}
    drawn = {facts: lines for facts, lines in drawn.items() if lines}
    if not drawn:
        return FigureSet(family, "", (), None, "Not measured in low-resource languages at this bitext size.")
    top = max(point.high for lines in drawn.values() for line in lines for point in line.points.values())
    panels = []
    for row, (facts, lines) in enumerate(drawn.items()):
        budgets = sorted({budget for line in lines for budget in line.points})
        ticks = ["0", *(budget_tick(facts.unit, budget) for budget in budgets[1:])]
        axis = BudgetAxis(budgets, ticks, _AXIS.get(facts.unit, facts.unit))
        heard = _heard(facts, lines)
        panels.append(
            Markup(budget_panel(facts.name, lines, axis, 1.06 * max(top, 1e-3), f"curve{place}-{row}", heard))
        )
    described = " ".join(f"{facts.name}: {facts.description.rstrip('.')}." for facts in drawn if facts.description)
    caption = (
        f"{family}: low-resource mean MAP on the test split against budget{_at(findings)}; at 0 the input "
        "is clean. Lines are means over seeds, bands their 95 % t intervals, thin grey lines all other "
        "recipes. " + described
    )
    return FigureSet(family, caption.strip(), panels, _numbers(findings, family, list(drawn)))


def _at(findings: Findings) -> str:
    return f", {count(findings.headline.size, 'pair')} per language" if findings.headline else ""


def _lines(findings: Findings, facts: AttackFacts) -> list[Line]:
    """Background first, so that what matters lies on top."""
    found = []
    for role, system in _systems(findings, facts):
        points = _points(findings, system, facts)
        if len(points) > 1:
            found.append(Line(role, points))
    return found


def _points(findings: Findings, system: System, facts: AttackFacts) -> dict[float, Interval]:
    study = findings.study
    budgets = study.budgets(facts.name, [system])
    values = {budget: study.seed_values(Spot(system, (facts.name, budget))) for budget in budgets}
    if budgets:
        values = {0.0: study.clean_values(system, study.blocks(system, (facts.name, budgets[0]))), **values}
    return {budget: interval for budget, found in values.items() if (interval := over_seeds(found)) is not None}


def _systems(findings: Findings, facts: AttackFacts) -> Iterator[tuple[str, System]]:
    study, choice = findings.study, findings.headline
    size = choice.size if choice else None
    here = [*study.systems(size), *(study.systems(None) if size is not None else ())]
    transport, plain = (choice.transport, choice.plain) if choice else (None, None)
    named = {TEACHER: TEACHER, TRANSLATE_TEST: TRANSLATE_TEST}
    hardened = [system for system in here if study.hardened(system.objective)]
    for system in here:
        if system not in (transport, plain, *hardened[:1]) and system.objective not in named:
            yield OTHER, system
    for system in here:
        if system.objective in named:
            yield named[system.objective], system
    if hardened:
        yield HARDENED, hardened[0]
    if transport is not None:
        for model in study.models[1:2] if facts.family in OF_IMAGES else ():
            yield TOWER, System(model, transport.objective, transport.size)
    if plain is not None:
        yield WITHOUT, plain
    if transport is not None:
        yield TRANSPORT, transport


def _heard(facts: AttackFacts, lines: Sequence[Line]) -> str:
    told = [f"{facts.name}."]
    for line in lines:
        if line.role != OTHER:
            points = (
                f"{spread(interval)} {budget_label(facts.unit, budget)}" for budget, interval in line.points.items()
            )
            told.append(f"{line.label}: {', '.join(points)}.")
    return " ".join(told)


def _numbers(findings: Findings, family: str, attacks: Sequence[AttackFacts]) -> Table:
    """MAP of every system at every size under every attack of a family at every budget."""
    study = findings.study
    conditions = [(facts, budget) for facts in attacks for budget in study.budgets(facts.name)]
    groups = []
    for size in (*study.sizes, None):
        for model in study.models:
            rows = []
            for system in study.systems(size, model):
                spots = [Spot(system, None), *(Spot(system, (facts.name, budget)) for facts, budget in conditions)]
                found = [spread(over_seeds(study.seed_values(spot))) for spot in spots]
                if any(text != DASH for text in found[1:]):
                    rows.append(Row(Cell(system.objective, code=True), cells(*found)))
            if rows:
                pairs = "no bitext" if size is None else f"{count(size, 'pair')} per language"
                groups.append(RowGroup(rows, pairs if len(study.models) == 1 else f"{pairs}, {model}"))
    columns = ("recipe", "clean", *(f"{f.name}, {budget_label(f.unit, budget)}" for f, budget in conditions))
    return Table(
        f"{family}: low-resource mean MAP on the test split, mean over seeds with 95 % t interval.", columns, groups
    )
