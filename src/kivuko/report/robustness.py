"""The page of a robustness study: which recipe loses least under attack, and does transport help?"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum, auto
from functools import partial

from kivuko.evaluation.measures import CODE_POINTS
from kivuko.evaluation.robustness import resource_gap
from kivuko.evaluation.statistics import Interval
from kivuko.report import formatting as fmt
from kivuko.report.attack_tables import example_blocks, samples, success_table, text_hardening_table, tower_table
from kivuko.report.comparisons import (
    EVERYTHING,
    MATCHED,
    RATIO,
    UNDER_ATTACK,
    Choice,
    Contrast,
    PairedTest,
    no_choice,
    share_values,
)
from kivuko.report.page import Answer, Block, Cell, FigureSet, Prose, Row, RowGroup, Section, Table, cells
from kivuko.report.plots import FIRST, HARDENED, OTHER, SECOND, TOWER, Axis, Line, axis_top, line_panel
from kivuko.report.results import (
    DISTILLATION,
    GROUPS,
    JOINT,
    OF_IMAGES,
    TEACHER,
    TEXT_ADVERSARIAL,
    TRANSLATE_TEST,
    AttackFacts,
    Results,
    Scope,
    Spot,
    System,
    over_seeds,
)
from kivuko.report.study_page import Findings, Question, by_size, seed_lines, stars, tests_section


class Verdict(StrEnum):
    """The result under attack, and at equal clean accuracy."""

    IMPROVES = auto()
    ONLY_BETTER = auto()
    BETTER_BUT_FRAGILE = auto()
    AT_EQUAL = auto()
    NO_CHANGE = auto()
    FRAGILE = auto()
    WORSE = auto()
    HARMS = auto()
    UNANSWERED = auto()


_VERDICTS = {
    (1, 1): Verdict.IMPROVES, (1, 0): Verdict.ONLY_BETTER, (1, -1): Verdict.BETTER_BUT_FRAGILE,
    (0, 1): Verdict.AT_EQUAL, (0, 0): Verdict.NO_CHANGE, (0, -1): Verdict.FRAGILE,
    (-1, 1): Verdict.WORSE, (-1, 0): Verdict.WORSE, (-1, -1): Verdict.HARMS,
}  # fmt: skip


@dataclass(frozen=True)
class Headline:
    """The tests behind the answer, of the chosen recipe of the first side."""

    raw: PairedTest  # MAP under all attacks
    equal: PairedTest | None  # at equal clean MAP, or the robustness ratio where that could not be computed
    ratio: PairedTest | None
    families: Sequence[tuple[str, PairedTest, PairedTest | None]]  # each with its raw and equal test
    languages: int
    attacks: int
    ratios: Sequence[tuple[str, PairedTest]] = ()  # each family's test of the share kept
    keeps_more: Sequence[tuple[str, float]] = ()  # recipes without transport that keep more than the chosen one


def judge(raw: PairedTest, equal: PairedTest | None) -> Verdict:
    """Return the verdict on the signs of both tests after Holm."""
    return _VERDICTS[raw.sign, equal.sign if equal else 0]


def answer(headline: Headline | None, contrast: Contrast, reason: str = "") -> Answer:
    """Answer in one sentence from the headline tests; ``reason`` ends the sentence where there are none."""
    if headline is None:
        subject = "optimal transport" if contrast.transport else "one recipe"
        begins = fmt.text("robustness.verdicts.unanswered", subject=subject)
        return Answer("unanswered", f"{begins}: {reason or 'the comparison is missing'}.")
    verdict, tested = judge(headline.raw, headline.equal), headline.raw
    raw = tested.comparison
    subject = "Optimal transport" if contrast.transport else f"“{raw.first}”"
    sentence = fmt.text(
        "robustness.answer", begins=fmt.text(f"robustness.verdicts.{verdict}", subject=subject),
        pairs=fmt.count(tested.size, "sentence pair"), best=contrast.best, first=raw.first, second=raw.second,
        concepts=fmt.count(raw.difference.n, "concept"),
        attacks=fmt.count(headline.attacks, "attack"), languages=fmt.count(headline.languages, "low-resource language"),
        amount=_amount(raw.difference), mean=fmt.figure(raw.means[0]), second_mean=fmt.figure(raw.means[1]),
        other=contrast.other.replace("best distillation recipe without", "best without"),
        p=fmt.after_holm(tested.adjusted, tested.family_size, at_floor=tested.at_floor),
        equal=_equal(headline.equal), where=_where(headline),
    )  # fmt: skip
    return Answer(verdict, sentence, tuple(_support(headline)))


def _amount(difference: Interval) -> str:
    """Write how much more or less; with its sign where the interval holds zero, since neither word would be sure."""
    if difference.mean == 0:
        return "exactly as much as"
    if difference.low <= 0 <= difference.high:
        return f"a difference of {_signed(difference)} to"
    low, high = sorted((abs(difference.low), abs(difference.high)))
    words = "more than" if difference.mean > 0 else "less than"
    return f"{fmt.figure(abs(difference.mean))} [{fmt.figure(low)}, {fmt.figure(high)}] {words}"


def _signed(interval: Interval) -> str:
    """Write a difference with three digits and its sign; what rounds to nothing has none."""
    written = [
        fmt.signed(value, 3) if abs(value) >= 5e-4 else "0.000"
        for value in (interval.mean, interval.low, interval.high)
    ]
    return written[0] if interval.degenerate else f"{written[0]} [{written[1]}, {written[2]}]"


def _equal(tested: PairedTest | None) -> str:
    if tested is None:
        return ", with no comparison at equal clean accuracy"
    what = "at equal clean MAP the difference is"
    if tested.kind == RATIO:
        what = "the share of clean MAP that it keeps differs by"
    return f", and {what} {_signed(tested.comparison.difference)} ({tested.p_text})"


def _where(headline: Headline) -> str:
    """Name the families of attacks with an advantage, without a visible difference, and with a disadvantage."""
    if len(headline.families) < 2:
        return ""
    signs = [(name, (equal or raw).sign) for name, raw, equal in headline.families]
    words = {1: "it is better against", 0: "no difference is shown against", -1: "it is worse against"}
    parts = [
        f"{words[sign]} {_listed([name for name, its in signs if its == sign])}"
        for sign in words
        if any(its == sign for _, its in signs)
    ]
    basis = "at equal clean MAP" if headline.equal and headline.equal.kind == MATCHED else "by the share kept"
    if headline.equal is None:
        basis = "in MAP under attack"
    joined = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])}, and {parts[-1]}"
    return f"; by kind of attack, {basis}, {joined}"


def _listed(names: Sequence[str]) -> str:
    named = [name if name.endswith(("noise", "attacks")) else f"{name} attacks" for name in names]
    return named[0] if len(named) == 1 else f"{', '.join(named[:-1])} and {named[-1]}"


def _support(headline: Headline) -> Iterator[str]:
    raw = headline.raw.comparison
    if raw.relative is not None:
        over = fmt.count(raw.difference.n, "concept")
        relative = fmt.per_cent_spread(raw.relative)
        yield f"Relative difference in MAP under attack: {relative}, 95 % interval over {over}."
    if headline.ratio is not None:
        shares = headline.ratio.comparison
        yield (
            f"Share of clean MAP kept: {fmt.figure(shares.means[0])} against {fmt.figure(shares.means[1])}, difference "
            f"{_signed(shares.difference)} ({headline.ratio.p_text})."
        )
    matching = headline.equal.matching if headline.equal else None
    if matching is not None and matching.mixed is not None and matching.sizes is not None:
        sizes = " and ".join(f"{size:,}" for size in matching.sizes)
        yield (
            f"Equal clean MAP: both at {fmt.figure(matching.target)}, “{matching.mixed}” as a mixture of its models of "
            f"{sizes} pairs."
        )
    yield from seed_lines(headline.raw, _signed)
    if headline.equal is not None and headline.equal.kind == MATCHED:
        seeds = headline.equal.comparison.over_seeds
        if not seeds.degenerate:
            written = fmt.count(seeds.n, "training seed")
            yield fmt.text("robustness.equal-seeds", seeds=written, interval=_signed(seeds))
    for name, ratio in headline.ratios:
        if ratio.sign:
            yield fmt.text(
                "robustness.kept-less", family=name if name.endswith("noise") else f"{name} attacks",
                first=ratio.comparison.first, difference=_signed(ratio.comparison.difference), p=f"({ratio.p_text})",
            )  # fmt: skip
    if headline.keeps_more:
        others = ", ".join(f"“{name}” keeps {fmt.figure(share)}" for name, share in headline.keeps_more)
        yield fmt.text("robustness.keeps-more", second=raw.second, others=others)
    if not headline.raw.sign and not (headline.equal and headline.equal.sign):
        yield fmt.text("robustness.chance")


def study_answer(findings: Findings) -> Answer:
    return answer(headline_of(findings), findings.contrast, _why_not(findings))


def headline_of(findings: Findings) -> Headline | None:
    """Return the tests behind the answer, or None where the main one could not be made."""
    choice, family = findings.headline, findings.family
    if choice is None or choice.first is None or not choice.scopes:
        return None
    at = (choice.size, choice.first.objective)
    raw = family.attacked(at[0], EVERYTHING, UNDER_ATTACK, at[1])
    if raw is None:
        return None
    kind = MATCHED if family.attacked(at[0], EVERYTHING, MATCHED, at[1]) else RATIO
    families = [
        (scope.name, of_scope, family.attacked(at[0], scope.name, kind, at[1]))
        for scope in choice.scopes[1:]
        if (of_scope := family.attacked(at[0], scope.name, UNDER_ATTACK, at[1])) is not None
    ]
    equal = family.attacked(at[0], EVERYTHING, kind, at[1])
    ratio = family.attacked(at[0], EVERYTHING, RATIO, at[1])
    ratios = [
        (scope.name, of_scope)
        for scope in choice.scopes[1:]
        if (of_scope := family.attacked(at[0], scope.name, RATIO, at[1])) is not None
    ]
    return Headline(
        raw, equal, ratio, families, len(findings.results.low), len(choice.scopes[0].attacks), ratios,
        _keeps_more(findings, choice),
    )  # fmt: skip


def _keeps_more(findings: Findings, choice: Choice) -> list[tuple[str, float]]:
    """Return the recipes without transport that keep a larger share than the one chosen on clean queries."""
    results, second = findings.results, choice.second
    if second is None or not findings.contrast.transport:
        return []
    shares = {}
    for system in results.systems(choice.setting, choice.size):
        facts = results.recipe(system.objective)
        if facts.kind == DISTILLATION and not (facts.transport or facts.robust):
            kept = over_seeds(share_values(results, system, choice.scopes[0], GROUPS[0])[2])
            if kept is not None:
                shares[system] = kept.mean
    return [
        (system.objective, share)
        for system, share in sorted(shares.items(), key=lambda one: -one[1])
        if system != second and share > shares.get(second, 1.0)
    ]


def _why_not(findings: Findings) -> str:
    choice = findings.headline
    if choice is None:
        return "no model in them was trained on bitext"
    if choice.first is None or choice.second is None:
        return no_choice(choice, findings.contrast, "was measured under attack")
    if not choice.scopes:
        return f"at {choice.size:,} pairs the recipes were not measured under the same attacks"
    names = f"{choice.first.objective} and {choice.second.objective}"
    return f"at {choice.size:,} pairs {names} could not be compared query by query"


def _sections(findings: Findings) -> list[Section]:
    rule = Prose(fmt.text("robustness.rule", rule=findings.contrast.rule), quiet=True)
    curves = [(figures.title, figures) for figures in curve_figures(findings)]
    overview: list[tuple[str, Block]] = [("", robust_table(findings))]
    if (success := success_table(findings)) is not None:
        overview.append(("Success of each attack", success))
    equal = matched_table(findings) or _remark("no-equal")
    languages: list[tuple[str, Block]] = []
    if (table := language_table(findings)) is not None:
        languages.append(("", table))
    if (gap := gap_table(findings)) is not None:
        languages.append(("Gap between high- and low-resource languages", gap))
    else:
        languages.append(("", _remark("no-gap")))
    if (scripts := script_table(findings)) is not None:
        languages.append(("By script", scripts))
    return [
        Section("curves", "Accuracy by budget", [("", rule), *curves]),
        Section("robust", "Every recipe, every attack", overview),
        tests_section(findings),
        Section("equal", "At equal clean accuracy", [("", equal)]),
        Section("languages", "Languages", languages),
        Section("hardening", "Hardening", [
            ("Recipes trained on perturbed text", text_hardening_table(findings) or _remark("no-hardened")),
            ("The image tower fine-tuned against attacks",
             tower_table(findings) or _remark("no-tower")),
        ]),
        Section("examples", "Examples", example_blocks(findings.results)),
    ]  # fmt: skip


def _remark(name: str) -> Prose:
    return Prose(fmt.text(f"robustness.{name}"), quiet=True)


_AXIS = {
    fmt.EDITS: "edits of the query",
    fmt.POINTS: "code points changed",
    fmt.RADIUS: "radius of the perturbation",
    fmt.SEVERITY: "severity",
}
NamedSystem = tuple[str, str, System]  # role, label


def curve_figures(findings: Findings) -> list[FigureSet]:
    """Draw low-resource mean MAP against budget at the headline size, a row of panels per family of attacks."""
    by_family: dict[str, list[AttackFacts]] = {}
    for facts in findings.results.attacks:
        by_family.setdefault(facts.family, []).append(facts)
    return [
        family_figure(
            findings.results, family, attacks, f"curve{place}", lambda facts: _systems(findings, facts),
            _numbers(findings, family, attacks), f", {fmt.size_heading(findings.size)}" if findings.size else "",
        )
        for place, (family, attacks) in enumerate(by_family.items())
    ]  # fmt: skip


def family_figure(
    results: Results, family: str, attacks: Sequence[AttackFacts], prefix: str,
    systems: Callable[[AttackFacts], Iterable[NamedSystem]], numbers: Table,
    at: str = "", languages: str = "low-resource mean", code: str = GROUPS[0],
) -> FigureSet:  # fmt: skip
    """Draw MAP against budget, a panel per attack.

    ``systems``: attack to (role, label, system) of each line, from back to front; ``numbers``: the table behind the
    figure; ``at``: the bitext size, and ``languages`` the mean that is drawn, in words.
    """
    drawn = {}
    for facts in attacks:
        lines = [
            Line(role, label, points)
            for role, label, system in systems(facts)
            if len(points := _points(results, system, facts, code)) > 1
        ]
        if lines:
            drawn[facts] = lines
    if not drawn:
        return FigureSet(family, "", (), None, fmt.text("robustness.no-curve"))
    top = axis_top(value for lines in drawn.values() for line in lines for value in line.points.values())
    panels = []
    for row, (facts, lines) in enumerate(drawn.items()):
        budgets = sorted({budget for line in lines for budget in line.points if budget is not None})
        ticks = ["0", *(fmt.budget_tick(facts.unit, budget) for budget in budgets[1:])]
        axis = Axis(
            budgets, ticks, _AXIS.get(facts.unit, facts.unit), 0.0, top, spoken=partial(_spoken_budget, facts.unit)
        )
        panels.append(line_panel(facts.name, lines, axis, f"{prefix}-{row}"))
    described = " ".join(f"{facts.name}: {facts.description.rstrip('.')}." for facts in drawn if facts.description)
    caption = fmt.text("robustness.curve", family=family, languages=languages, at=at, described=described)
    return FigureSet(family, caption.strip(), panels, numbers)


def _spoken_budget(unit: str, budget: float) -> str:
    return f" {fmt.budget_label(unit, budget)}"


def _points(results: Results, system: System, facts: AttackFacts, code: str) -> dict[float | None, Interval]:
    budgets = results.budgets(facts.name, [system])
    values = {budget: results.seed_values(Spot(system, (facts.name, budget), code)) for budget in budgets}
    if budgets:
        values = {0.0: results.clean_values(system, results.blocks(system, (facts.name, budgets[0])), code), **values}
    return {budget: interval for budget, seeds in values.items() if (interval := over_seeds(seeds)) is not None}


def _systems(findings: Findings, facts: AttackFacts) -> Iterator[NamedSystem]:
    results, choice, contrast = findings.results, findings.headline, findings.contrast
    here = [*results.systems(findings.setting, findings.size)]
    if findings.size is not None:
        here += results.systems(findings.setting, None)
    first, second = (choice.first, choice.second) if choice else (None, None)
    named = {TEACHER: "teacher, as is", TRANSLATE_TEST: "translate-test"}
    hardened = [system for system in here if results.recipe(system.objective).robust]
    for system in here:
        if system not in (first, second, *hardened[:1]) and system.objective not in named:
            yield OTHER, "other recipes", system
    for system in here:
        if system.objective in named:
            yield system.objective, named[system.objective], system
    if hardened:
        yield HARDENED, "hardened on text", hardened[0]
    if first is not None:
        for tower in results.towers[1:2] if facts.family in OF_IMAGES else ():
            yield TOWER, "hardened tower", replace(first, tower=tower)
    if second is not None:
        yield SECOND, contrast.second, second
    if first is not None:
        yield FIRST, contrast.first, first


def _numbers(findings: Findings, family: str, attacks: Sequence[AttackFacts]) -> Table:
    results = findings.results
    conditions = [(facts, budget) for facts in attacks for budget in results.budgets(facts.name)]
    groups = []
    for size in (*results.sizes(findings.setting), None):
        for tower in results.towers:
            rows = []
            for system in results.systems(findings.setting, size, tower):
                spots = [Spot(system), *(Spot(system, (facts.name, budget)) for facts, budget in conditions)]
                figures = [fmt.spread(results.over_seeds(spot)) for spot in spots]
                if any(cell != fmt.DASH for cell in figures[1:]):
                    rows.append(Row(Cell(system.objective, code=True), cells(*figures)))
            if rows:
                groups.append(
                    RowGroup(rows, fmt.size_heading(size) + (f", {tower}" if len(results.towers) > 1 else ""))
                )
    columns = ("recipe", "clean", *(f"{f.name}, {fmt.budget_label(f.unit, budget)}" for f, budget in conditions))
    return Table(fmt.text("robustness.numbers", family=family), columns, groups)


def robust_table(findings: Findings) -> Table:
    results = findings.results
    scopes = [Scope(f.name, ((f.name, results.budgets(f.name)),)) for f in results.attacks]

    def row(system: System) -> list[Cell] | None:
        choice = findings.choice(system.setting, system.size) if system.size is not None else findings.headline
        everything = over_seeds(results.scope_values(system, choice.scopes[0])) if choice and choice.scopes else None
        means = [fmt.mean_of(over_seeds(results.scope_values(system, scope))) for scope in scopes]
        if all(cell == fmt.DASH for cell in means):
            return None
        facts = results.recipe(system.objective)
        mark = choice.mark(system) if choice else ""
        kind = facts.role + (", hardened" if facts.robust else "")
        clean = fmt.spread(results.over_seeds(Spot(system)))
        return [*cells(kind, clean), Cell(fmt.spread(everything), strong=bool(mark)), *cells(*means)]

    return Table(
        fmt.text("robustness.robust", stars=stars(findings.contrast)),
        ("recipe", "kind", "clean", "all attacks", *(facts.name for facts in results.attacks)),
        by_size(findings, findings.setting, row),
        words=2,
    )


def matched_table(findings: Findings) -> Table | None:
    """Return the way that clean MAP was equalized, and the difference that remains."""
    groups: dict[int, list[Row]] = {}
    for tested in findings.family.tests:
        if tested.kind != MATCHED or tested.matching is None:
            continue
        comparison, how = tested.comparison, tested.matching
        mixed = "as they are"
        if how.mixed is not None and how.sizes is not None and how.weight is not None:
            small, large = how.sizes
            mixed = (
                f"{how.mixed}: {100 * how.weight:.0f} % of {large:,}, {100 * (1 - how.weight):.0f} % of {small:,} pairs"
            )
        row = Row(
            Cell(f"{comparison.first} / {comparison.second}", code=True),
            [
                *cells(tested.scope, mixed, *map(fmt.figure, (how.target, *comparison.means))),
                *cells(fmt.signed_spread(comparison.difference), fmt.signed_spread(comparison.over_seeds)),
                Cell(fmt.p_cell(tested.adjusted, tested.at_floor), strong=tested.sign != 0),
            ],
        )  # fmt: skip
        groups.setdefault(tested.size, []).append(row)
    if not groups:
        return None
    sides = ("with", "without") if findings.contrast.transport else ("best", "second best")
    return Table(
        fmt.text("robustness.equal"),
        (
            "recipes", "attacks", "mixture", "clean MAP of both", *(f"{side}, under attack" for side in sides),
            "difference [95 %, concepts]", "over seeds [95 %]", "p, Holm",
        ),
        [RowGroup(rows, fmt.size_heading(size)) for size, rows in groups.items()],
        words=3,
    )  # fmt: skip


def language_table(findings: Findings) -> Table | None:
    choice = findings.headline
    if choice is None or not choice.scopes:
        return None
    systems = [system for system in (choice.first, choice.second) if system is not None]
    rows = []
    for code in (*findings.results.languages, *findings.results.groups):
        columns: list[str] = []
        for system in systems:
            clean, robust, ratio = share_values(findings.results, system, choice.scopes[0], code)
            columns += [fmt.mean_of(over_seeds(clean)), fmt.mean_of(over_seeds(robust)), fmt.spread(over_seeds(ratio))]
        if any(cell != fmt.DASH for cell in columns):
            rows.append(Row(Cell(fmt.language_label(code)), cells(*columns)))
    names = [system.objective for system in systems]
    return Table(
        fmt.text("robustness.languages", pairs=fmt.count(choice.size, "pair")),
        ("language", *(f"{name}, {what}" for name in names for what in ("clean", "all attacks", "share kept"))),
        [RowGroup(rows)],
    )


def script_table(findings: Findings) -> Table | None:
    """Return what text attacks leave of the chosen recipe in each script, and the code points that they change."""
    choice, results = findings.headline, findings.results
    system = choice.first if choice else None
    if system is None:
        return None
    by_script: dict[str, list[str]] = {}
    for code in results.low:
        by_script.setdefault(fmt.script_label(code), []).append(code)
    rows = []
    for facts in results.attacks:
        for budget in results.budgets(facts.name, [system])[-1:]:
            for script, codes in by_script.items():
                row = _script_row(results, system, (facts.name, budget), codes)
                if row:
                    label = fmt.budget_label(facts.unit, budget)
                    rows.append(Row(Cell(facts.name), cells(label, f"{script} ({', '.join(codes)})", *row)))
    if not rows:
        return None
    return Table(
        fmt.text("robustness.scripts", recipe=f"“{system.objective}”", pairs=fmt.count(system.size or 0, "pair")),
        ("attack", "budget", "script", "clean", "attacked", "share kept", "code points changed"),
        [RowGroup(rows)], words=3,
    )  # fmt: skip


def _script_row(results: Results, system: System, attack: tuple[str, float], codes: Sequence[str]) -> list[str]:
    figures = []
    for code in codes:
        changed = over_seeds(results.seed_values(Spot(system, attack, code, CODE_POINTS)))
        attacked = over_seeds(results.seed_values(Spot(system, attack, code)))
        clean = over_seeds(results.clean_values(system, results.blocks(system, attack), code))
        if changed and attacked and clean and changed.mean > 0:
            figures.append((clean.mean, attacked.mean, changed.mean))
    if not figures:
        return []
    clean_mean, attacked_mean, points = (sum(column) / len(figures) for column in zip(*figures, strict=True))
    share = fmt.figure(attacked_mean / clean_mean) if clean_mean > 0 else fmt.DASH
    return [fmt.figure(clean_mean), fmt.figure(attacked_mean), share, f"{points:.1f}"]


def gap_table(findings: Findings) -> Table | None:
    results = findings.results
    scopes = max((choice.scopes for choice in findings.choices), key=len, default=())

    def gap(system: System, scope: Scope) -> str:
        clean, attacked = results.blocks(system), results.scope_blocks(system, scope)
        if not (results.low and results.high and clean and attacked):
            return fmt.DASH
        return fmt.signed_spread(resource_gap(clean, attacked, results.low, results.high), 3)

    def row(system: System) -> list[Cell] | None:
        choice = findings.choice(system.setting, system.size)
        return cells(*(gap(system, scope) for scope in choice.scopes)) if choice else None

    groups = by_size(findings, findings.setting, row)
    if not groups:
        return None
    return Table(
        fmt.text("robustness.gap"),
        ("recipe", *(scope.name for scope in scopes)),
        groups,
    )


def limits(findings: Findings) -> list[str]:
    families = {facts.family for facts in findings.results.attacks}
    languages = fmt.count(len(findings.results.languages), "language")
    lines = [line.format(languages=languages) for line in fmt.entry("robustness.limits")]
    if findings.headline and findings.headline.first:
        lines += samples(findings.results, findings.headline.first)
    return [*lines, fmt.text("robustness.limit-text")] if families & {TEXT_ADVERSARIAL, JOINT} else lines


QUESTION = Question("robustness", attacked=True, answer=study_answer, sections=_sections, limits=limits)
