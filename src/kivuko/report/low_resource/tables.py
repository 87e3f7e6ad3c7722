"""The tables that stand open on the page: every test, every recipe, kinds of query, languages."""

from __future__ import annotations

from kivuko.evaluation import PARITY
from kivuko.report.low_resource.comparisons import Family, PairedTest
from kivuko.report.low_resource.findings import Findings
from kivuko.report.low_resource.study import (
    ALL,
    GROUPS,
    HIGH,
    LOW,
    MAP,
    VALIDATION,
    Setting,
    Spot,
    is_low,
    language_label,
)
from kivuko.report.rendering import (
    DASH,
    Cell,
    Row,
    RowGroup,
    Table,
    cells,
    count,
    figure,
    per_cent,
    per_cent_spread,
    setting_label,
    signed_spread,
    spread,
)


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


_SUBSETS = ("headline", "compositional", "lexical", "copied", ALL)


def significance_table(family: Family) -> Table:
    """Every comparison of the family."""
    groups: dict[tuple[Setting, int], list[Row]] = {}
    for tested in family.tests:
        groups.setdefault((tested.setting, tested.size), []).append(_test_row(tested))
    return Table(
        "The best recipe with transport against each other one: low-resource mean MAP on the test split. Intervals of "
        f"the difference and of the relative difference are over concepts. {count(len(family.tests), 'test')} in the "
        "family that Holm’s correction covers; “better” and “worse” where p after Holm is below 0.05.",
        (
            "against", "with transport", "transport is", "MAP", "other’s MAP", "difference [95 %]",
            "relative [95 %]", "over seeds [95 %]", "p", "p, Holm",
        ),
        [
            RowGroup(rows, f"{setting_label(setting)}: {size_heading(size)}")
            for (setting, size), rows in groups.items()
        ],
        words=3,
    )  # fmt: skip


def _test_row(tested: PairedTest) -> Row:
    found = tested.comparison
    roles = [role for role in tested.roles if role != found.second]
    finding = "not shown"
    if tested.significant:
        finding = "better" if found.difference.mean > 0 else "worse"
    return Row(
        Cell(found.second + (f" ({', '.join(roles)})" if roles else ""), code=True),
        [
            Cell(found.first, code=True),
            Cell(finding, strong=tested.significant),
            *cells(
                *map(figure, found.means), signed_spread(found.difference), per_cent_spread(found.relative),
                signed_spread(found.over_seeds), _p(found.test.p_value), _p(tested.adjusted),
            ),
        ],
    )  # fmt: skip


def _p(value: float) -> str:
    return f"{value:.4f}"


def recipe_tables(findings: Findings) -> list[tuple[str, Table]]:
    """Every recipe at every size, a named table per setting: test MAP, validation MAP beside it, what was chosen."""
    return [(setting_label(setting), _recipe_table(findings, setting)) for setting in findings.study.settings]


def _recipe_table(findings: Findings, setting: Setting) -> Table:
    study = findings.study
    groups = []
    for size in (*study.sizes(setting), None):
        rows = [_recipe_row(findings, setting, size, name) for name in _by_validation(findings, setting, size)]
        if rows:
            groups.append(RowGroup(rows, size_heading(size)))
    return Table(
        f"{setting_label(setting)}: low-resource means over seeds with 95 % t intervals. ★ chosen with transport, "
        "☆ chosen without, by validation MAP.",
        ("recipe", "kind", "chosen", "MAP, validation", "MAP, test", "R@1, test", "R@10, test", "seeds"),
        groups,
        words=3,
    )


def _recipe_row(findings: Findings, setting: Setting, size: int | None, name: str) -> Row:
    study = findings.study
    test = Spot(setting, size, name, LOW, subset=study.subset)
    validation = Spot(setting, size, name, LOW, split=VALIDATION, subset=study.subset)
    others = (Spot(setting, size, name, LOW, measure, subset=study.subset) for measure in ("R@1", "R@10"))
    mark = chosen_mark(findings, setting, size, name).strip()
    seeds = [seed for seed in study.seed_values(test) if seed is not None]
    return Row(
        Cell(name, code=True),
        [
            Cell(study.facts(name).role),
            Cell({"★": "★ with", "☆": "☆ without"}.get(mark, ""), strong=True),
            *cells(spread(study.over_seeds(validation))),
            Cell(spread(study.over_seeds(test)), strong=bool(mark)),
            *cells(*(spread(study.over_seeds(other)) for other in others), str(len(seeds)) if seeds else DASH),
        ],
    )


def _by_validation(findings: Findings, setting: Setting, size: int | None) -> list[str]:
    """Best on validation first; what has no validation figure last, by name."""
    choice = findings.choice(setting, size) if size is not None else None
    validation = choice.validation if choice else {}
    return sorted(
        findings.study.objectives(setting, size), key=lambda name: (-validation.get(name, float("-inf")), name)
    )


def subset_table(findings: Findings) -> Table | None:
    """MAP of the chosen recipes on each kind of query, in the headline setting; None where only one kind is told."""
    study, setting = findings.study, findings.headline
    names = [name for name in _SUBSETS if name in study.subsets(setting)]
    if len(names) < 2:
        return None
    groups = []
    for size in study.sizes(setting):
        choice = findings.choice(setting, size)
        rows = []
        for name in dict.fromkeys((choice.transport, choice.plain) if choice else ()):
            if name is not None:
                spots = (Spot(setting, size, name, LOW, subset=subset) for subset in names)
                told = (spread(study.over_seeds(spot)) for spot in spots)
                rows.append(Row(Cell(name + chosen_mark(findings, setting, size, name), code=True), cells(*told)))
        if rows:
            groups.append(RowGroup(rows, size_heading(size)))
    caption = (
        f"{setting_label(setting)}: low-resource mean MAP of the chosen recipes on the test split, by kind of query. "
        "★ with transport, ☆ without."
    )
    return Table(caption, ("recipe", *names), groups) if groups else None


def language_table(findings: Findings) -> Table:
    """Which languages were measured, in which group, with how many queries."""
    study = findings.study
    rows = [
        Row(
            Cell(language_label(code)),
            cells(
                "low-resource" if is_low(code) else "high-resource",
                *(f"{study.queries(setting, code):,}" for setting in study.settings),
            ),
        )
        for code in study.languages
    ]
    return Table(
        "Languages and their test queries"
        + (", those equal to the English name left out" if study.subset == "headline" else ""),
        ("language", "group", *(f"queries, {setting_label(setting)}" for setting in study.settings)),
        [RowGroup(rows)],
        words=2,
    )
