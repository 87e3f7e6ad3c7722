"""The question of a low-resource study: which recipe carries furthest with little bitext, and does transport help?"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial

from markupsafe import Markup

from kivuko.evaluation import PARITY, Interval
from kivuko.report.comparisons import Contrast, Family, PairedTest, no_choice
from kivuko.report.formatting import (
    DASH,
    after_holm,
    count,
    figure,
    language_label,
    per_cent,
    per_cent_spread,
    signed_spread,
    size_heading,
    spread,
)
from kivuko.report.page import (
    Answer,
    Block,
    Cell,
    FigureSet,
    Prose,
    Row,
    RowGroup,
    Section,
    Table,
    cells,
)
from kivuko.report.plots import FIRST, OTHER, SECOND, Axis, Bar, Line, bar_panel, heard_lines, line_panel
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

WANTED_GAIN = 0.10
"""How much better than the best without transport the study requires transport to be, relative."""
WANTED_OVER_TRANSLATION = 0.137
"""The relative gain over translating the query that the OPTICAL paper reports (Huang, Yu and Allan 2023)."""
MET, MISSED, OPEN = "met", "missed", "not measured"


class Verdict(Enum):
    """The result of the headline test; the value begins the sentence on transport."""

    HELPS = "Optimal transport helps"
    HELPS_LITTLE = "Optimal transport helps, but by less than the required 10 %"
    UNMEASURABLE = "Optimal transport brings no measurable gain"
    NO_HELP = "Optimal transport does not help"
    HARMS = "Optimal transport harms"
    UNANSWERED = "These records do not say whether optimal transport helps"


_OF_RECIPES = {
    Verdict.HELPS: "“{0}” is better than “{1}”",
    Verdict.HELPS_LITTLE: "“{0}” is better than “{1}”",
    Verdict.UNMEASURABLE: "“{0}” is not measurably better than “{1}”",
    Verdict.NO_HELP: "“{0}” is not better than “{1}”",
    Verdict.HARMS: "“{0}”, the best on the validation split, is worse than “{1}” on the test split",
    Verdict.UNANSWERED: "These records do not say which recipe is better",
}


def judge(gain: float, p: float) -> Verdict:
    """Return the verdict on a relative gain and its p value after Holm."""
    if p < 0.05 and gain > 0:
        return Verdict.HELPS if gain >= WANTED_GAIN else Verdict.HELPS_LITTLE
    if p < 0.05 and gain < 0:
        return Verdict.HARMS
    return Verdict.UNMEASURABLE if gain > 0 else Verdict.NO_HELP


def answer(tested: PairedTest | None, contrast: Contrast, reason: str = "", languages: int = 0) -> Answer:
    """Answer in one sentence from the headline test.

    Args:
        tested: the best of the first side against the best of the second; None where it could not be made.
        reason: why there is none, as the end of a sentence.
        languages: how many low-resource languages the mean is over.
    """
    if tested is None:
        begins = _begin(Verdict.UNANSWERED, contrast)
        return Answer("unanswered", f"{begins}: {reason or 'the comparison is missing'}.")
    comparison = tested.comparison
    verdict = judge(tested.gain, tested.adjusted)
    sentence = (
        f"{_begin(verdict, contrast, comparison.first, comparison.second)}: with "
        f"{count(tested.size, 'sentence pair')} per language ({tested.setting.label}), {contrast.best}, "
        f"“{comparison.first}”, reaches a mean MAP of {figure(comparison.means[0])} over "
        f"{count(languages, 'low-resource language')}, {_amount(tested)} {contrast.other}, “{comparison.second}” "
        f"({figure(comparison.means[1])}); {after_holm(tested.adjusted, tested.family_size)}."
    )
    return Answer(verdict.name.lower(), sentence, tuple(_support(tested, verdict)))


def _begin(verdict: Verdict, contrast: Contrast, first: str = "", second: str = "") -> str:
    return verdict.value if contrast.transport else _OF_RECIPES[verdict].replace("{0}", first).replace("{1}", second)


def _amount(tested: PairedTest) -> str:
    difference = tested.comparison.difference.mean
    if tested.gain == 0:
        return "exactly as much as"
    direction = "more than" if difference > 0 else "less than"
    if math.isinf(tested.gain):
        return f"{figure(difference)} {direction}"
    return f"{per_cent(abs(tested.gain)).lstrip('+')} {direction}"


def _support(tested: PairedTest, verdict: Verdict) -> Iterator[str]:
    comparison = tested.comparison
    relative = "Difference in MAP"
    if comparison.relative is not None:
        relative = f"Relative difference {per_cent_spread(comparison.relative)}; in MAP"
    over = count(comparison.difference.n, "concept")
    yield f"{relative} {signed_spread(comparison.difference)}, 95 % intervals over {over}."
    seeds = comparison.over_seeds
    if seeds.degenerate:
        yield "One training seed only: the result of another training run is not known."
    else:
        yield f"95 % interval over {count(seeds.n, 'training seed')}: {signed_spread(seeds)}."
    if not seeds.degenerate and seeds.low <= 0 <= seeds.high and tested.significant:
        yield "That interval includes zero: other training runs might not show the difference."
    if verdict is Verdict.UNMEASURABLE:
        yield "A difference of this size can be chance."


def _answer(findings: Findings) -> Answer:
    choice = findings.headline
    if choice is None:
        return answer(None, findings.contrast, "no model in them was trained on bitext")
    reason = no_choice(choice, findings.contrast, "could be chosen on the validation split")
    if choice.first and choice.second:
        names = f"{choice.first.objective} and {choice.second.objective}"
        reason = f"at {choice.size:,} pairs {names} could not be compared query by query"
    tested = findings.family.against(choice.setting, choice.size, findings.contrast.role)
    return answer(tested, findings.contrast, reason, len(findings.results.low))


@dataclass(frozen=True)
class Claim:
    """One bar set beforehand: what was wanted, in words; the figures, in lines; "met", "missed" or "not measured"."""

    wanted: str
    figures: tuple[str, ...]
    state: str


def gain_claim(family: Family, setting: Setting, size: int) -> Claim:
    """At least 10 % over the best without transport at the headline size, and not by luck."""
    wanted = (
        f"At {count(size, 'pair')} per language: at least {per_cent(WANTED_GAIN)} relative over the best distillation "
        "recipe without transport, p < 0.05 after Holm"
    )
    tested = family.against(setting, size, "best without transport")
    if tested is None:
        return Claim(wanted, ("the comparison could not be made",), OPEN)
    names = f"“{tested.comparison.first}” over “{tested.comparison.second}”"
    state = MET if judge(tested.gain, tested.adjusted) is Verdict.HELPS else MISSED
    return Claim(wanted, (f"{_gain(tested)} ({names})",), state)


def translation_claim(family: Family, setting: Setting, sizes: Sequence[int]) -> Claim:
    """At least 13.7 % over translating the query, at every size; one size below is enough to miss it."""
    wanted = f"At every size: at least {per_cent(WANTED_OVER_TRANSLATION)} relative over {TRANSLATE_TEST}"
    lines, states = [], []
    for size in sizes:
        tested = family.against(setting, size, TRANSLATE_TEST)
        if tested is None:
            words, state = "not measured", OPEN
        else:
            words = _gain(tested)
            state = MET if tested.gain >= WANTED_OVER_TRANSLATION else MISSED
        lines.append(f"{count(size, 'pair')}: {words}")
        states.append(state)
    overall = MISSED if MISSED in states else OPEN if OPEN in states or not states else MET
    return Claim(wanted, tuple(lines) or ("nothing was measured",), overall)


def _gain(tested: PairedTest) -> str:
    p = after_holm(tested.adjusted)
    if tested.comparison.relative is not None:
        return f"{per_cent_spread(tested.comparison.relative)}, {p}"
    gain = "no ratio, the other’s MAP is 0" if math.isinf(tested.gain) else per_cent(tested.gain)
    return f"{gain}, {p}"


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
    """Draw MAP against bitext size, a panel per language and group."""
    title, results = setting.label, findings.results
    drawn: dict[str, list[Line]] = {}
    for code in (*GROUPS, *results.languages):
        lines = _lines(findings, setting, partial(_map_in, results, code), True)
        if lines:
            teacher = results.over_seeds(Spot(System(setting, TEACHER, None, results.towers[0]), language=code))
            drawn[code] = [*lines, *([Line(TEACHER, "teacher, as is", {None: teacher})] if teacher else [])]
    if not drawn:
        return FigureSet(title, "", (), None, "No model trained on bitext was measured on the test split.")
    top = max(value.high for lines in drawn.values() for line in lines for value in line.points.values())
    axis = _axis(findings, setting, 0.0, 1.06 * max(top, 1e-3))
    panels = []
    for index, (code, lines) in enumerate(drawn.items()):
        name = language_label(code)
        panels.append(Markup(line_panel(name, lines, axis, f"map{place}-{index}", heard_lines(name, lines, _at))))
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
    """Draw high- minus low-resource MAP against bitext size, a panel per setting."""
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
        heard = heard_lines(f"Gap, {setting.label}", lines, _at)
        panels.append(
            Markup(line_panel(setting.label[0].upper() + setting.label[1:], lines, axis, f"gap-{place}", heard))
        )
    caption = (
        "High-resource mean MAP minus low-resource mean MAP on the test split, by sentence pairs per language: means "
        f"over seeds, with 95 % t intervals for “{findings.contrast.first}” and “mse” (the others’ are in the table). "
        "Zero is equal footing; below zero the low-resource languages do better."
    )
    return FigureSet(title, caption, panels, _gap_numbers(findings))


def _parity_figure(findings: Findings, setting: Setting, place: int) -> FigureSet:
    """Draw parity per language, a panel per size with the chosen recipes side by side."""
    title = setting.label
    sizes = findings.results.sizes(setting)
    panels_of = {size: groups for size in sizes if (groups := _parity_groups(findings, setting, size))}
    if not panels_of:
        return FigureSet(title, "", (), None, "No parity of a chosen recipe was measured on the test split.")
    top = max(bar.value.high for groups in panels_of.values() for _, bars in groups for bar in bars)
    panels = []
    for size, groups in panels_of.items():
        told = (f"{name}: {', '.join(f'{b.label} {figure(b.value.mean)}' for b in bars)}." for name, bars in groups)
        heard = f"Parity at {count(size, 'pair')}. {' '.join(told)}"
        label = "parity: MAP over the English teacher’s"
        panels.append(
            Markup(bar_panel(count(size, "pair"), groups, 1.2 * max(top, 1e-3), label, f"parity{place}-{size}", heard))
        )
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
    return Axis(sizes, ticks, "sentence pairs per language (log scale)", low, high, log=True)


def _largest(findings: Findings, setting: Setting) -> str:
    sizes = findings.results.sizes(setting)
    standard = len(sizes) > 1 and findings.results.header.protocol.get("standard") is True
    return f" “all” is {sizes[-1]:,} pairs." if standard else ""


def _at(size: float) -> str:
    return f" at {size:,.0f} pairs"


def _numbers(findings: Findings, setting: Setting, measure: str, name: str) -> Table:
    """A measure of every recipe at every size in every language and group."""
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
    """Low- and high-resource MAP of every recipe, and the gap, absolute and relative."""
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
        remark = "Compositional queries hold only words whose English occurs in training; lexical ones hold a new word."
        blocks += [("By kind of query", subsets), ("", Prose(remark, quiet=True))]
    return Section("recipes", "Every recipe", [*blocks, ("Languages", _language_table(findings))])


def _recipe_table(findings: Findings, setting: Setting) -> Table:
    """Every recipe at every size, best on validation first: validation and test figures, and which were chosen."""
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


_SUBSETS = ("headline", "compositional", "lexical", "copied", ALL)


def _subset_table(findings: Findings) -> Table | None:
    """MAP of the chosen recipes on each kind of query, in the headline setting; None where there is only one kind."""
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
    return Table(caption, ("recipe", *names), groups) if groups else None


def _language_table(findings: Findings) -> Table:
    """Which languages were measured, in which group, with how many queries."""
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


DEFINITIONS = (
    ("MAP", "Mean average precision. For one query: at each right answer in the ranking, the share of right answers so "
     "far, averaged over all right answers; then the mean over queries. With one right answer per query it is the "
     "mean of one over its rank. 1 is perfect."),
    ("R@k", "The share of right answers among the first k results, averaged over queries."),
    ("Parity", "MAP in a language divided by the MAP of the English teacher on English queries. 1 is equal footing."),
    ("Low- and high-resource mean", "The mean over the languages of a group, each counting the same, however many "
     "queries it has."),
    ("Gap", "High-resource mean MAP minus low-resource mean MAP."),
    ("Sentence pairs per language", "Size of the bitext: sentences with their English translation that a student "
     "learned from, for each language."),
    ("Transport", "Optimal transport between the words of a sentence and its translation’s: a soft alignment, along "
     "which the teacher’s knowledge of words is passed on."),
    ("Interval over seeds", "A training run depends on luck: the sample of bitext, the first weights, the order of "
     "pairs. A seed fixes it. The 95 % t interval says where the mean over many seeds would be; a single seed has "
     "none."),
    ("Interval over concepts", "Would other queries change the figure? Concepts (what a query asks for, in all "
     "languages together) are resampled 2,000 times with replacement; 95 % of the results are in the interval."),
    ("p", "Paired randomization test: if two recipes were the same, either figure of a concept could have come from "
     "either. The share of 10,000 random exchanges that give a difference at least as large."),
    ("p after Holm", "Testing many hypotheses finds some effects by luck. Holm’s correction raises each p value so "
     "that the chance of even one false finding in the whole family, all tests on this page, stays below 5 %."),
)  # fmt: skip

QUESTION = Question(
    name="low-resource",
    attacked=False,
    title="Does optimal transport help with little bitext?",
    heading="Does optimal transport help carry an English search model into low-resource languages?",
    recipe_title="Which recipe helps most with little bitext?",
    recipe_heading="Which recipe carries an English search model furthest into low-resource languages?",
    headline_size=300,
    answer=_answer,
    sections=_sections,
    definitions=DEFINITIONS,
    limits=_limits,
    tables={"recipes": ("kind", "transport", "description")},
)
