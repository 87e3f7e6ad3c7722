"""The tables that stand open on the page: robust MAP, every test, equal clean MAP, languages and the gap."""

from __future__ import annotations

from kivuko.evaluation import Interval
from kivuko.evaluation.robustness import accuracy_radius_area, resource_gap, robustness
from kivuko.report.low_resource.study import GROUPS, language_label
from kivuko.report.low_resource.tables import size_heading
from kivuko.report.rendering import (
    DASH,
    Cell,
    Row,
    RowGroup,
    Table,
    cells,
    count,
    figure,
    per_cent_spread,
    signed_spread,
    spread,
)
from kivuko.report.robustness.comparisons import KINDS, MATCHED, Choice, Family, RobustnessTest
from kivuko.report.robustness.findings import Findings
from kivuko.report.robustness.study import Scope, Spot, System, budget_label, over_seeds


def robust_table(findings: Findings) -> Table:
    """MAP under each attack, a mean over its budgets: every recipe at every size."""
    study = findings.study
    groups = []
    for size in (*study.sizes, None):
        rows = []
        choice = findings.choice(size) if size is not None else findings.headline
        for system in study.systems(size):
            scopes = [Scope(f.name, ((f.name, study.budgets(f.name)),)) for f in study.attacks]
            clean = spread(over_seeds(study.seed_values(Spot(system))))
            everything = over_seeds(study.scope_values(system, choice.scopes[0])) if choice and choice.scopes else None
            told = [figure_of(over_seeds(study.scope_values(system, scope))) for scope in scopes]
            if any(text != DASH for text in told):
                mark = chosen_mark(choice, system)
                kind = study.recipe(system.objective).role
                kind += ", hardened" if study.hardened(system.objective) else ""
                head = Cell(system.objective + mark, code=True)
                rows.append(
                    Row(head, [Cell(kind), Cell(clean), Cell(spread(everything), strong=bool(mark)), *cells(*told)])
                )
        if rows:
            groups.append(RowGroup(rows, size_heading(size)))
    return Table(
        "Low-resource mean MAP on the test split, clean and under attack: each attack’s column is a mean over its "
        "budgets; “all attacks” is a mean over those attacks that every compared recipe was measured under, each "
        "counting the same. Means over seeds; in brackets 95 % t intervals. ★ chosen with transport, ☆ chosen "
        "without.",
        ("recipe", "kind", "clean", "all attacks", *(facts.name for facts in study.attacks)),
        groups,
        words=2,
    )


def significance_table(family: Family) -> Table:
    """Every test of the family."""
    groups: dict[tuple[int, str, str], list[Row]] = {}
    for tested in sorted(family.tests, key=lambda t: (t.size, KINDS.index(t.kind))):
        groups.setdefault((tested.size, tested.kind, tested.comparison.second), []).append(_test_row(tested))
    return Table(
        "Each recipe with transport against the chosen one without: low-resource means on the test split, over the "
        "attacks and budgets of a kind. Intervals of the difference are over concepts. "
        f"{count(len(family.tests), 'test')} in the family that Holm’s correction covers; “better” and “worse” where "
        "p after Holm is below 0.05.",
        (
            "recipe", "attacks", "it is", "its value", "the other’s", "difference [95 %]", "relative [95 %]",
            "over seeds [95 %]", "p", "p, Holm",
        ),
        [
            RowGroup(rows, f"{kind}, against “{other}”: {size_heading(size)}")
            for (size, kind, other), rows in groups.items()
        ],
        words=3,
    )  # fmt: skip


def _test_row(tested: RobustnessTest) -> Row:
    found = tested.comparison
    return Row(
        Cell(found.first, code=True),
        [
            Cell(tested.scope),
            Cell({1: "better", -1: "worse", 0: "not shown"}[tested.sign], strong=tested.sign != 0),
            *cells(
                *map(figure, found.means), signed_spread(found.difference), per_cent_spread(found.relative),
                signed_spread(found.over_seeds), f"{found.test.p_value:.4f}", f"{tested.adjusted:.4f}",
            ),
        ],
    )  # fmt: skip


def matched_table(family: Family) -> Table | None:
    """How clean MAP was made equal, and what remains of the difference; None where it could not be."""
    groups: dict[int, list[Row]] = {}
    for tested in family.tests:
        if tested.kind != MATCHED or tested.matching is None:
            continue
        found, how = tested.comparison, tested.matching
        mixed = "as they are"
        if how.mixed is not None and how.sizes is not None and how.weight is not None:
            small, large = how.sizes
            mixed = (
                f"{how.mixed}: {100 * how.weight:.0f} % of {large:,}, {100 * (1 - how.weight):.0f} % of {small:,} pairs"
            )
        row = Row(
            Cell(f"{found.first} / {found.second}", code=True),
            [
                Cell(tested.scope), Cell(mixed),
                *cells(figure(how.target), *map(figure, found.means), signed_spread(found.difference)),
                Cell(f"{tested.adjusted:.4f}", strong=tested.sign != 0),
            ],
        )  # fmt: skip
        groups.setdefault(tested.size, []).append(row)
    if not groups:
        return None
    return Table(
        "Robustness at equal clean MAP: the better recipe is mixed with its own model of less bitext (or the other "
        "with its own of more) until both have the same low-resource mean clean MAP; the difference under attack is "
        "then not one of clean accuracy.",
        (
            "recipes", "attacks", "mixture", "clean MAP of both", "with, under attack", "without, under attack",
            "difference [95 %]", "p, Holm",
        ),
        [RowGroup(rows, size_heading(size)) for size, rows in groups.items()],
        words=3,
    )  # fmt: skip


def language_table(findings: Findings) -> Table | None:
    """Clean, under all attacks, and the share kept: both chosen recipes, language by language, at the headline size."""
    choice, study = findings.headline, findings.study
    if choice is None or not choice.scopes:
        return None
    systems = [system for system in (choice.transport, choice.plain) if system is not None]
    rows = []
    for code in (*study.languages, *GROUPS):
        told = []
        for system in systems:
            clean = study.clean_values(system, study.scope_blocks(system, choice.scopes[0]) or [], code)
            robust = study.scope_values(system, choice.scopes[0], code)
            shared = [seed for seed in robust if clean.get(seed, 0) > 0]
            ratio = over_seeds({seed: robust[seed] / clean[seed] for seed in shared})
            told += [figure_of(over_seeds(clean)), figure_of(over_seeds(robust)), spread(ratio)]
        if any(text != DASH for text in told):
            rows.append(Row(Cell(language_label(code)), cells(*told)))
    names = [system.objective for system in systems]
    columns = [f"{name}, {what}" for name in names for what in ("clean", "all attacks", "share kept")]
    return Table(
        f"MAP on the test split, clean and under all attacks, and the share kept, at {count(choice.size, 'pair')} per "
        "language: means over seeds, the share with its 95 % t interval.",
        ("language", *columns),
        [RowGroup(rows)],
    )


def gap_table(findings: Findings) -> Table | None:
    """The robustness ratio of high-resource languages less that of low-resource ones, per recipe and kind of attack."""
    study = findings.study
    groups = []
    for choice in findings.choices:
        rows = []
        for system in study.systems(choice.size):
            told = [_gap(findings, system, scope) for scope in choice.scopes]
            if any(text != DASH for text in told):
                rows.append(Row(Cell(system.objective + chosen_mark(choice, system), code=True), cells(*told)))
        if rows:
            groups.append((RowGroup(rows, size_heading(choice.size)), choice))
    if not groups:
        return None
    names = max((choice.scopes for _, choice in groups), key=len)
    return Table(
        "Gap in robustness: the share of clean MAP that high-resource languages keep under attack, less the share that "
        "low-resource languages keep, with 95 % intervals over concepts. Above zero, the attacks take more from the "
        "low-resource languages.",
        ("recipe", *(scope.name for scope in names)),
        [group for group, _ in groups],
    )


def _gap(findings: Findings, system: System, scope: Scope) -> str:
    study = findings.study
    clean, attacked = study.blocks(system), study.scope_blocks(system, scope)
    if not (study.low and study.high and clean and attacked):
        return DASH
    return signed_spread(resource_gap(clean, attacked, study.low, study.high), 3)


def success_table(findings: Findings) -> Table | None:
    """Both rates of success, the share kept and the area under the curve, per attack at its largest budget."""
    choice, study = findings.headline, findings.study
    if choice is None or not study.low:
        return None
    groups = []
    for system in (choice.transport, choice.plain):
        rows = []
        for facts in study.attacks:
            blocks = (
                {budget: study.blocks(system, (facts.name, budget)) for budget in study.budgets(facts.name)}
                if system
                else {}
            )
            blocks = {budget: found for budget, found in blocks.items() if found}
            if system is None or not blocks or not study.blocks(system):
                continue
            largest = max(blocks)
            outcome = robustness(study.blocks(system), blocks[largest], study.low)
            area = accuracy_radius_area(study.blocks(system), blocks, study.low)
            told = (outcome.accuracy_drop, outcome.success_of_correct, outcome.ratio, area)
            rows.append(Row(Cell(facts.name), cells(budget_label(facts.unit, largest), *map(spread, told))))
        if rows and system is not None:
            groups.append(RowGroup(rows, f"Against {system.objective}, {size_heading(system.size)}"))
    if not groups:
        return None
    return Table(
        "Success of each attack at its largest budget, low-resource languages. Fall of R@1 is clean minus attacked "
        "R@1 (Co-Attack’s rate); broken is the share of queries answered first before that fail after (SGA’s rate); "
        "kept is attacked over clean MAP; area is the area under MAP against budget, as a share of the largest "
        "possible. 95 % intervals over concepts.",
        ("attack", "budget", "fall of R@1", "broken", "kept", "area"),
        groups,
        words=2,
    )


def figure_of(interval: Interval | None) -> str:
    """Write the mean alone."""
    return figure(interval.mean if interval else None)


def chosen_mark(choice: Choice | None, system: System) -> str:
    """Return a star behind a space for a chosen recipe, filled with transport, hollow without; else nothing."""
    if choice is None:
        return ""
    return {choice.transport: " ★", choice.plain: " ☆"}.get(system, "")
