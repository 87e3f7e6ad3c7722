"""Result tables for the terminal, from records. They fit into 80 columns: measures without room are left out."""

import math
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

from kivuko.datasets.emoji.phrases import PhraseSet
from kivuko.errors import UsageError
from kivuko.evaluation.group_means import ALL, GROUPS, HEADLINE, HIGH, LOW, PARITY
from kivuko.evaluation.measures import ACCURACY_DROP, AREA, CALLS, GAP, RATIO, SUCCESS_OF_CORRECT, TARGET_FIRST
from kivuko.evaluation.records import Record
from kivuko.languages import language
from kivuko.perturbations.catalog import ATTACKS
from kivuko.perturbations.spec import AttackSpec

WIDTH = 80
_LABEL = 22  # columns of a row's name at most
_NONE = "–"

_OBJECTIVES = {"teacher": "teacher", "untrained": "random weights"}
_SUBSETS = {
    "headline": "all queries but those equal to the English name",
    "compositional": "queries with seen words only",
    "lexical": "queries with unseen words",
    "copied": "queries equal to the English name",
    "all": "all queries",
}
# The first measure has its interval; those after it that matter least come last and are left out first.
_IMAGE_TO_TEXT = ("Success@1", "Success@5", "R@1", "MAP", PARITY, "Success@10")
_COLLECTION = ("nDCG@10", "MAP", "MRR", "R@10", "R@100", PARITY)
_EMOJI = ("MAP", "R@1", "R@5", "R@10", PARITY, "MRR", "nDCG@10")
_PHRASES = ("Success@5", "Success@1", "Success@10", "MRR", "MAP", PARITY)
_CAPTIONS = ("R@1", "R@5", "R@10", "MAP", PARITY, "MRR")


def evaluation_tables(records: Sequence[Record], width: int = WIDTH, searched: str = "") -> list[Table]:
    """Return a table per data set and objective, and for emoji per subset of queries; ceiling and floor close each.

    ``searched``: the candidates, for the titles, such as "3,600 images".
    """
    tables = []
    clean = [record for record in records if record.attack is None]
    for dataset in dict.fromkeys(record.dataset for record in clean):
        own = [record for record in clean if record.dataset == dataset]
        objectives = list(dict.fromkeys(record.objective for record in own))
        subsets = {record.subset for record in own}
        shown = ("headline", "compositional", "lexical") if "lexical" in subsets else ("all",)
        for objective in [one for one in objectives if one not in _OBJECTIVES] or objectives:
            tables += [_task_table(own, objective, subset, width, searched) for subset in shown if subset in subsets]
    return tables


def results_table(records: Sequence[Record], objective: str, subset: str = "headline", width: int = WIDTH) -> Table:
    """Return one objective's figures, a row per language and group: MAP with its interval, then the other measures."""
    rows = _rows(records, objective, subset, _EMOJI[0])
    title = f"{_OBJECTIVES.get(objective, objective)}: {_SUBSETS.get(subset, subset)}"
    return _figures_table(title, records, rows, subset, _EMOJI, width)


def comparison_table(records: Sequence[Record], measures: Sequence[str] = ("R@1", "R@10", "MAP")) -> Table:
    """Return all objectives side by side: the low- and high-resource means on headline queries."""
    figures = index_records(records)
    table = compact_table("side by side: the same queries, low- and high-resource means")
    table.add_column("objective", no_wrap=True)
    for group in GROUPS:
        for measure in measures:
            table.add_column(f"{group.split('-')[0]} {measure}", justify="right", no_wrap=True)
    for objective in dict.fromkeys(record.objective for record in records):
        row = (figure(figures.get((objective, g, "headline", m))) for g in GROUPS for m in measures)
        table.add_row(_OBJECTIVES.get(objective, objective), *row)
    return table


def compact_table(title: str) -> Table:
    return Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 1, 0, 0))


def ceiling_line(records: Sequence[Record]) -> str | None:
    """Return the English teacher's figures on English queries, the ceiling; None if it was not measured."""
    figures = index_records(records)
    ceiling = {measure: figures.get(("teacher", "en", "headline", measure)) for measure in ("R@1", "R@10", "MAP")}
    if any(record is None for record in ceiling.values()):
        return None
    return "ceiling, the teacher on English names: " + ", ".join(f"{m} {figure(r)}" for m, r in ceiling.items())


def no_better_line(records: Sequence[Record], objective: str) -> str | None:
    """Name the languages in which a model is no better than its English teacher on the same queries, if any."""
    own, teacher = (
        {
            one.language: one.value
            for one in sorted(records, key=lambda record: record.subset)  # headline, where there is one, over all
            if (one.objective, one.measure, one.attack) == (whose, "MAP", None) and one.subset in ("headline", "all")
            and one.language not in GROUPS and not one.dataset.endswith("image-to-text")
        }
        for whose in (objective, "teacher")
    )  # fmt: skip
    no_better = [
        f"{code} {value:.3f} against {teacher[code]:.3f}"
        for code, value in own.items()
        if code in teacher and value <= teacher[code]
    ]
    if not no_better:
        return None
    return (
        "note: no better than the English teacher on the same queries, untranslated (MAP): "
        f"{', '.join(no_better)}. It needs more pairs, or pairs more like the queries."
    )


def unseen_words_line(records: Sequence[Record]) -> str | None:
    """Explain the subsets of emoji queries, if they are among the records."""
    if not any(record.subset == "lexical" for record in records):
        return None
    return "unseen words: English words that the emoji training split does not hold"


def phrases_line(records: Sequence[Record]) -> str | None:
    """Explain the first measure of everyday phrases, if they are among the records."""
    if not any(record.dataset == PhraseSet.name for record in records):
        return None
    return "phrases are never trained on; Success@5: a right emoji is among the first five"


def label(code: str) -> str:
    """Return ``sw Swahili`` for a language code, and a group's name as it is."""
    try:
        return code if code in GROUPS else f"{code} {language(code).name}"
    except UsageError:  # "und", and what a data set of one's own names
        return code


def index_records(records: Iterable[Record]) -> dict[tuple[str, str, str, str], Record]:
    """Return the clean (unattacked) records by (objective, language, subset, measure); later ones win."""
    return {(r.objective, r.language, r.subset, r.measure): r for r in records if r.attack is None}


def p_value(p: float, at_floor: bool = False, digits: int = 3) -> str:
    """Write a p value as ``0.012`` or ``< 0.001``; as ``≤ 0.012``, rounded up, where it is an upper bound."""
    if at_floor:
        return f"≤ {math.ceil(round(p * 10**digits, 6)) / 10**digits:.{digits}f}"
    least = 10.0**-digits
    return f"< {least:.{digits}f}" if p < least else f"{p:.{digits}f}"


def figure(record: Record | None, form: str = ".3f") -> str:
    return _NONE if record is None else format(record.value, form)


def with_interval(record: Record | None) -> str:
    return _NONE if record is None else f"{record.value:.3f} [{record.low:.3f}, {record.high:.3f}]"


def _task_table(records: Sequence[Record], objective: str, subset: str, width: int, searched: str) -> Table:
    measures = {record.measure for record in records}
    layout: tuple[str, ...] = (
        _PHRASES if "Success@1" in measures and "R@1" not in measures
        else _IMAGE_TO_TEXT if "Success@1" in measures
        else _COLLECTION if "R@100" in measures
        else _EMOJI if subset != "all"
        else _CAPTIONS
    )  # fmt: skip
    layout = tuple(measure for measure in layout if measure in measures) or tuple(dict.fromkeys(measures))
    rows = _rows(records, objective, subset, layout[0])
    for other, name in _OBJECTIVES.items():
        if other != objective:
            own = [record for _, record in _rows(records, other, subset, layout[0])]
            grouped = any(record.language in GROUPS for record in own)
            rows += [
                (f"{name.split()[0]}: {record.language}", record)
                for record in own
                if not grouped or record.language in GROUPS or (other, record.language) == ("teacher", "en")
            ]
    first = records[0]
    late = "late interaction (MaxSim)" if first.scoring == "maxsim" else ""
    parts = (searched, late, "" if subset == "all" else _SUBSETS.get(subset, subset))
    title = "; ".join([f"{objective}: {first.dataset}, {first.split}", *(part for part in parts if part)])
    return _figures_table(title, records, rows, subset, layout, width)


def _rows(records: Sequence[Record], objective: str, subset: str, measure: str) -> list[tuple[str, Record]]:
    """Return a label and the first measure's record of each language, groups last."""
    own = [r for r in records if (r.objective, r.subset, r.measure, r.attack) == (objective, subset, measure, None)]
    return [(label(one.language), one) for one in sorted(own, key=lambda record: record.language in GROUPS)]


def _figures_table(
    title: str, records: Sequence[Record], rows: Sequence[tuple[str, Record]], subset: str, measures: Sequence[str],
    width: int,
) -> Table:  # fmt: skip
    figures = index_records(records)
    columns = [["language", *(name for name, _ in rows)], ["n", *(f"{record.queries:,}" for _, record in rows)]]
    columns.append([f"{measures[0]} [95 %]", *(with_interval(record) for _, record in rows)])
    for measure in measures[1:]:
        cells = [figure(figures.get((record.objective, record.language, subset, measure))) for _, record in rows]
        columns.append([measure, *cells])
    return fit_columns(compact_table(title), columns, width)


def fit_columns(table: Table, columns: Sequence[Sequence[str]], width: int) -> Table:
    """Fill a table with columns, headings first, as far as they fit into ``width``; names of rows are cut if long."""
    names = [name if len(name) <= _LABEL else f"{name[: _LABEL - 1]}…" for name in columns[0]]
    kept, used = [names], max(map(len, names))
    for column in columns[1:]:
        used += 1 + max(map(len, column))
        if used > width:
            break
        kept.append(list(column))
    for number, column in enumerate(kept):
        table.add_column(column[0], justify="left" if number == 0 else "right", no_wrap=True)
    for row in zip(*(column[1:] for column in kept), strict=True):
        table.add_row(*row)
    return table


def plain_text(parts: Sequence[Table | str], width: int = WIDTH) -> str:
    console = Console(width=width, highlight=False, markup=False, emoji=False, color_system=None)
    with console.capture() as capture:
        for part in parts:
            console.print(part, soft_wrap=isinstance(part, str))
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


_AFTER = ("R@1", "MAP", ACCURACY_DROP, SUCCESS_OF_CORRECT, RATIO)
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
    by_key = _attacked(records)
    codes = list(dict.fromkeys(code for attack, _, code, _ in by_key if attack is None))
    targeted = any((spec.label, spec.budget, code, TARGET_FIRST) in by_key for code in codes)
    table = compact_table(spec.text)
    table.add_column("language", overflow="fold")
    for heading in ("n", "R@1", "after", "MAP", "after", "lost", "broken", "kept", "calls", *["aimed"] * targeted):
        table.add_column(heading, justify="right", no_wrap=True)
    unanswered: dict[str, list[str]] = {}
    for code in sorted(codes, key=lambda code: (code in GROUPS, codes.index(code))):
        accuracy, precision = (by_key.get((None, None, code, measure)) for measure in ("R@1", "MAP"))
        after = {measure: by_key.get((spec.label, spec.budget, code, measure)) for measure in (*_AFTER, CALLS)}
        first, *others = (figure(after[measure]) for measure in _AFTER)
        cells = [label(code), f"{accuracy.queries:,}" if accuracy else _NONE, figure(accuracy), first]
        cells += [figure(precision), *others, figure(after[CALLS], ",.0f")]
        aimed = figure(by_key.get((spec.label, spec.budget, code, TARGET_FIRST)))
        table.add_row(*cells, *[aimed] * targeted)
        if after[SUCCESS_OF_CORRECT] is None and accuracy is not None:
            unanswered.setdefault(_RARELY if accuracy.value > 0 else _NEVER, []).append(code)
    table.caption = " ".join(
        f"broken is –{'' if len(some) == len(codes) else ' in ' + ', '.join(some)}: {why}."
        for why, some in unanswered.items()
    ) or None  # fmt: skip
    table.caption_justify = "left"
    return table


def overview_table(records: Sequence[Record], specs: Sequence[AttackSpec]) -> Table:
    """Return all attacks side by side: MAP of the groups, the share of it that is kept, the gap, the area."""
    by_key = _attacked(records)
    groups = [group for group in GROUPS if (None, None, group, "MAP") in by_key]
    names = [group.split("-")[0] for group in groups]
    table = compact_table("side by side: MAP under attack and the share kept, means of languages")
    table.add_column("attack", overflow="fold")
    headings = [text for name in names for text in (f"{name}\nMAP", "\nkept")]
    for heading in (*headings, "\ngap", *(f"area\n{name}" for name in names)):
        table.add_column(heading, justify="right", no_wrap=True)
    clean = [cell for group in groups for cell in (figure(by_key[None, None, group, "MAP"]), _NONE)]
    table.add_row("clean", *clean, *[_NONE] * (1 + len(groups)))
    for spec in specs:
        key = (spec.label, spec.budget)
        cells = [
            figure(by_key.get((*key, group, measure)), form)
            for group in groups
            for measure, form in (("MAP", ".3f"), (RATIO, ".2f"))
        ]
        gap = figure(by_key.get((*key, f"{HIGH} less {LOW}", GAP)), "+.2f")
        table.add_row(spec.text, *cells, gap, *(figure(by_key.get((*key, group, AREA))) for group in groups))
    return table


def legend(records: Sequence[Record], specs: Sequence[AttackSpec]) -> str:
    """Explain the columns that the tables have."""
    parts = ["Queries equal to the English name are left out."] if _subset(records) == HEADLINE else []
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
        parameters = ", ".join(f"{one.name} ({one.written(one.default)})" for one in attack.parameters)
        table.add_row(attack.name, attack.kind, attack.needs, f"{attack.description}; {parameters}")
    return table


def _subset(records: Sequence[Record]) -> str:
    return HEADLINE if any(one.subset == HEADLINE for one in records) else ALL


def _attacked(records: Sequence[Record]) -> dict[tuple[str | None, float | None, str, str], Record]:
    """Return the records by (attack, budget, language, measure); attack None: clean."""
    subset = _subset(records)
    return {(one.attack, one.budget, one.language, one.measure): one for one in records if one.subset == subset}
