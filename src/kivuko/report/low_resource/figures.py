"""The page's figures: which panels, what they say to a screen reader, and a table of every number drawn."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from kivuko.evaluation import PARITY, Interval
from kivuko.report.heat_map import spread_apart
from kivuko.report.low_resource.findings import Findings
from kivuko.report.low_resource.inline_svg import drawable, inline_svg, plotting
from kivuko.report.low_resource.plot_style import INK, QUIET, STYLES
from kivuko.report.low_resource.series import OTHER, ROLES, TRANSPORT, WITHOUT, Series, gap_series, map_series
from kivuko.report.low_resource.study import GROUPS, MSE, Setting, Spot, language_label
from kivuko.report.low_resource.tables import gap_numbers, map_numbers, parity_numbers
from kivuko.report.rendering import Table, count, figure, setting_label, spread
from kivuko.report.rendering import figure as number

if TYPE_CHECKING:
    from matplotlib.axes import Axes


_INCH = 72  # units of the SVG's view box to matplotlib's inch
_WIDTH, _LINES_HEIGHT = 340, 252
_LABEL_GAP = 13.0  # between labels, in units of the view box


@dataclass(frozen=True)
class Frame:
    """What the panels of one row of small multiples share.

    ``sizes``: the ticks of the x axis, ascending; ``ticks``: how they are written; ``low``, ``high``: of the y axis;
    ``banded``: the roles whose intervals are drawn, all of them unless said.
    """

    sizes: Sequence[int]
    ticks: Sequence[str]
    low: float
    high: float
    what: str = "MAP"
    banded: Sequence[str] = tuple(ROLES)


@dataclass(frozen=True)
class Bar:
    """One bar of a group: its role, value and, where seeds were several, interval."""

    role: str
    value: Interval


def line_panel(title: str, series: Sequence[Series], frame: Frame, prefix: str, heard: str) -> str:
    """Draw lines with bands over seeds against bitext size (log), each labeled at its end; return SVG."""
    with plotting():
        from matplotlib.figure import Figure

        image = Figure(figsize=(_WIDTH / _INCH, _LINES_HEIGHT / _INCH), dpi=_INCH, facecolor="none")
        axes = image.add_axes((40 / _WIDTH, 40 / _LINES_HEIGHT, 204 / _WIDTH, 174 / _LINES_HEIGHT), facecolor="none")
        _set_axes(axes, frame)
        image.text(6 / _WIDTH, 1 - 17 / _LINES_HEIGHT, drawable(title), fontsize=12, fontweight="bold")
        for one in series:
            _draw_line(axes, one, frame)
        _label_ends(axes, [one for one in series if one.role != OTHER], frame)
        return inline_svg(image, prefix, heard)


def _set_axes(axes: Axes, frame: Frame) -> None:
    first, last = math.log10(frame.sizes[0]), math.log10(frame.sizes[-1])
    pad = 0.06 * (last - first)
    axes.set_xscale("log")
    # A single size stands near the labels: long threads to them would look like trends.
    axes.set_xlim(*((10 ** (first - pad), 10 ** (last + pad)) if pad else (10 ** (first - 1), 10 ** (last + 0.1))))
    axes.set_xticks(frame.sizes, frame.ticks)
    axes.set_xticks([], minor=True)
    axes.set_xlabel("sentence pairs per language (log scale)")
    axes.set_ylim(frame.low, frame.high)
    axes.set_title(frame.what, loc="left", fontsize=9, color=QUIET, x=-0.16, pad=4)
    if frame.low < 0:
        axes.axhline(0, color=QUIET, linewidth=1)


def _draw_line(axes: Axes, one: Series, frame: Frame) -> None:
    style = STYLES[one.role]
    look: dict[str, Any] = {"color": style.color, "linewidth": style.width, "linestyle": style.dash}
    if None in one.points:
        axes.axhline(one.points[None].mean, **look)
        return
    places = sorted(size for size in one.points if size is not None)
    marker = style.marker or ("." if len(places) == 1 else None)  # a line of one point would not be seen
    axes.plot(places, [one.points[size].mean for size in places], marker=marker, markersize=5, **look)
    if one.role == OTHER or one.role not in frame.banded:
        return
    low, high = [one.points[size].low for size in places], [one.points[size].high for size in places]
    if len(places) == 1:  # a band needs width
        axes.vlines(places, low, high, color=style.color, linewidth=1)
    else:
        axes.fill_between(places, low, high, color=style.color, alpha=0.14, linewidth=0)


def _label_ends(axes: Axes, series: Sequence[Series], frame: Frame) -> None:
    """Write each line's name beside its end, pushed apart where they would overlap, with a thread to the end."""
    unit = (frame.high - frame.low) / 174  # of the y axis, per unit of the view box
    left, right = axes.get_xlim()
    ends = sorted(((_end(one, right), one) for one in series), key=lambda pair: (pair[0][1], pair[1].role))
    heights = spread_apart([y for (_, y), _ in ends], _LABEL_GAP * unit, frame.low, frame.high)
    ratio = right / left  # the axis is logarithmic: a step to the right is a power of its ratio
    for ((x, y), one), height in zip(ends, heights, strict=True):
        style = STYLES[one.role]
        text, thread = right * ratio**0.11, right * ratio**0.045
        axes.plot([x, thread], [y, height], color=style.color, linewidth=0.5, clip_on=False)
        if style.marker:
            axes.plot([thread], [height], color=style.color, marker=style.marker, markersize=4.5, clip_on=False)
        axes.text(text, height, one.label, fontsize=9.5, va="center", color=INK)


def _end(one: Series, right: float) -> tuple[float, float]:
    if None in one.points:
        return right, one.points[None].mean
    last = max(size for size in one.points if size is not None)
    return last, one.points[last].mean


def bar_panel(title: str, groups: Sequence[tuple[str, Sequence[Bar]]], limit: float, prefix: str, heard: str) -> str:
    """Draw groups of horizontal bars, each with its figure at the end; return SVG.

    Args:
        groups: a label (language) and its bars each, from top to bottom.
        limit: right end of the axis, so that panels side by side compare.
    """
    roles = list(dict.fromkeys(bar.role for _, bars in groups for bar in bars))
    row = 13.0
    height = 78 + sum(row * len(bars) + 9 for _, bars in groups)
    with plotting():
        from matplotlib.figure import Figure

        image = Figure(figsize=(_WIDTH / _INCH, height / _INCH), dpi=_INCH, facecolor="none")
        axes = image.add_axes((112 / _WIDTH, 32 / height, 212 / _WIDTH, (height - 78) / height), facecolor="none")
        image.text(6 / _WIDTH, 1 - 17 / height, drawable(title), fontsize=12, fontweight="bold")
        _key(image, roles, height)
        axes.grid(axis="y", visible=False)
        axes.grid(axis="x", visible=True)
        axes.set_xlim(0, limit)
        axes.set_ylim(height - 78, 0)
        axes.set_xlabel("parity: MAP over the English teacher’s")
        place, middles = 4.5, []
        for _, bars in groups:
            middles.append(place + row * len(bars) / 2)
            for bar in bars:
                _draw_bar(axes, bar, place + row / 2, limit)
                place += row
            place += 9
        axes.set_yticks(middles, [drawable(label) for label, _ in groups])
        axes.tick_params(axis="y", labelcolor=INK, labelsize=9.5)
        return inline_svg(image, prefix, heard)


def _draw_bar(axes: Axes, bar: Bar, y: float, limit: float) -> None:
    style, value = STYLES[bar.role], bar.value
    axes.barh(y, value.mean, 10.5, facecolor=style.color if not style.hatch else "none", edgecolor=style.color,
              hatch=style.hatch, linewidth=1)  # fmt: skip
    end = value.mean
    if not value.degenerate:
        axes.plot([max(value.low, 0), value.high], [y, y], color=INK, linewidth=1)
        end = max(end, value.high)
    axes.text(max(end, 0) + 0.015 * limit, y, number(value.mean), fontsize=8.5, va="center", color=INK)


def _key(image: Any, roles: Sequence[str], height: float) -> None:
    """Say what the bars are, above them."""
    from matplotlib.patches import Rectangle

    left = 6.0
    for role in roles:
        style = STYLES[role]
        y = height - 38
        image.add_artist(
            Rectangle(
                (left / _WIDTH, y / height), 16 / _WIDTH, 9 / height, transform=image.transFigure, linewidth=1,
                facecolor=style.color if not style.hatch else "none", edgecolor=style.color, hatch=style.hatch,
            )
        )  # fmt: skip
        image.text((left + 21) / _WIDTH, (y + 1) / height, ROLES[role], fontsize=9.5, color=INK)
        left += 42 + 6.2 * len(ROLES[role])


_GAP_BANDS = (TRANSPORT, MSE)  # the two that the study asks about; five bands over each other would hide them


@dataclass(frozen=True)
class FigureSet:
    """Small multiples under one heading, with the numbers behind them; without a panel, ``absent`` says why."""

    title: str
    caption: str
    panels: Sequence[Markup]
    numbers: Table | None
    absent: str = ""


def map_figures(findings: Findings) -> list[FigureSet]:
    """MAP against bitext size: per setting, a panel per language and group."""
    return [_map_figure(findings, setting, place) for place, setting in enumerate(findings.study.settings)]


def _map_figure(findings: Findings, setting: Setting, place: int) -> FigureSet:
    title = setting_label(setting)
    places = [*GROUPS, *findings.study.languages]
    drawn = {code: map_series(findings, setting, code) for code in places}
    drawn = {code: series for code, series in drawn.items() if any(None not in one.points for one in series)}
    if not drawn:
        return FigureSet(title, "", (), None, "No model trained on bitext was measured on the test split.")
    top = max(interval.high for series in drawn.values() for one in series for interval in one.points.values())
    frame = _frame(findings, setting, 0.0, 1.06 * max(top, 1e-3))
    panels = [
        Markup(line_panel(language_label(code), series, frame, f"map{place}-{index}", _heard(code, series)))
        for index, (code, series) in enumerate(drawn.items())
    ]
    caption = (
        f"{title}: MAP on the test split against sentence pairs per language. Lines are means over seeds, bands their "
        "95 % t intervals. “with transport” and “without” are, at each size, the recipes chosen on validation; thin "
        f"gray lines are all other recipes.{_largest(findings, setting)}"
    )
    return FigureSet(title, caption, panels, map_numbers(findings, setting))


def gap_figure(findings: Findings) -> FigureSet:
    """High- minus low-resource MAP against bitext size, a panel per setting."""
    title = "Gap between high- and low-resource languages"
    drawn = {setting: gap_series(findings, setting) for setting in findings.study.settings}
    drawn = {setting: series for setting, series in drawn.items() if series}
    if not drawn:
        return FigureSet(title, "", (), None, "A gap needs both low- and high-resource languages on the test split.")
    intervals = [i for series in drawn.values() for one in series for i in one.points.values()]
    low, high = min(0.0, *(i.low for i in intervals)), max(0.0, *(i.high for i in intervals))
    pad = max(0.08 * (high - low), 1e-3)
    panels = []
    for place, (setting, series) in enumerate(drawn.items()):
        frame = replace(_frame(findings, setting, low - pad, high + pad), what="MAP, high − low", banded=_GAP_BANDS)
        heard = _heard(f"Gap, {setting_label(setting)}", series)
        name = setting_label(setting)
        panels.append(Markup(line_panel(name[0].upper() + name[1:], series, frame, f"gap-{place}", heard)))
    caption = (
        "High-resource mean MAP minus low-resource mean MAP on the test split, by sentence pairs per language: means "
        "over seeds, with 95 % t intervals for “with transport” and “mse” (the others’ are in the table). Zero is "
        "equal footing; below zero the low-resource languages do better."
    )
    return FigureSet(title, caption, panels, gap_numbers(findings))


def parity_figures(findings: Findings) -> list[FigureSet]:
    """Parity per language: per setting, a panel per size with the chosen recipes side by side."""
    return [_parity_figure(findings, setting, place) for place, setting in enumerate(findings.study.settings)]


def _parity_figure(findings: Findings, setting: Setting, place: int) -> FigureSet:
    title = setting_label(setting)
    sizes = findings.study.sizes(setting)
    panels_of = {size: _parity_groups(findings, setting, size) for size in sizes}
    panels_of = {size: groups for size, groups in panels_of.items() if groups}
    if not panels_of:
        return FigureSet(title, "", (), None, "No parity of a chosen recipe was measured on the test split.")
    top = max(bar.value.high for groups in panels_of.values() for _, bars in groups for bar in bars)
    panels = [
        Markup(
            bar_panel(
                count(size, "pair"), groups, 1.2 * max(top, 1e-3), f"parity{place}-{size}",
                f"Parity at {count(size, 'pair')}. " + " ".join(_heard_bars(label, bars) for label, bars in groups),
            )
        )
        for size, groups in panels_of.items()
    ]  # fmt: skip
    caption = (
        f"{title}: parity on the test split, MAP in the language over the English teacher’s MAP on English queries; 1 "
        "is equal footing with English. Bars are means over seeds, thin lines their 95 % t intervals. The recipes are "
        "those chosen on validation at that size."
    )
    return FigureSet(title, caption, panels, parity_numbers(findings, setting))


def _parity_groups(findings: Findings, setting: Setting, size: int) -> list[tuple[str, list[Bar]]]:
    choice = findings.choice(setting, size)
    names = {TRANSPORT: choice.transport, WITHOUT: choice.plain} if choice else {}
    groups = []
    for code in (*findings.study.languages, *GROUPS):
        bars = []
        for role, name in names.items():
            spot = Spot(setting, size, name or "", code, PARITY, subset=findings.study.subset)
            if name is not None and (value := findings.study.over_seeds(spot)) is not None:
                bars.append(Bar(role, value))
        if bars:
            groups.append((language_label(code), bars))
    return groups


def _frame(findings: Findings, setting: Setting, low: float, high: float) -> Frame:
    sizes = findings.study.sizes(setting)
    ticks = [f"{size:,}" for size in sizes]
    if len(sizes) > 1 and findings.study.header.protocol.get("standard") is True:
        ticks[-1] = "all"
    return Frame(sizes, ticks, low, high)


def _largest(findings: Findings, setting: Setting) -> str:
    sizes = findings.study.sizes(setting)
    standard = len(sizes) > 1 and findings.study.header.protocol.get("standard") is True
    return f" “all” is {sizes[-1]:,} pairs." if standard else ""


def _heard(code: str, series: Iterable[Series]) -> str:
    told = [f"{language_label(code)}."]
    for one in series:
        if one.role == OTHER:
            continue
        points = (
            f"{spread(interval)}" + (f" at {size:,} pairs" if size is not None else "")
            for size, interval in one.points.items()
        )
        told.append(f"{one.label}: {', '.join(points)}.")
    return " ".join(told)


def _heard_bars(label: str, bars: Sequence[Bar]) -> str:
    return f"{label}: " + ", ".join(f"{ROLES[bar.role]} {figure(bar.value.mean)}" for bar in bars) + "."
