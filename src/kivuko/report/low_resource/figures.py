"""The page's figures: which panels, what they say to a screen reader, and a table of every number drawn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from kivuko.evaluation import PARITY
from kivuko.report.low_resource.findings import Findings
from kivuko.report.low_resource.number_tables import gap_numbers, map_numbers, parity_numbers
from kivuko.report.low_resource.panels import Bar, Frame, bar_panel, line_panel
from kivuko.report.low_resource.recipes import MSE
from kivuko.report.low_resource.series import OTHER, ROLES, TRANSPORT, WITHOUT, Series, gap_series, map_series
from kivuko.report.low_resource.study import GROUPS, Setting, Spot, language_label
from kivuko.report.low_resource.table import Table
from kivuko.report.low_resource.wording import count, figure, setting_label, spread

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
        f"grey lines are all other recipes.{_largest(findings, setting)}"
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
