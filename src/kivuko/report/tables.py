"""Result tables for the terminal, from records."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from kivuko.evaluation import MEASURES, PARITY, Record
from kivuko.languages import language
from kivuko.report.figures import index_records, plain, with_interval

GROUPS = ("low-resource", "high-resource")


def results_table(records: Sequence[Record], objective: str, subset: str = "headline") -> Table:
    """Return one objective's figures, a row per language and group: MAP with its interval, then the other measures."""
    found = index_records(records)
    codes = list(dict.fromkeys(r.language for r in records if r.objective == objective and r.subset == subset))
    table = Table(title=f"{objective}: {_SUBSETS.get(subset, subset)}", title_justify="left")
    table.add_column("language", no_wrap=True)
    table.add_column("n", justify="right")
    table.add_column("MAP [95 %]", justify="right", no_wrap=True)
    for measure in (*(m for m in MEASURES if m != "MAP"), PARITY):
        table.add_column(measure, justify="right")
    for code in sorted(codes, key=lambda code: (code in GROUPS, codes.index(code))):
        if (record := found.get((objective, code, subset, "MAP"))) is None:
            continue
        rest = [plain(found.get((objective, code, subset, m))) for m in (*MEASURES, PARITY) if m != "MAP"]
        table.add_row(label(code), str(record.queries), with_interval(record), *rest)
    return table


def comparison_table(records: Sequence[Record], measures: Sequence[str] = ("R@1", "R@10", "MAP")) -> Table:
    """Return all objectives side by side: the low- and high-resource means on headline queries."""
    found = index_records(records)
    objectives = list(dict.fromkeys(r.objective for r in records))
    table = Table(title="side by side (headline queries)", title_justify="left")
    table.add_column("objective")
    for group in GROUPS:
        for measure in measures:
            table.add_column(f"{group.split('-')[0]} {measure}", justify="right")
    for objective in objectives:
        table.add_row(objective, *(plain(found.get((objective, g, "headline", m))) for g in GROUPS for m in measures))
    return table


def label(code: str) -> str:
    """Return ``sw Swahili`` for a language code, and a group's name as it is."""
    return code if code in GROUPS else f"{code} {language(code).name}"


_SUBSETS = {
    "headline": "all test queries less those equal to the English name",
    "compositional": "queries whose every English content word occurs in training",
    "lexical": "queries with an English content word that training never saw",
    "copied": "queries equal to the English name",
    "all": "all test queries",
}
