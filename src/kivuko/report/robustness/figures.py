"""Accuracy against budget: per family of attacks a row of small multiples, and a table of every number drawn."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from kivuko.evaluation import Interval
from kivuko.evaluation.robustness import AttackedExample
from kivuko.report.heat_map import spread_apart
from kivuko.report.low_resource.figures import FigureSet
from kivuko.report.low_resource.inline_svg import drawable, inline_svg, plotting
from kivuko.report.low_resource.plot_style import INK, QUIET, STYLES, Style
from kivuko.report.low_resource.series import OTHER, TRANSPORT, WITHOUT
from kivuko.report.low_resource.study import LEXICAL, MSE, TEACHER, TRANSLATE_TEST, language_label
from kivuko.report.rendering import DASH, Cell, Row, RowGroup, Table, cells, count, spread
from kivuko.report.robustness.findings import Findings
from kivuko.report.robustness.study import (
    EDITS,
    OF_IMAGES,
    RADIUS,
    SEVERITY,
    AttackFacts,
    Spot,
    System,
    budget_label,
    budget_tick,
    over_seeds,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


HARDENED, TOWER = "hardened", "tower"
ROLES = {
    TRANSPORT: "with transport",
    WITHOUT: "without",
    HARDENED: "hardened on text",
    TOWER: "hardened tower",
    TRANSLATE_TEST: "translate-test",
    TEACHER: "teacher, as is",
    OTHER: "other recipes",
}
"""What a line stands for, and its label."""

# The same looks as on the page about little bitext, where two roles have no line of their own here.
_STYLES: Mapping[str, Style] = {
    role: STYLES[{HARDENED: MSE, TOWER: LEXICAL}.get(role, role)] for role in ROLES
}  # fmt: skip
_INCH = 72  # units of the SVG's view box to matplotlib's inch
_WIDTH, _HEIGHT = 340, 252
_PLOT = 174  # height of the axes, in the same units
_LABEL_GAP = 13.0


@dataclass(frozen=True)
class Line:
    """One system under one attack: its role and its figure at each budget, 0 (clean) included."""

    role: str
    points: Mapping[float, Interval]

    @property
    def label(self) -> str:
        """Its name in a plot."""
        return ROLES[self.role]


@dataclass(frozen=True)
class BudgetAxis:
    """What stands below: the ticks, how they are written, and what is counted."""

    budgets: Sequence[float]
    ticks: Sequence[str]
    label: str


def budget_panel(title: str, lines: Sequence[Line], axis: BudgetAxis, top: float, prefix: str, heard: str) -> str:
    """Draw lines with bands over seeds against budget, each labeled at its end; return SVG.

    Args:
        axis: budgets ascending, from 0.
        top: of the y axis, so that panels side by side compare.
        prefix: of every id, unique on the page.
        heard: what a screen reader says.
    """
    with plotting():
        from matplotlib.figure import Figure

        image = Figure(figsize=(_WIDTH / _INCH, _HEIGHT / _INCH), dpi=_INCH, facecolor="none")
        axes = image.add_axes((40 / _WIDTH, 40 / _HEIGHT, 196 / _WIDTH, _PLOT / _HEIGHT), facecolor="none")
        image.text(6 / _WIDTH, 1 - 17 / _HEIGHT, drawable(title), fontsize=12, fontweight="bold")
        last = axis.budgets[-1]
        axes.set_xlim(-0.03 * last, 1.03 * last)
        axes.set_xticks(*_ticks(axis))
        axes.set_xlabel(drawable(axis.label))
        axes.set_ylim(0, top)
        axes.set_title("MAP", loc="left", fontsize=9, color=QUIET, x=-0.16, pad=4)
        for line in lines:
            _draw(axes, line)
        _label_ends(axes, [line for line in lines if line.role != OTHER], top, last)
        return inline_svg(image, prefix, heard)


def _ticks(axis: BudgetAxis) -> tuple[list[float], list[str]]:
    """Leave out a tick that would run into the one before it."""
    places: list[float] = []
    names: list[str] = []
    for place, name in zip(axis.budgets, axis.ticks, strict=True):
        if not places or (place - places[-1]) / axis.budgets[-1] * 196 >= 6.0 * len(name) or place == axis.budgets[-1]:
            if place == axis.budgets[-1] and places and (place - places[-1]) / place * 196 < 6.0 * len(name):
                places.pop(), names.pop()
            places.append(place)
            names.append(name)
    return places, names


def _draw(axes: Axes, line: Line) -> None:
    style = _STYLES[line.role]
    look: dict[str, Any] = {"color": style.color, "linewidth": style.width, "linestyle": style.dash}
    places = sorted(line.points)
    axes.plot(places, [line.points[place].mean for place in places], marker=style.marker or None, markersize=5, **look)
    if line.role != OTHER and not any(line.points[place].degenerate for place in places):
        low, high = [line.points[place].low for place in places], [line.points[place].high for place in places]
        axes.fill_between(places, low, high, color=style.color, alpha=0.14, linewidth=0)


def _label_ends(axes: Axes, lines: Sequence[Line], top: float, last: float) -> None:
    """Write each line's name beside its end, pushed apart where they would overlap, with a thread to the end."""
    ends = sorted((line.points[max(line.points)].mean, max(line.points), line.role, line) for line in lines)
    heights = spread_apart([end for end, *_ in ends], _LABEL_GAP * top / _PLOT, 0.0, top)
    for (end, place, _, line), height in zip(ends, heights, strict=True):
        style = _STYLES[line.role]
        axes.plot([place, 1.06 * last], [end, height], color=style.color, linewidth=0.5, clip_on=False)
        if style.marker:
            axes.plot([1.06 * last], [height], color=style.color, marker=style.marker, markersize=4.5, clip_on=False)
        axes.text(1.1 * last, height, line.label, fontsize=9.5, va="center", color=INK)


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
        "is clean. Lines are means over seeds, bands their 95 % t intervals, thin gray lines all other "
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


PER_ATTACK = 3


@dataclass(frozen=True)
class ShownExample:
    """What the template needs of one example; ``before`` and ``after`` are data URIs, empty without an image."""

    attack: str
    budget: str
    language: str
    code: str
    query: str
    perturbed: str
    changed: bool
    edits: str
    ranks: str
    calls: str
    distance: str
    before: str = ""
    after: str = ""


def text_examples(findings: Findings) -> list[ShownExample]:
    """A few perturbed queries per attack, those whose image lost most places first."""
    return _shown(findings, [example for example in findings.examples if example.image_after is None and example.edits])


def image_examples(findings: Findings) -> list[ShownExample]:
    """A few attacked images per attack, likewise."""
    return _shown(findings, [example for example in findings.examples if example.image_after is not None])


def _shown(findings: Findings, examples: Sequence[AttackedExample]) -> list[ShownExample]:
    order = {facts.name: place for place, facts in enumerate(findings.study.attacks)}
    found: dict[str, list[AttackedExample]] = {}
    for example in examples:
        found.setdefault(example.condition.attack or "", []).append(example)
    shown = []
    for _, group in sorted(found.items(), key=lambda item: (order.get(item[0], len(order)), item[0])):
        shown += [_show(findings, example) for example in _varied(group)[:PER_ATTACK]]
    return shown


def _varied(examples: Sequence[AttackedExample]) -> list[AttackedExample]:
    """Put the hardest hit first, and another language before a second example of one, another query before the same."""
    waiting = sorted(
        examples,
        key=lambda e: (e.reciprocal_rank_after - e.reciprocal_rank_before, e.language, e.query_id, repr(e.condition)),
    )
    chosen: list[AttackedExample] = []
    for new_language in (True, False):
        for example in waiting:
            queries = {other.query_id for other in chosen}
            languages = {other.language for other in chosen} if new_language else set()
            if example.query_id not in queries and example.language not in languages:
                chosen.append(example)
    return chosen


def _show(findings: Findings, example: AttackedExample) -> ShownExample:
    attack = example.condition.attack or "none"
    unit = findings.study.facts(attack).unit
    distances = {"L∞": example.linf, "L2": example.l2}
    written = [
        f"{norm} {budget_label(RADIUS, value) if norm == 'L∞' else f'{value:.2f}'}"
        for norm, value in distances.items()
        if value
    ]
    return ShownExample(
        attack=attack,
        budget=budget_label(unit, example.condition.budget),
        language=language_label(example.language),
        code=example.language,
        query=example.query,
        perturbed=example.perturbed,
        changed=example.perturbed != example.query,
        edits=", ".join(edit.kind for edit in example.edits) or "none",
        ranks=f"{example.rank_before:,} → {example.rank_after:,}",
        calls=count(example.calls, "call"),
        distance=", ".join(written),
        before=_data_uri(example.image_before),
        after=_data_uri(example.image_after),
    )


def _data_uri(png: bytes | None) -> str:
    return "" if png is None else f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"
