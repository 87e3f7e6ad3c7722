"""The drawing: accuracy against the attack's budget, one line per system, as wide as a phone's screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kivuko.evaluation import Interval
from kivuko.report.label_places import spread_apart
from kivuko.report.low_resource.inline_svg import drawable, inline_svg, plotting
from kivuko.report.low_resource.plot_style import INK, QUIET, STYLES, Style
from kivuko.report.low_resource.recipes import LEXICAL, MSE, TEACHER, TRANSLATE_TEST
from kivuko.report.low_resource.series import OTHER, TRANSPORT, WITHOUT

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
    """Draw lines with bands over seeds against budget, each labelled at its end; return SVG.

    Args:
        axis: budgets ascending, from 0.
        top: of the y axis, so that panels side by side compare.
        prefix: of every id, unique on the page.
        heard: what a screen reader says.
    """
    with plotting():
        from matplotlib.figure import Figure

        picture = Figure(figsize=(_WIDTH / _INCH, _HEIGHT / _INCH), dpi=_INCH, facecolor="none")
        axes = picture.add_axes((40 / _WIDTH, 40 / _HEIGHT, 196 / _WIDTH, _PLOT / _HEIGHT), facecolor="none")
        picture.text(6 / _WIDTH, 1 - 17 / _HEIGHT, drawable(title), fontsize=12, fontweight="bold")
        last = axis.budgets[-1]
        axes.set_xlim(-0.03 * last, 1.03 * last)
        axes.set_xticks(*_ticks(axis))
        axes.set_xlabel(drawable(axis.label))
        axes.set_ylim(0, top)
        axes.set_title("MAP", loc="left", fontsize=9, color=QUIET, x=-0.16, pad=4)
        for line in lines:
            _draw(axes, line)
        _label_ends(axes, [line for line in lines if line.role != OTHER], top, last)
        return inline_svg(picture, prefix, heard)


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
