"""The page of a robustness study: which recipe loses least under attack, and does transport help?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from kivuko.evaluation.robustness import accuracy_radius_area, resource_gap, robustness
from kivuko.evaluation.statistics import Interval
from kivuko.report.attacked_examples import example_blocks
from kivuko.report.comparisons import MATCHED, share_values
from kivuko.report.formatting import (
    DASH,
    EDITS,
    RADIUS,
    SEVERITY,
    budget_label,
    budget_tick,
    count,
    figure,
    language_label,
    mean_of,
    signed_spread,
    size_heading,
    spread,
)
from kivuko.report.hardening import text_hardening_table, tower_table
from kivuko.report.page import Block, Cell, FigureSet, Prose, Row, RowGroup, Section, Table, cells
from kivuko.report.plots import FIRST, HARDENED, OTHER, SECOND, TOWER, Axis, Line, axis_top, line_panel
from kivuko.report.results import (
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
from kivuko.report.robustness_answer import study_answer
from kivuko.report.study_page import Findings, Question, by_size, stars, tests_section


def _sections(findings: Findings) -> list[Section]:
    rule = Prose(
        f"{findings.contrast.rule} Only clean queries decide: no attacked score has a part in the choice. Recipes "
        "trained on perturbed text are not compared as recipes with transport; they are reported apart.",
        quiet=True,
    )
    curves = [(figures.title, figures) for figures in curve_figures(findings)]
    overview: list[tuple[str, Block]] = [("", robust_table(findings))]
    if (success := success_table(findings)) is not None:
        overview.append(("Success of each attack", success))
    equal = matched_table(findings) or Prose(
        "No two recipes could be brought to the same clean MAP: that needs a second bitext size, with the other "
        "recipe’s clean MAP between those of the two sizes.",
        quiet=True,
    )
    languages: list[tuple[str, Block]] = []
    if (table := language_table(findings)) is not None:
        languages.append(("", table))
    if (gap := gap_table(findings)) is not None:
        languages.append(("Gap between high- and low-resource languages", gap))
    else:
        remark = "A gap needs both low- and high-resource languages, with scores per query."
        languages.append(("", Prose(remark, quiet=True)))
    no_text = Prose("No recipe that the header calls robust was measured beside its counterpart.", quiet=True)
    return [
        Section("curves", "Accuracy by budget", [("", rule), *curves]),
        Section("robust", "Every recipe, every attack", overview),
        tests_section(findings, "Each test is on the same queries and attacks for both sides."),
        Section("equal", "At equal clean accuracy", [("", equal)]),
        Section("languages", "Languages", languages),
        Section("hardening", "Hardening", [
            ("Recipes trained on perturbed text", text_hardening_table(findings) or no_text),
            ("The image tower fine-tuned against attacks",
             tower_table(findings) or Prose("No second image tower was measured.", quiet=True)),
        ]),
        Section("examples", "Examples", example_blocks(findings.results)),
    ]  # fmt: skip


_AXIS = {EDITS: "edits of the query", RADIUS: "radius of the perturbation", SEVERITY: "severity"}
NamedSystem = tuple[str, str, System]  # role, label


def curve_figures(findings: Findings) -> list[FigureSet]:
    """Draw low-resource mean MAP against budget at the headline size, a row of panels per family of attacks."""
    by_family: dict[str, list[AttackFacts]] = {}
    for facts in findings.results.attacks:
        by_family.setdefault(facts.family, []).append(facts)
    return [
        family_figure(
            findings.results, family, attacks, f"curve{place}", lambda facts: _systems(findings, facts),
            _numbers(findings, family, attacks), f", {size_heading(findings.size)}" if findings.size else "",
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
        return FigureSet(family, "", (), None, "Not measured in low-resource languages at this bitext size.")
    top = axis_top(value for lines in drawn.values() for line in lines for value in line.points.values())
    panels = []
    for row, (facts, lines) in enumerate(drawn.items()):
        budgets = sorted({budget for line in lines for budget in line.points if budget is not None})
        ticks = ["0", *(budget_tick(facts.unit, budget) for budget in budgets[1:])]
        axis = Axis(
            budgets, ticks, _AXIS.get(facts.unit, facts.unit), 0.0, top, spoken=partial(_spoken_budget, facts.unit)
        )
        panels.append(line_panel(facts.name, lines, axis, f"{prefix}-{row}"))
    described = " ".join(f"{facts.name}: {facts.description.rstrip('.')}." for facts in drawn if facts.description)
    caption = (
        f"{family}: {languages} MAP on the test split against budget{at}; at 0 the input is clean. Lines are means "
        f"over seeds, bands their 95 % t intervals, thin gray lines all other recipes. {described}"
    )
    return FigureSet(family, caption.strip(), panels, numbers)


def _spoken_budget(unit: str, budget: float) -> str:
    return f" {budget_label(unit, budget)}"


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
                figures = [spread(results.over_seeds(spot)) for spot in spots]
                if any(text != DASH for text in figures[1:]):
                    rows.append(Row(Cell(system.objective, code=True), cells(*figures)))
            if rows:
                groups.append(RowGroup(rows, size_heading(size) + (f", {tower}" if len(results.towers) > 1 else "")))
    columns = ("recipe", "clean", *(f"{f.name}, {budget_label(f.unit, budget)}" for f, budget in conditions))
    return Table(
        f"{family}: low-resource mean MAP on the test split, mean over seeds with 95 % t interval.", columns, groups
    )


def robust_table(findings: Findings) -> Table:
    results = findings.results
    scopes = [Scope(f.name, ((f.name, results.budgets(f.name)),)) for f in results.attacks]

    def row(system: System) -> list[Cell] | None:
        choice = findings.choice(system.setting, system.size) if system.size is not None else findings.headline
        everything = over_seeds(results.scope_values(system, choice.scopes[0])) if choice and choice.scopes else None
        means = [mean_of(over_seeds(results.scope_values(system, scope))) for scope in scopes]
        if all(text == DASH for text in means):
            return None
        facts = results.recipe(system.objective)
        mark = choice.mark(system) if choice else ""
        kind = facts.role + (", hardened" if facts.robust else "")
        return [Cell(kind), Cell(spread(results.over_seeds(Spot(system)))), Cell(spread(everything), strong=bool(mark)),
                *cells(*means)]  # fmt: skip

    return Table(
        "Low-resource mean MAP on the test split, clean and under attack: each attack’s column is a mean over its "
        "budgets; “all attacks” is a mean over those attacks that every compared recipe was measured under, each "
        f"counting the same. Means over seeds; in brackets 95 % t intervals. {stars(findings.contrast)}",
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
                Cell(tested.scope), Cell(mixed),
                *cells(figure(how.target), *map(figure, comparison.means), signed_spread(comparison.difference)),
                Cell(f"{tested.adjusted:.4f}", strong=tested.sign != 0),
            ],
        )  # fmt: skip
        groups.setdefault(tested.size, []).append(row)
    if not groups:
        return None
    sides = ("with", "without") if findings.contrast.transport else ("best", "second best")
    return Table(
        "Robustness at equal clean MAP: the better recipe is mixed with its own model of less bitext (or the other "
        "with its own of more) until both have the same low-resource mean clean MAP; the difference under attack is "
        "then not one of clean accuracy.",
        (
            "recipes", "attacks", "mixture", "clean MAP of both", *(f"{side}, under attack" for side in sides),
            "difference [95 %]", "p, Holm",
        ),
        [RowGroup(rows, size_heading(size)) for size, rows in groups.items()],
        words=3,
    )  # fmt: skip


def language_table(findings: Findings) -> Table | None:
    choice = findings.headline
    if choice is None or not choice.scopes:
        return None
    systems = [system for system in (choice.first, choice.second) if system is not None]
    rows = []
    for code in (*findings.results.languages, *GROUPS):
        columns: list[str] = []
        for system in systems:
            clean, robust, ratio = share_values(findings.results, system, choice.scopes[0], code)
            columns += [mean_of(over_seeds(clean)), mean_of(over_seeds(robust)), spread(over_seeds(ratio))]
        if any(text != DASH for text in columns):
            rows.append(Row(Cell(language_label(code)), cells(*columns)))
    names = [system.objective for system in systems]
    return Table(
        f"MAP on the test split, clean and under all attacks, and the share kept, at {count(choice.size, 'pair')} per "
        "language: means over seeds, the share with its 95 % t interval.",
        ("language", *(f"{name}, {what}" for name in names for what in ("clean", "all attacks", "share kept"))),
        [RowGroup(rows)],
    )


def gap_table(findings: Findings) -> Table | None:
    results = findings.results
    scopes = max((choice.scopes for choice in findings.choices), key=len, default=())

    def gap(system: System, scope: Scope) -> str:
        clean, attacked = results.blocks(system), results.scope_blocks(system, scope)
        if not (results.low and results.high and clean and attacked):
            return DASH
        return signed_spread(resource_gap(clean, attacked, results.low, results.high), 3)

    def row(system: System) -> list[Cell] | None:
        choice = findings.choice(system.setting, system.size)
        return cells(*(gap(system, scope) for scope in choice.scopes)) if choice else None

    groups = by_size(findings, findings.setting, row)
    if not groups:
        return None
    return Table(
        "Gap in robustness: the share of clean MAP that high-resource languages keep under attack, less the share that "
        "low-resource languages keep, with 95 % intervals over concepts. Above zero, the attacks take more from the "
        "low-resource languages.",
        ("recipe", *(scope.name for scope in scopes)),
        groups,
    )


def success_table(findings: Findings) -> Table | None:
    choice, results = findings.headline, findings.results
    if choice is None or not results.low:
        return None
    groups = []
    for system in (choice.first, choice.second):
        rows = success_rows(results, system, results.low) if system else []
        if rows and system is not None:
            groups.append(RowGroup(rows, f"Against {system.objective}, {size_heading(system.size)}"))
    return success_of(groups, "low-resource languages") if groups else None


def success_rows(results: Results, system: System, languages: Sequence[str]) -> list[Row]:
    """Return both rates of success, the share kept and the area under the curve, per attack at its largest budget."""
    rows = []
    for facts in results.attacks:
        by_budget = {
            budget: blocks
            for budget in results.budgets(facts.name)
            if (blocks := results.blocks(system, (facts.name, budget)))
        }
        if by_budget and results.blocks(system):
            largest, clean = max(by_budget), results.blocks(system)
            result = robustness(clean, by_budget[largest], languages)
            area = accuracy_radius_area(clean, by_budget, languages)
            figures = map(spread, (result.accuracy_drop, result.success_of_correct, result.ratio, area))
            rows.append(Row(Cell(facts.name), cells(budget_label(facts.unit, largest), *figures)))
    return rows


def success_of(groups: Sequence[RowGroup], languages: str) -> Table:
    return Table(
        f"Success of each attack at its largest budget, {languages}. Fall of R@1 is clean minus attacked "
        "R@1 (Co-Attack’s rate); broken is the share of queries answered first before that fail after (SGA’s rate); "
        "kept is attacked over clean MAP; area is the area under MAP against budget, as a share of the largest "
        "possible. 95 % intervals over concepts.",
        ("attack", "budget", "fall of R@1", "broken", "kept", "area"),
        groups,
        words=2,
    )


def limits(findings: Findings) -> list[str]:
    families = {facts.family for facts in findings.results.attacks}
    lines = [
        f"One collection and {count(len(findings.results.languages), 'language')}. It lets recipes be compared; it "
        "does not say how robust a search over photographs or long documents would be.",
        "An attack gives an upper bound: a stronger one than these may leave less. No robustness is proven here.",
        "A mean over attacks counts each the same; how often each happens in use is another question.",
        *(samples(findings.results, findings.headline.first) if findings.headline and findings.headline.first else []),
    ]
    if TEXT_ADVERSARIAL in families or JOINT in families:
        lines.append(
            "Adversarial text is made against each model, so models are not attacked with the same queries; the "
            "attack, its budget and its seed are the same."
        )
    return lines


def samples(results: Results, system: System) -> list[str]:
    """Return a line for each attack that was run on some of the queries only."""
    queries = sum(len(block.values) for block in results.blocks(system))
    lines = []
    for facts in results.attacks:
        for budget in results.budgets(facts.name, [system])[:1]:
            attacked = sum(len(block.values) for block in results.blocks(system, (facts.name, budget)))
            if 0 < attacked < queries:
                lines.append(
                    f"{facts.name} was made on {attacked / queries:.0%} of the queries; its figures, and the means "
                    "that it is part of, are over those, clean figures beside it too."
                )
    return lines


_TERMS = (
    "MAP",
    "MAP under attack",
    "Budget",
    "Noise, adversarial",
    "Share kept (robustness ratio)",
    "At equal clean MAP",
    "Success of an attack",
    "Area",
    "Low- and high-resource mean",
    "Gap in robustness",
    "Transport",
    "Interval over seeds",
    "Interval over concepts",
    "p",
    "p after Holm",
)

QUESTION = Question(
    name="robustness",
    attacked=True,
    title="Does optimal-transport distillation make search more robust?",
    heading="Does optimal-transport distillation make image search in low-resource languages more robust?",
    recipe_title="Which recipe makes search most robust?",
    recipe_heading="Which recipe makes image search in low-resource languages most robust?",
    headline_size=300,
    answer=study_answer,
    sections=_sections,
    terms=_TERMS,
    limits=limits,
    tables={
        "recipes": ("kind", "transport", "robust", "description"),
        "attacks": ("kind", "description"),
    },
)
