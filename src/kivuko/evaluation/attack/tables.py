"""Tables of attacked searches, readable in 80 columns."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from kivuko.evaluation import Record
from kivuko.evaluation.attack.results import AREA, CALLS, GAP, HIGH, LOW, TARGET_FIRST
from kivuko.evaluation.group_means import ALL, HEADLINE
from kivuko.evaluation.robustness import ACCURACY_DROP, RATIO, SUCCESS_OF_CORRECT
from kivuko.evaluation.tables import GROUPS, compact_table, label
from kivuko.perturbations.catalog import ATTACKS, Attack
from kivuko.perturbations.spec import AttackSpec

Key = tuple[str | None, float | None, str, str]  # attack, budget, language, measure
_MEASURES = ("R@1", "MAP", ACCURACY_DROP, SUCCESS_OF_CORRECT, RATIO, CALLS, TARGET_FIRST)
_NEVER = "no query was answered first before"
_RARELY = "too few queries were answered first before for an interval; attack more queries"
_LEGEND = (
    "lost: clean less attacked R@1 (attack success as a drop in accuracy). broken: of the queries answered first "
    "before, the share that is not after (attack success on correct queries). kept: MAP after over MAP before "
    "(robustness ratio). calls: calls of the model, per query.",
    "aimed: share of queries for which the chosen image came first.",
    "gap: what is kept in high-resource languages less what is kept in low-resource ones. area: mean MAP over all "
    "budgets up to the largest.",
)


def attack_table(records: Sequence[Record], spec: AttackSpec) -> Table:
    """Return the effect of one attack, a row per language and group."""
    by_key, codes = _indexed(records), _languages(records)
    targeted = any((spec.label, spec.budget, code, TARGET_FIRST) in by_key for code in codes)
    table = compact_table(spec.text)
    table.add_column("language", overflow="fold")
    for heading in ("n", "R@1", "after", "MAP", "after", "lost", "broken", "kept", "calls", *["aimed"] * targeted):
        table.add_column(heading, justify="right", no_wrap=True)
    unanswered: dict[str, list[str]] = {}
    for code in sorted(codes, key=lambda code: (code in GROUPS, codes.index(code))):
        accuracy, precision = (by_key.get((None, None, code, measure)) for measure in ("R@1", "MAP"))
        after = [by_key.get((spec.label, spec.budget, code, measure)) for measure in _MEASURES]
        cells = [_share(accuracy), _share(after[0]), _share(precision), *(_share(one) for one in after[1:5])]
        queries = f"{accuracy.queries:,}" if accuracy else "–"
        table.add_row(label(code), queries, *cells, _count(after[5]), *([_share(after[6])] * targeted))
        if after[3] is None and accuracy is not None:
            unanswered.setdefault(_RARELY if accuracy.value > 0 else _NEVER, []).append(code)
    table.caption = " ".join(
        f"broken is –{'' if len(some) == len(codes) else ' in ' + ', '.join(some)}: {why}."
        for why, some in unanswered.items()
    ) or None  # fmt: skip
    table.caption_justify = "left"
    return table


def overview_table(records: Sequence[Record], specs: Sequence[AttackSpec]) -> Table:
    """Return all attacks side by side: MAP of the groups, the share of it that is kept, the gap, the area."""
    by_key = _indexed(records)
    groups = [group for group in GROUPS if (None, None, group, "MAP") in by_key]
    table = compact_table("side by side: MAP under attack and the share kept, means of languages")
    table.add_column("attack", overflow="fold")
    names = [group.split("-")[0] for group in groups]
    for heading in [*(text for name in names for text in (f"{name}\nMAP", "\nkept")), "\ngap"]:
        table.add_column(heading, justify="right", no_wrap=True)
    for name in names:
        table.add_column(f"area\n{name}", justify="right", no_wrap=True)
    clean = [cell for group in groups for cell in (_share(by_key.get((None, None, group, "MAP"))), "–")]
    table.add_row("clean", *clean, *["–"] * (1 + len(groups)))
    for spec in specs:
        key = (spec.label, spec.budget)
        cells = [
            cell
            for group in groups
            for cell in (_share(by_key.get((*key, group, "MAP"))), _share(by_key.get((*key, group, RATIO)), 2))
        ]
        gap = by_key.get((*key, f"{HIGH} less {LOW}", GAP))
        areas = [_share(by_key.get((*key, group, AREA))) for group in groups]
        table.add_row(spec.text, *cells, "–" if gap is None else f"{gap.value:+.2f}", *areas)
    return table


def legend(records: Sequence[Record], specs: Sequence[AttackSpec]) -> str:
    """Explain the columns that the tables have."""
    subset = _subset(records)
    parts = ["Queries equal to the English name are left out."] if subset == HEADLINE else []
    parts.append(_LEGEND[0])
    if any(record.measure == TARGET_FIRST for record in records):
        parts.append(_LEGEND[1])
    if len(specs) > 1:
        parts.append(_LEGEND[2])
    return " ".join(parts)


def catalog_table() -> Table:
    """Return all attacks with their parameters and defaults."""
    table = compact_table("attacks: name:parameter=value,...  (in brackets: default)")
    for heading in ("attack", "changes", "needs"):
        table.add_column(heading, no_wrap=True)
    table.add_column("what it does, and its parameters", overflow="fold")
    for attack in ATTACKS.values():
        table.add_row(attack.name, attack.kind, attack.needs, f"{attack.description}; {_parameters(attack)}")
    return table


def _parameters(attack: Attack) -> str:
    return ", ".join(f"{one.name} ({one.written(one.default)})" for one in attack.parameters)


def _subset(records: Sequence[Record]) -> str:
    return HEADLINE if any(one.subset == HEADLINE for one in records) else ALL


def _languages(records: Sequence[Record]) -> list[str]:
    subset = _subset(records)
    return list(dict.fromkeys(one.language for one in records if one.attack is None and one.subset == subset))


def _indexed(records: Sequence[Record]) -> dict[Key, Record]:
    subset = _subset(records)
    return {(one.attack, one.budget, one.language, one.measure): one for one in records if one.subset == subset}


def _share(record: Record | None, places: int = 3) -> str:
    return "–" if record is None else f"{record.value:.{places}f}"


def _count(record: Record | None) -> str:
    return "–" if record is None else f"{record.value:,.0f}"
