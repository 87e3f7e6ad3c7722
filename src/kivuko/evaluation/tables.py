"""Result tables for the terminal, from records."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from kivuko.evaluation import MEASURES, PARITY, Record
from kivuko.languages import language
from kivuko.report.heat_map import index_records, plain, with_interval

GROUPS = ("low-resource", "high-resource")


def results_table(records: Sequence[Record], objective: str, subset: str = "headline") -> Table:
    """Return one objective's figures, a row per language and group: MAP with its interval, then the other measures."""
    found = index_records(records)
    codes = list(dict.fromkeys(r.language for r in records if r.objective == objective and r.subset == subset))
    table = compact_table(f"{objective}: {_SUBSETS.get(subset, subset)}")
    table.add_column("language", no_wrap=True)
    for heading in ("n", "MAP [95 %]", *(m for m in MEASURES if m != "MAP"), PARITY):
        table.add_column(heading, justify="right", no_wrap=True)
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
    table = compact_table("side by side: the same queries, low- and high-resource means")
    table.add_column("objective", no_wrap=True)
    for group in GROUPS:
        for measure in measures:
            table.add_column(f"{group.split('-')[0]} {measure}", justify="right", no_wrap=True)
    for objective in objectives:
        row = (plain(found.get((objective, g, "headline", m))) for g in GROUPS for m in measures)
        table.add_row(_ROWS.get(objective, objective), *row)
    return table


def compact_table(title: str) -> Table:
    """Return an empty table without a frame, so that a line of eight figures fits into 80 characters."""
    return Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 1, 0, 0))


def ceiling_line(records: Sequence[Record]) -> str | None:
    """Say what the English teacher reaches on English queries, the ceiling; None if that was not measured."""
    found = index_records(records)
    figures = {measure: found.get(("teacher", "en", "headline", measure)) for measure in ("R@1", "R@10", "MAP")}
    if any(record is None for record in figures.values()):
        return None
    return "ceiling, English names put to the teacher: " + ", ".join(f"{m} {plain(r)}" for m, r in figures.items())


def no_better_line(records: Sequence[Record], objective: str) -> str | None:
    """Name the languages in which a model finds no more than its English teacher, asked as it is; None if in none."""
    own, asked = (
        {
            one.language: one.value
            for one in sorted(records, key=lambda record: record.subset)  # headline, where there is one, over all
            if (one.objective, one.measure, one.attack) == (whose, "MAP", None) and one.subset in ("headline", "all")
            and one.language not in GROUPS and not one.dataset.endswith("image-to-text")
        }
        for whose in (objective, "teacher")
    )  # fmt: skip
    no_better = [
        f"{code} {value:.3f} against {asked[code]:.3f}"
        for code, value in own.items()
        if code in asked and value <= asked[code]
    ]
    if not no_better:
        return None
    return (
        "note: no better than the English teacher, asked in the language as it is (MAP): "
        f"{', '.join(no_better)}. It needs more pairs, or pairs more like the queries."
    )


def label(code: str) -> str:
    """Return ``sw Swahili`` for a language code, and a group's name as it is."""
    return code if code in GROUPS else f"{code} {language(code).name}"


_ROWS = {
    "teacher": "teacher, asked as is",
    "untrained": "random weights",
}
_SUBSETS = {
    "headline": "all queries less those equal to the English name",
    "compositional": "compositional (the emoji training split holds every English word)",
    "lexical": "lexical (an English word is not in the emoji training split)",
    "copied": "queries equal to the English name",
    "all": "all test queries",
}
