"""The numbers behind the plots, as tables: for those who hear the page, and for those who check it."""

from __future__ import annotations

from kivuko.evaluation import PARITY
from kivuko.report.low_resource.findings import Findings
from kivuko.report.low_resource.study import GROUPS, HIGH, LOW, MAP, Setting, Spot, language_label
from kivuko.report.low_resource.table import Cell, Row, RowGroup, Table, cells
from kivuko.report.low_resource.wording import DASH, count, per_cent, setting_label, signed_spread, spread


def map_numbers(findings: Findings, setting: Setting) -> Table:
    """MAP of every recipe at every size in every language and group."""
    return _by_language(findings, setting, MAP, "MAP")


def parity_numbers(findings: Findings, setting: Setting) -> Table:
    """Parity likewise."""
    return _by_language(findings, setting, PARITY, "Parity")


def _by_language(findings: Findings, setting: Setting, measure: str, name: str) -> Table:
    study = findings.study
    codes = (*GROUPS, *study.languages)
    groups = []
    for size in (*study.sizes(setting), None):
        rows = []
        for objective in study.objectives(setting, size):
            spots = (Spot(setting, size, objective, code, measure, subset=study.subset) for code in codes)
            found = [spread(study.over_seeds(spot)) for spot in spots]
            if any(text != DASH for text in found):
                rows.append(Row(Cell(_marked(findings, setting, size, objective), code=True), cells(*found)))
        if rows:
            groups.append(RowGroup(rows, size_heading(size)))
    caption = (
        f"{name} on the test split, {setting_label(setting)}: mean over seeds with 95 % t interval. "
        "★ chosen with transport, ☆ chosen without."
    )
    return Table(caption, ("recipe", *(language_label(code) for code in codes)), groups)


def gap_numbers(findings: Findings) -> Table:
    """Low- and high-resource MAP of every recipe, and the gap, absolute and relative."""
    study = findings.study
    groups = []
    for setting in study.settings:
        for size in (*study.sizes(setting), None):
            rows = []
            for objective in study.objectives(setting, size):
                if (gap := study.gap(setting, size, objective)) is None:
                    continue
                spots = [Spot(setting, size, objective, group, subset=study.subset) for group in (LOW, HIGH)]
                low, high = map(study.over_seeds, spots)
                share = per_cent(gap.mean / high.mean) if high and high.mean > 0 else DASH
                rows.append(
                    Row(
                        Cell(_marked(findings, setting, size, objective), code=True),
                        cells(spread(low), spread(high), signed_spread(gap, 3), share),
                    )
                )
            if rows:
                groups.append(RowGroup(rows, f"{setting_label(setting)}: {size_heading(size)}"))
    return Table(
        "Low- and high-resource mean MAP on the test split, and the gap between them (high − low): mean over seeds "
        "with 95 % t interval. ★ chosen with transport, ☆ chosen without.",
        ("recipe", "low-resource", "high-resource", "gap", "gap, share of high"),
        groups,
    )


def size_heading(size: int | None) -> str:
    """Return ``300 pairs per language``, or what stands there without bitext."""
    return "no bitext" if size is None else f"{count(size, 'pair')} per language"


def _marked(findings: Findings, setting: Setting, size: int | None, objective: str) -> str:
    return objective + chosen_mark(findings, setting, size, objective)


def chosen_mark(findings: Findings, setting: Setting, size: int | None, objective: str) -> str:
    """Return a star behind a space for a chosen recipe, filled with transport, hollow without; else nothing."""
    choice = findings.choice(setting, size) if size is not None else None
    if choice is None:
        return ""
    return {choice.transport: " ★", choice.plain: " ☆"}.get(objective, "")
