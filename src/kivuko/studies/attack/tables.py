"""What attacks did, as tables for the terminal, from records."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from kivuko.attacks.spec import AttackSpec
from kivuko.evaluation import Record
from kivuko.evaluation.robustness_records import ACCURACY_DROP, RATIO, SUCCESS_OF_CORRECT
from kivuko.report.tables import GROUPS, compact_table, label
from kivuko.studies.attack.results import AREA, CALLS, GAP, HIGH, LOW, SUBSET, TARGET_FIRST

Key = tuple[str | None, float | None, str, str]  # attack, budget, language, measure
LEGEND = (
    "Queries equal to the English name are left out. lost: clean less attacked R@1 (attack success as a drop in "
    "accuracy); broken: of the queries answered first before, the share that is not after (attack success on correct "
    "queries); kept: MAP after over MAP before (robustness ratio); calls: how often the model was asked, per query; "
    "aimed: share of queries for which the chosen picture came first; gap: what is kept in high-resource languages "
    "less what is kept in low-resource ones; area: mean MAP over all budgets up to the largest."
)


def attack_table(records: Sequence[Record], spec: AttackSpec) -> Table:
    """Return what one attack did, a row per language and group."""
    found = _indexed(records)
    codes = list(dict.fromkeys(r.language for r in records if r.attack is None and r.subset == SUBSET))
    aimed = any((spec.label, spec.budget, code, TARGET_FIRST) in found for code in codes)
    table = compact_table(spec.text)
    table.add_column("language", no_wrap=True)
    headings = ["n", "R@1", "attacked", "MAP", "attacked", "lost", "broken", "kept", "calls"]
    for heading in [*headings, "aimed"] if aimed else headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for code in sorted(codes, key=lambda code: (code in GROUPS, codes.index(code))):
        clean = [found.get((None, None, code, measure)) for measure in ("R@1", "MAP")]
        measures = ("R@1", "MAP", ACCURACY_DROP, SUCCESS_OF_CORRECT, RATIO, CALLS, TARGET_FIRST)
        after = [found.get((spec.label, spec.budget, code, measure)) for measure in measures]
        cells = [_share(clean[0]), _share(after[0]), _share(clean[1]), *(_share(one) for one in after[1:5])]
        told = [f"{clean[0].queries:,}" if clean[0] else "–", *cells, _count(after[5])]
        table.add_row(label(code), *told, *([_share(after[6])] if aimed else []))
    return table


def overview_table(records: Sequence[Record], specs: Sequence[AttackSpec]) -> Table:
    """Return all attacks side by side: MAP of the groups, the share of it that is kept, the gap, the area."""
    found = _indexed(records)
    groups = [group for group in GROUPS if (None, None, group, "MAP") in found]
    table = compact_table("side by side: MAP under attack (share kept), means of languages")
    table.add_column("attack", no_wrap=True)
    headings = [*(group.split("-")[0] for group in groups), "gap", *(f"area {group.split('-')[0]}" for group in groups)]
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    blank = ["–"] * (1 + len(groups))
    table.add_row("clean", *(_share(found.get((None, None, group, "MAP"))) for group in groups), *blank)
    for spec in specs:
        key = (spec.label, spec.budget)
        kept = [
            f"{_share(found.get((*key, g, 'MAP')))} ({_share(found.get((*key, g, RATIO)), 2)})" for g in groups
        ]  # fmt: skip
        gap = found.get((*key, f"{HIGH} less {LOW}", GAP))
        areas = [_share(found.get((*key, group, AREA))) for group in groups]
        table.add_row(spec.text, *kept, "–" if gap is None else f"{gap.value:+.2f}", *areas)
    return table


def _indexed(records: Sequence[Record]) -> dict[Key, Record]:
    return {(r.attack, r.budget, r.language, r.measure): r for r in records if r.subset == SUBSET}


def _share(record: Record | None, places: int = 3) -> str:
    return "–" if record is None else f"{record.value:.{places}f}"


def _count(record: Record | None) -> str:
    return "–" if record is None else f"{record.value:,.0f}"
