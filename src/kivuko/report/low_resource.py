"""The page of a low-resource study: which recipe helps most with little bitext, and does transport help?"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum, auto
from functools import partial

from kivuko.evaluation.comparison import compare_scores
from kivuko.evaluation.group_means import PARITY
from kivuko.evaluation.statistics import Interval
from kivuko.report import formatting as fmt
from kivuko.report.comparisons import Choice, Contrast, Family, PairedTest, no_choice
from kivuko.report.page import Answer, Block, Cell, FigureSet, Prose, Row, RowGroup, Section, Table, cells
from kivuko.report.parts import parts_section
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
    WITHOUT_FILIPINO,
    Results,
    Setting,
    Spot,
    System,
    is_low,
)
from kivuko.report.study_page import Findings, Question, by_size, seed_lines, stars, tests_section

WANTED_GAIN = 0.10  # over the best without transport, relative
WANTED_OVER_TRANSLATION = 0.137  # as the OPTICAL paper reports (Huang, Yu and Allan 2023), relative
WANTED_OVER_ALIGNMENT = 0.03  # over word alignment without transport, where a study has such controls
MET, MISSED, OPEN = "met", "missed", "not measured"


class Verdict(StrEnum):
    """The result of the headline test."""

    HELPS = auto()
    HELPS_LITTLE = auto()
    NOT_BEYOND_ALIGNMENT = auto()
    ALIGNMENT_IS_BETTER = auto()
    UNMEASURABLE = auto()
    NO_HELP = auto()
    HARMS = auto()
    UNANSWERED = auto()


def judge(gain: float, p: float, controls: Sequence[PairedTest] = ()) -> Verdict:
    """Return the verdict on a relative gain and its p value after Holm; ``controls``: tests against word alignment."""
    if p < 0.05 and gain > 0:
        if any(control.sign < 0 for control in controls):
            return Verdict.ALIGNMENT_IS_BETTER
        if not all(control.sign for control in controls):
            return Verdict.NOT_BEYOND_ALIGNMENT
        return Verdict.HELPS if gain >= _wanted_gain(controls) else Verdict.HELPS_LITTLE
    if p < 0.05 and gain < 0:
        return Verdict.HARMS
    return Verdict.UNMEASURABLE if gain > 0 else Verdict.NO_HELP


def _wanted_gain(controls: Sequence[PairedTest]) -> float:
    return WANTED_OVER_TRANSLATION if controls else WANTED_GAIN


def answer(
    tested: PairedTest | None, contrast: Contrast, reason: str = "", languages: int = 0,
    controls: Sequence[PairedTest] = (),
) -> Answer:  # fmt: skip
    """Answer in one sentence from the headline test; ``reason`` ends the sentence where there is none.

    ``controls``: tests of the same recipe against word alignment without transport.
    """
    verdict = judge(tested.gain, tested.adjusted, controls) if tested else Verdict.UNANSWERED
    on_transport, on_recipes = fmt.entry(f"low-resource.verdicts.{verdict}")
    begins = on_transport if contrast.transport else on_recipes
    if tested is None:
        return Answer(verdict, f"{begins}: {reason or 'the comparison is missing'}.")
    comparison = tested.comparison
    required = f"{100 * _wanted_gain(controls):g} %"
    names = {"first": comparison.first, "second": comparison.second, "required": required}
    sentence = fmt.text(
        "low-resource.answer", begins=begins.format(**names), pairs=fmt.count(tested.size, "sentence pair"),
        setting=tested.setting.label, best=contrast.best, mean=fmt.figure(comparison.means[0]),
        languages=fmt.count(languages, "low-resource language"), amount=_amount(tested), other=contrast.other,
        second_mean=fmt.figure(comparison.means[1]), aligned=_best_alignment(controls),
        p=fmt.after_holm(tested.adjusted, tested.family_size, at_floor=tested.at_floor), **names,
    )  # fmt: skip
    about_controls = _control_lines(controls, contrast, verdict)
    return Answer(verdict, sentence, (*about_controls, *_support(tested, verdict)))


def _best_alignment(controls: Sequence[PairedTest]) -> str:
    """Return the difference from the best of the controls, as part of the sentence; "" without controls."""
    if not controls:
        return ""
    best = max(controls, key=lambda one: one.comparison.means[1])
    return fmt.text(
        "low-resource.aligned", amount=_amount(best), second=best.comparison.second,
        mean=fmt.figure(best.comparison.means[1]),
    )  # fmt: skip


def _control_lines(controls: Sequence[PairedTest], contrast: Contrast, verdict: Verdict) -> Iterator[str]:
    for control in controls:
        yield fmt.text(
            "low-resource.control", second=control.comparison.second, mean=fmt.figure(control.comparison.means[1]),
            gain=_gain(control), verdict=control.verdict,
        )  # fmt: skip
    if contrast.transport and not controls and verdict in (Verdict.HELPS, Verdict.HELPS_LITTLE):
        yield fmt.text("low-resource.no-control")


def _amount(tested: PairedTest) -> str:
    difference = tested.comparison.difference.mean
    if tested.gain == 0:
        return "exactly as much as"
    direction = "more than" if difference > 0 else "less than"
    if math.isinf(tested.gain):
        return f"{fmt.figure(difference)} {direction}"
    return f"{fmt.per_cent(abs(tested.gain)).lstrip('+')} {direction}"


def _support(tested: PairedTest, verdict: Verdict) -> Iterator[str]:
    comparison = tested.comparison
    relative = "Difference in MAP"
    if comparison.relative is not None:
        relative = f"Relative difference {fmt.per_cent_spread(comparison.relative)}; in MAP"
    over = fmt.count(comparison.difference.n, "concept")
    yield f"{relative} {fmt.signed_spread(comparison.difference)}, 95 % intervals over {over}."
    yield from seed_lines(tested, fmt.signed_spread)
    if verdict is Verdict.UNMEASURABLE:
        yield "A difference of this size can be chance."


def study_answer(findings: Findings) -> Answer:
    choice = findings.headline
    if choice is None:
        return answer(None, findings.contrast, "no model in them was trained on bitext")
    reason = no_choice(choice, findings.contrast, "could be chosen on the validation split")
    if choice.first and choice.second:
        names = f"{choice.first.objective} and {choice.second.objective}"
        reason = f"at {choice.size:,} pairs {names} could not be compared query by query"
    tested = findings.family.against(choice.setting, choice.size, findings.contrast.role)
    contrasts = findings.results.contrasts if findings.contrast.transport else ()
    against = [findings.family.against(choice.setting, choice.size, name) for name in contrasts]
    controls = [control for control in against if control is not None]
    answered = answer(tested, findings.contrast, reason, len(findings.results.low), controls)
    if tested is None or choice.second is None or findings.results.groups == GROUPS:
        return answered
    return replace(answered, support=(*answered.support, *_filipino_apart(findings.results, choice)))


def _filipino_apart(results: Results, choice: Choice) -> Iterator[str]:
    """Yield the same difference without Filipino, which other lists do not call low-resource."""
    if choice.first is None or choice.second is None:
        return
    codes = results.members(WITHOUT_FILIPINO)
    apart = compare_scores(results.blocks(choice.first), results.blocks(choice.second), codes)
    if apart.relative is not None:
        yield fmt.text("low-resource.filipino", relative=fmt.per_cent_spread(apart.relative))


@dataclass(frozen=True)
class Claim:
    """One requirement set beforehand."""

    wanted: str
    figures: tuple[str, ...]
    state: str  # MET, MISSED or OPEN


def gain_claim(family: Family, setting: Setting, size: int) -> Claim:
    """At least 10 % over the best without transport at the headline size, and not by luck."""
    wanted = fmt.text("low-resource.gain", pairs=fmt.count(size, "pair"), gain=fmt.per_cent(WANTED_GAIN))
    tested = family.against(setting, size, "best without transport")
    if tested is None:
        return Claim(wanted, ("the comparison could not be made",), OPEN)
    names = f"“{tested.comparison.first}” over “{tested.comparison.second}”"
    state = MET if judge(tested.gain, tested.adjusted) is Verdict.HELPS else MISSED
    return Claim(wanted, (f"{_gain(tested)} ({names})",), state)


def claim_at_every_size(
    family: Family, setting: Setting, sizes: Sequence[int], role: str, least: float, significant: bool = True
) -> Claim:
    """At least so much over the recipe in a role, at every size; one size below is enough to miss it."""
    significance = ", p < 0.05 after Holm" if significant else ""
    wanted = fmt.text("low-resource.every-size", gain=fmt.per_cent(least), role=role, significance=significance)
    lines, states = [], []
    for size in sizes:
        tested = family.against(setting, size, role)
        reached = tested is not None and tested.gain >= least and (tested.significant or not significant)
        lines.append(f"{fmt.count(size, 'pair')}: {_gain(tested) if tested else 'not measured'}")
        states.append(MET if reached else MISSED if tested else OPEN)
    overall = MISSED if MISSED in states else OPEN if OPEN in states or not states else MET
    return Claim(wanted, tuple(lines) or ("nothing was measured",), overall)


def _gain(tested: PairedTest) -> str:
    p = tested.p_text
    if tested.comparison.relative is not None:
        return f"{fmt.per_cent_spread(tested.comparison.relative)}, {p}"
    gain = "no ratio, the other’s MAP is 0" if math.isinf(tested.gain) else fmt.per_cent(tested.gain)
    return f"{gain}, {p}"


def _sections(findings: Findings) -> list[Section]:
    results = findings.results
    settings = results.settings
    sections = []
    if findings.contrast.transport and findings.size is not None:
        sections.append(_claims_section(findings, findings.size))
    if results.contrasts:
        sections.append(parts_section(findings))
    return [
        *sections,
        Section("map", "MAP by bitext size", [(s.label, _map_figure(findings, s, n)) for n, s in enumerate(settings)]),
        Section("parity", "Parity with English",
                [(s.label, _parity_figure(findings, s, n)) for n, s in enumerate(settings)]),
        Section("gap", "Low- against high-resource languages", [("", _gap_figure(findings))],
                "Low against high resource"),
        tests_section(findings),
        _recipes_section(findings),
    ]  # fmt: skip


def _claims_section(findings: Findings, size: int) -> Section:
    family, setting, results = findings.family, findings.setting, findings.results
    at_every_size = partial(claim_at_every_size, family, setting, results.sizes(setting))
    if results.contrasts:
        claims = [at_every_size(findings.contrast.role, WANTED_OVER_TRANSLATION)]
        claims += [at_every_size(name, WANTED_OVER_ALIGNMENT) for name in results.contrasts]
    else:
        claims = [gain_claim(family, setting, size), at_every_size(TRANSLATE_TEST, WANTED_OVER_TRANSLATION, False)]
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
    caption = fmt.text("low-resource.claims", setting=setting.label)
    table = Table(caption, ("required", "result", "verdict"), [RowGroup(rows)], 3, "claims")
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
        return FigureSet(title, "", (), None, fmt.text("low-resource.no-map"))
    top = axis_top(value for lines in drawn.values() for line in lines for value in line.points.values())
    axis = _axis(findings, setting, 0.0, top)
    panels = [
        line_panel(fmt.language_label(code), lines, axis, f"map{place}-{index}")
        for index, (code, lines) in enumerate(drawn.items())
    ]
    caption = fmt.text(
        "low-resource.map", setting=title, first=findings.contrast.first, second=findings.contrast.second,
        largest=f" “all” is {results.sizes(setting)[-1]:,} pairs." if axis.ticks[-1] == "all" else "",
    )  # fmt: skip
    return FigureSet(title, caption, panels, _numbers(findings, setting, "MAP", "MAP"))


def _map_in(results: Results, code: str, system: System) -> Interval | None:
    return results.over_seeds(Spot(system, language=code))


def _gap_figure(findings: Findings) -> FigureSet:
    title = "Gap between high- and low-resource languages"
    drawn = {s: _lines(findings, s, findings.results.gap, False) for s in findings.results.settings}
    drawn = {setting: lines for setting, lines in drawn.items() if lines}
    if not drawn:
        return FigureSet(title, "", (), None, fmt.text("low-resource.no-gap"))
    intervals = [value for lines in drawn.values() for line in lines for value in line.points.values()]
    low, high = min(0.0, *(i.low for i in intervals)), max(0.0, *(i.high for i in intervals))
    pad = max(0.08 * (high - low), 1e-3)
    panels = []
    for place, (setting, lines) in enumerate(drawn.items()):
        # Two bands: five over each other would hide the lines.
        axis = replace(_axis(findings, setting, low - pad, high + pad), what="MAP, high − low", banded=(FIRST, MSE))
        label = setting.label[0].upper() + setting.label[1:]
        panels.append(line_panel(label, lines, axis, f"gap-{place}", f"Gap, {setting.label}"))
    caption = fmt.text("low-resource.gap", first=findings.contrast.first)
    return FigureSet(title, caption, panels, _gap_numbers(findings))


def _parity_figure(findings: Findings, setting: Setting, place: int) -> FigureSet:
    title = setting.label
    sizes = findings.results.sizes(setting)
    panels_of = {size: groups for size in sizes if (groups := _parity_groups(findings, setting, size))}
    if not panels_of:
        return FigureSet(title, "", (), None, fmt.text("low-resource.no-parity"))
    limit = axis_top((bar.value for groups in panels_of.values() for _, bars in groups for bar in bars), 1.2)
    label = "parity: MAP over the English teacher’s"
    panels = [
        bar_panel(
            fmt.count(size, "pair"),
            groups,
            limit,
            label,
            f"parity{place}-{size}",
            f"Parity at {fmt.count(size, 'pair')}",
        )
        for size, groups in panels_of.items()
    ]
    caption = fmt.text("low-resource.parity", setting=title)
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
            groups.append((fmt.language_label(code), bars))
    return groups


def _axis(findings: Findings, setting: Setting, low: float, high: float) -> Axis:
    sizes = findings.results.sizes(setting)
    ticks = [f"{size:,}" for size in sizes]
    if len(sizes) > 1 and findings.results.header.protocol.get("standard") is True:
        ticks[-1] = "all"
    return Axis(sizes, ticks, "sentence pairs per language (log scale)", low, high, log=True, spoken=_at)


def _at(size: float) -> str:
    return f" at {size:,.0f} pairs"


def _numbers(findings: Findings, setting: Setting, measure: str, name: str) -> Table:
    results = findings.results
    codes = (*results.groups, *results.languages)
    groups = by_size(
        findings, setting, lambda s: cells(*(fmt.spread(results.over_seeds(Spot(s, None, c, measure))) for c in codes))
    )
    caption = fmt.text("low-resource.numbers", name=name, setting=setting.label, stars=stars(findings.contrast))
    return Table(caption, ("recipe", *(fmt.language_label(code) for code in codes)), groups)


def _gap_numbers(findings: Findings) -> Table:
    results = findings.results

    def row(system: System) -> list[Cell] | None:
        if (gap := results.gap(system)) is None:
            return None
        low, high = (results.over_seeds(Spot(system, language=group)) for group in (LOW, HIGH))
        share = fmt.per_cent(gap.mean / high.mean) if high and high.mean > 0 else fmt.DASH
        return cells(fmt.spread(low), fmt.spread(high), fmt.signed_spread(gap, 3), share)

    groups = [group for setting in results.settings for group in by_size(findings, setting, row, heading=True)]
    return Table(
        fmt.text("low-resource.gap-numbers", stars=stars(findings.contrast)),
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
            figures = [fmt.spread(results.over_seeds(Spot(system, measure=measure))) for measure in ("R@1", "R@10")]
            rows.append(
                Row(
                    Cell(system.objective, code=True),
                    [
                        Cell(results.recipe(system.objective).role),
                        Cell(f"{mark} {side.removesuffix(' transport')}".strip(), strong=True),
                        Cell(fmt.spread(results.over_seeds(Spot(system, split=VALIDATION)))),
                        Cell(fmt.spread(results.over_seeds(Spot(system))), strong=bool(mark)),
                        *cells(*figures, str(len(seeds)) if seeds else fmt.DASH),
                    ],
                )
            )
        if rows:
            groups.append(RowGroup(rows, fmt.size_heading(size)))
    return Table(
        fmt.text("low-resource.recipes", setting=setting.label, stars=stars(findings.contrast)),
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
                cells(*(fmt.spread(results.over_seeds(Spot(system, subset=name))) for name in names)))
            for system in ((choice.first, choice.second) if choice else ())
            if system is not None
        ]  # fmt: skip
        if rows:
            groups.append(RowGroup(rows, fmt.size_heading(size)))
    caption = fmt.text("low-resource.subsets", setting=setting.label, stars=stars(findings.contrast))
    return Table(caption, ("recipe", *(_SUBSETS[name] for name in names)), groups) if groups else None


def _language_table(findings: Findings) -> Table:
    results = findings.results
    rows = [
        Row(
            Cell(fmt.language_label(code)),
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
    languages = fmt.count(len(findings.results.languages), "language")
    lines = [line.format(languages=languages) for line in fmt.entry("low-resource.limits")]
    return [*lines, fmt.text("low-resource.limit-groups")] if findings.results.high else lines


QUESTION = Question("low-resource", attacked=False, answer=study_answer, sections=_sections, limits=_limits)
