"""The page of a low-resource study: which recipe helps most with little bitext, and does transport help?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from kivuko.evaluation.group_means import PARITY
from kivuko.evaluation.statistics import Interval
from kivuko.report.comparisons import Contrast
from kivuko.report.formatting import DASH, count, language_label, per_cent, signed_spread, size_heading, spread
from kivuko.report.low_resource_answer import MET, MISSED, gain_claim, study_answer, translation_claim
from kivuko.report.page import Block, Cell, FigureSet, Prose, Row, RowGroup, Section, Table, cells
from kivuko.report.plots import FIRST, OTHER, SECOND, Axis, Bar, Line, axis_top, bar_panel, line_panel
from kivuko.report.results import (
    ALL,
    GROUPS,
    HIGH,
    LEXICAL,
    LOW,
    MSE,
    TEACHER,
    TRANSLATE_TEST,
    VALIDATION,
    Results,
    Setting,
    Spot,
    System,
    is_low,
)
from kivuko.report.study_page import Findings, Question, by_size, stars, tests_section


def _sections(findings: Findings) -> list[Section]:
    results = findings.results
    settings = results.settings
    sections = []
    if findings.contrast.transport and findings.size is not None:
        sections.append(_claims_section(findings, findings.size))
    return [
        *sections,
        Section("map", "MAP by bitext size", [(s.label, _map_figure(findings, s, n)) for n, s in enumerate(settings)]),
        Section("parity", "Parity with English",
                [(s.label, _parity_figure(findings, s, n)) for n, s in enumerate(settings)]),
        Section("gap", "Low- against high-resource languages", [("", _gap_figure(findings))],
                "Low against high resource"),
        tests_section(
            findings, "Each test is on the same queries for both sides. Comparisons of one recipe in two roles are "
            "counted once."
        ),
        _recipes_section(findings),
    ]  # fmt: skip


def _claims_section(findings: Findings, size: int) -> Section:
    family, setting = findings.family, findings.setting
    claims = (
        gain_claim(family, setting, size),
        translation_claim(family, setting, findings.results.sizes(setting)),
    )
    rows = [
        Row(
            Cell(claim.wanted),
            [
                Cell("\n".join(claim.figures)),
                Cell({MET: "✓ met", MISSED: "✗ missed"}.get(claim.state, claim.state),
                     state=claim.state.replace(" ", "-")),
            ],
        )
        for claim in claims
    ]  # fmt: skip
    table = Table(
        f"Required of the best recipe with transport ({setting.label}; low-resource mean MAP, test split), and the "
        "result. In brackets: 95 % intervals over concepts.",
        ("required", "result", "verdict"), [RowGroup(rows)], 3, "claims",
    )  # fmt: skip
    return Section("bars", "Bars set beforehand", [("", table), ("", Prose(findings.contrast.rule, quiet=True))])


def _labels(contrast: Contrast) -> dict[str, str]:
    return {
        FIRST: contrast.first, SECOND: contrast.second, MSE: "mse", TRANSLATE_TEST: "translate-test",
        LEXICAL: "word table", TEACHER: "teacher, as is", OTHER: "other recipes",
    }  # fmt: skip


Measured = Callable[[System], Interval | None]


def _lines(findings: Findings, setting: Setting, measured: Measured, others: bool) -> list[Line]:
    """Return the lines of a figure against bitext size, background first."""
    results, labels = findings.results, _labels(findings.contrast)
    sizes = results.sizes(setting)
    names = sorted({system.objective for size in sizes for system in results.systems(setting, size)})
    followed = {(OTHER, name): [System(setting, name, size, results.towers[0]) for size in sizes] for name in names
                if others and name not in (MSE, TRANSLATE_TEST, LEXICAL)}  # fmt: skip
    for name in (LEXICAL, TRANSLATE_TEST, MSE):
        followed[name, ""] = [System(setting, name, size, results.towers[0]) for size in sizes]
    choices = [choice for choice in findings.choices if choice.setting == setting]
    followed[SECOND, ""] = [choice.second for choice in choices if choice.second]
    followed[FIRST, ""] = [choice.first for choice in choices if choice.first]  # last, so that it is drawn on top
    lines = []
    for (role, _), systems in followed.items():
        points: dict[float | None, Interval] = {s.size: value for s in systems if (value := measured(s)) is not None}
        if points:
            lines.append(Line(role, labels[role], points))
    return lines


def _map_figure(findings: Findings, setting: Setting, place: int) -> FigureSet:
    title, results = setting.label, findings.results
    drawn: dict[str, list[Line]] = {}
    for code in (*GROUPS, *results.languages):
        lines = _lines(findings, setting, partial(_map_in, results, code), True)
        if lines:
            teacher = results.over_seeds(Spot(System(setting, TEACHER, None, results.towers[0]), language=code))
            drawn[code] = [*lines, *([Line(TEACHER, "teacher, as is", {None: teacher})] if teacher else [])]
    if not drawn:
        return FigureSet(title, "", (), None, "No model trained on bitext was measured on the test split.")
    top = axis_top(value for lines in drawn.values() for line in lines for value in line.points.values())
    axis = _axis(findings, setting, 0.0, top)
    panels = [
        line_panel(language_label(code), lines, axis, f"map{place}-{index}")
        for index, (code, lines) in enumerate(drawn.items())
    ]
    first, second = f"“{findings.contrast.first}”", f"“{findings.contrast.second}”"
    caption = (
        f"{title}: MAP on the test split against sentence pairs per language. Lines are means over seeds, bands their "
        f"95 % t intervals. {first} and {second} are, at each size, the recipes chosen on validation; thin gray lines "
        f"are all other recipes.{_largest(findings, setting)}"
    )
    return FigureSet(title, caption, panels, _numbers(findings, setting, "MAP", "MAP"))


def _map_in(results: Results, code: str, system: System) -> Interval | None:
    return results.over_seeds(Spot(system, language=code))


def _gap_figure(findings: Findings) -> FigureSet:
    title = "Gap between high- and low-resource languages"
    drawn = {s: _lines(findings, s, findings.results.gap, False) for s in findings.results.settings}
    drawn = {setting: lines for setting, lines in drawn.items() if lines}
    if not drawn:
        return FigureSet(title, "", (), None, "A gap needs both low- and high-resource languages on the test split.")
    intervals = [value for lines in drawn.values() for line in lines for value in line.points.values()]
    low, high = min(0.0, *(i.low for i in intervals)), max(0.0, *(i.high for i in intervals))
    pad = max(0.08 * (high - low), 1e-3)
    panels = []
    for place, (setting, lines) in enumerate(drawn.items()):
        # Two bands: five over each other would hide the lines.
        axis = replace(_axis(findings, setting, low - pad, high + pad), what="MAP, high − low", banded=(FIRST, MSE))
        label = setting.label[0].upper() + setting.label[1:]
        panels.append(line_panel(label, lines, axis, f"gap-{place}", f"Gap, {setting.label}"))
    caption = (
        "High-resource mean MAP minus low-resource mean MAP on the test split, by sentence pairs per language: means "
        f"over seeds, with 95 % t intervals for “{findings.contrast.first}” and “mse” (the others’ are in the table). "
        "Zero is equal footing; below zero the low-resource languages do better."
    )
    return FigureSet(title, caption, panels, _gap_numbers(findings))


def _parity_figure(findings: Findings, setting: Setting, place: int) -> FigureSet:
    title = setting.label
    sizes = findings.results.sizes(setting)
    panels_of = {size: groups for size in sizes if (groups := _parity_groups(findings, setting, size))}
    if not panels_of:
        return FigureSet(title, "", (), None, "No parity of a chosen recipe was measured on the test split.")
    limit = axis_top((bar.value for groups in panels_of.values() for _, bars in groups for bar in bars), 1.2)
    label = "parity: MAP over the English teacher’s"
    panels = [
        bar_panel(
            count(size, "pair"), groups, limit, label, f"parity{place}-{size}", f"Parity at {count(size, 'pair')}"
        )
        for size, groups in panels_of.items()
    ]
    caption = (
        f"{title}: parity on the test split, MAP in the language over the English teacher’s MAP on English queries; 1 "
        "is equal footing with English. Bars are means over seeds, thin lines their 95 % t intervals. The recipes are "
        "those chosen on validation at that size."
    )
    return FigureSet(title, caption, panels, _numbers(findings, setting, PARITY, "Parity"), kind="bars")


def _parity_groups(findings: Findings, setting: Setting, size: int) -> list[tuple[str, list[Bar]]]:
    choice, contrast = findings.choice(setting, size), findings.contrast
    if choice is None:
        return []
    sides = ((FIRST, contrast.first, choice.first), (SECOND, contrast.second, choice.second))
    groups = []
    for code in (*findings.results.languages, *GROUPS):
        bars = [
            Bar(role, label, value)
            for role, label, system in sides
            if system and (value := findings.results.over_seeds(Spot(system, language=code, measure=PARITY)))
        ]
        if bars:
            groups.append((language_label(code), bars))
    return groups


def _axis(findings: Findings, setting: Setting, low: float, high: float) -> Axis:
    sizes = findings.results.sizes(setting)
    ticks = [f"{size:,}" for size in sizes]
    if len(sizes) > 1 and findings.results.header.protocol.get("standard") is True:
        ticks[-1] = "all"
    return Axis(sizes, ticks, "sentence pairs per language (log scale)", low, high, log=True, spoken=_at)


def _largest(findings: Findings, setting: Setting) -> str:
    sizes = findings.results.sizes(setting)
    standard = len(sizes) > 1 and findings.results.header.protocol.get("standard") is True
    return f" “all” is {sizes[-1]:,} pairs." if standard else ""


def _at(size: float) -> str:
    return f" at {size:,.0f} pairs"


def _numbers(findings: Findings, setting: Setting, measure: str, name: str) -> Table:
    results = findings.results
    codes = (*GROUPS, *results.languages)
    groups = by_size(
        findings, setting, lambda s: cells(*(spread(results.over_seeds(Spot(s, None, c, measure))) for c in codes))
    )
    caption = (
        f"{name} on the test split, {setting.label}: mean over seeds with 95 % t interval. {stars(findings.contrast)}"
    )
    return Table(caption, ("recipe", *(language_label(code) for code in codes)), groups)


def _gap_numbers(findings: Findings) -> Table:
    results = findings.results

    def row(system: System) -> list[Cell] | None:
        if (gap := results.gap(system)) is None:
            return None
        low, high = (results.over_seeds(Spot(system, language=group)) for group in (LOW, HIGH))
        share = per_cent(gap.mean / high.mean) if high and high.mean > 0 else DASH
        return cells(spread(low), spread(high), signed_spread(gap, 3), share)

    groups = [group for setting in results.settings for group in by_size(findings, setting, row, heading=True)]
    return Table(
        "Low- and high-resource mean MAP on the test split, and the gap between them (high − low): mean over seeds "
        f"with 95 % t interval. {stars(findings.contrast)}",
        ("recipe", "low-resource", "high-resource", "gap", "gap, share of high"),
        groups,
    )


def _recipes_section(findings: Findings) -> Section:
    blocks: list[tuple[str, Block]] = [(s.label, _recipe_table(findings, s)) for s in findings.results.settings]
    if (subsets := _subset_table(findings)) is not None:
        remark = "A word is seen if its English occurs in training."
        blocks += [("By kind of query", subsets), ("", Prose(remark, quiet=True))]
    return Section("recipes", "Every recipe", [*blocks, ("Languages", _language_table(findings))])


def _recipe_table(findings: Findings, setting: Setting) -> Table:
    results = findings.results
    groups = []
    for size in (*results.sizes(setting), None):
        choice = findings.choice(setting, size)
        validation = choice.validation if choice else {}
        systems = results.systems(setting, size)
        rows = []
        for system in sorted(systems, key=lambda s: (-validation.get(s, float("-inf")), s.objective)):
            mark = choice.mark(system).strip() if choice else ""
            side = {"★": findings.contrast.first, "☆": findings.contrast.second}.get(mark, "")
            seeds = [seed for seed in results.seed_values(Spot(system)) if seed is not None]
            figures = [spread(results.over_seeds(Spot(system, measure=measure))) for measure in ("R@1", "R@10")]
            rows.append(
                Row(
                    Cell(system.objective, code=True),
                    [
                        Cell(results.recipe(system.objective).role),
                        Cell(f"{mark} {side.removesuffix(' transport')}".strip(), strong=True),
                        Cell(spread(results.over_seeds(Spot(system, split=VALIDATION)))),
                        Cell(spread(results.over_seeds(Spot(system))), strong=bool(mark)),
                        *cells(*figures, str(len(seeds)) if seeds else DASH),
                    ],
                )
            )
        if rows:
            groups.append(RowGroup(rows, size_heading(size)))
    return Table(
        f"{setting.label}: low-resource means over seeds with 95 % t intervals. Chosen by validation MAP: "
        f"{stars(findings.contrast)}",
        ("recipe", "kind", "chosen", "MAP, validation", "MAP, test", "R@1, test", "R@10, test", "seeds"),
        groups,
        words=3,
    )


# Subsets of queries in records, and in a table.
_SUBSETS = {
    "headline": "headline", "compositional": "seen words only", "lexical": "with unseen words", "copied": "copied",
    ALL: ALL,
}  # fmt: skip


def _subset_table(findings: Findings) -> Table | None:
    """MAP of the chosen recipes on each kind of query; None where there is only one kind."""
    results, setting = findings.results, findings.setting
    names = [name for name in _SUBSETS if name in results.subsets(setting)]
    if len(names) < 2:
        return None
    groups = []
    for size in results.sizes(setting):
        choice = findings.choice(setting, size)
        rows = [
            Row(findings.marked(system),
                cells(*(spread(results.over_seeds(Spot(system, subset=name))) for name in names)))
            for system in ((choice.first, choice.second) if choice else ())
            if system is not None
        ]  # fmt: skip
        if rows:
            groups.append(RowGroup(rows, size_heading(size)))
    caption = (
        f"{setting.label}: low-resource mean MAP of the chosen recipes on the test split, by kind of query. "
        f"{stars(findings.contrast)}"
    )
    return Table(caption, ("recipe", *(_SUBSETS[name] for name in names)), groups) if groups else None


def _language_table(findings: Findings) -> Table:
    results = findings.results
    rows = [
        Row(
            Cell(language_label(code)),
            cells(
                "low-resource" if is_low(code) else "high-resource",
                *(f"{results.queries(setting, code):,}" for setting in results.settings),
            ),
        )
        for code in results.languages
    ]
    return Table(
        "Languages and their test queries"
        + (", those equal to the English name left out" if results.subset == "headline" else ""),
        ("language", "group", *(f"queries, {setting.label}" for setting in results.settings)),
        [RowGroup(rows)],
        words=2,
    )


def _limits(findings: Findings) -> list[str]:
    lines = [
        f"One collection and {count(len(findings.results.languages), 'language')}. It lets recipes be compared; it "
        "does not say how well a search over photographs or long documents would do, nor how another language would "
        "fare.",
        "The choice is among the recipes in the table. A recipe that nobody tried might do better, with transport or "
        "without.",
    ]
    if findings.results.high:
        lines.append(
            "Low- and high-resource languages saw about equally much bitext here; that isolates the language, and is "
            "not how data is spread in the world."
        )
    return lines


_TERMS = (
    "MAP",
    "R@k",
    "Parity",
    "Low- and high-resource mean",
    "Gap",
    "Sentence pairs per language",
    "Transport",
    "Interval over seeds",
    "Interval over concepts",
    "p",
    "p after Holm",
)

QUESTION = Question(
    name="low-resource",
    attacked=False,
    title="Does optimal transport help with little bitext?",
    heading="Does optimal transport help carry an English search model into low-resource languages?",
    recipe_title="Which recipe helps most with little bitext?",
    recipe_heading="Which recipe carries an English search model furthest into low-resource languages?",
    headline_size=300,
    answer=study_answer,
    sections=_sections,
    terms=_TERMS,
    limits=_limits,
    tables={"recipes": ("kind", "transport", "description")},
)
