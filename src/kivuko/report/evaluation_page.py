"""The page of an evaluation or an attack run: every measure of every model, by language, clean and attacked."""

import contextlib
import itertools
from dataclasses import dataclass, replace

from kivuko.errors import DataError
from kivuko.evaluation.comparison import Difference, differences
from kivuko.evaluation.records import PerQueryScores, Record
from kivuko.evaluation.statistics import Interval, holm
from kivuko.report import formatting as fmt
from kivuko.report.attack_tables import example_blocks, samples, success_of, success_rows
from kivuko.report.page import (
    Answer,
    Block,
    Bullets,
    Cell,
    FigureSet,
    Page,
    Prose,
    Row,
    RowGroup,
    Section,
    Table,
    cells,
    limits_section,
    own_limits,
    protocol_section,
    words_section,
)
from kivuko.report.plots import FIRST, LEXICAL, MSE, OTHER, SECOND, TEACHER, Bar, axis_top, bar_panel
from kivuko.report.results import GROUPS, HIGH, LOW, MAP, TEST, UNTRAINED, Results, Setting, Source, attack_facts
from kivuko.text import pluralize

_ROLES = (FIRST, SECOND, MSE, LEXICAL)


@dataclass(frozen=True)
class Model:
    """One evaluated model, as in the records."""

    name: str
    objective: str
    size: int | None
    seed: int | None

    @property
    def is_reference(self) -> bool:
        """True for the English teacher and the untrained copy."""
        return self.objective in (TEACHER, UNTRAINED)

    @property
    def label(self) -> str:
        return self.objective if self.is_reference else f"{self.name} ({self.objective})"


class Measured:
    """The records of one split, by model and condition."""

    def __init__(self, source: Source) -> None:
        splits = {record.split for record in source.records}
        if not splits:
            raise DataError("the records hold no figures, so there is nothing to report; run the evaluation again")
        self.source = source
        self.split = TEST if TEST in splits else min(splits)
        self.records = [record for record in source.records if record.split == self.split]
        self.results = Results(_by_label(source))  # refuses contradictions, and orders settings and languages
        self.subset = self.results.subset
        self.settings = self.results.settings
        keys = dict.fromkeys(_model(record) for record in self.records)
        self.models = sorted(keys, key=lambda model: model.is_reference)
        codes = {record.language for record in self.records}
        self.places = [
            *(group for group in GROUPS if group in codes),
            *(code for code in self.results.languages if code in codes),
            *(["en"] if "en" in codes else []),
        ]
        self._by_key = {
            (_setting(r), _model(r), r.attack, r.budget, r.subset, r.language, r.measure): r for r in self.records
        }

    def record(
        self, setting: Setting, model: Model, code: str, measure: str = MAP,
        attack: tuple[str | None, float | None] = (None, None), subset: str | None = None,
    ) -> Record | None:  # fmt: skip
        return self._by_key.get((setting, model, *attack, subset or self.subset, code, measure))

    def attacks(self, setting: Setting, model: Model) -> list[tuple[str, float]]:
        """Return the attacks and budgets of one model, in the records' order."""
        keys = ((r.attack, r.budget or 0.0) for r in self.records
                if r.attack is not None and (_setting(r), _model(r)) == (setting, model))  # fmt: skip
        return list(dict.fromkeys((attack, budget) for attack, budget in keys if attack is not None))


def _by_label(source: Source) -> Source:
    """Return the source with models in place of objectives: two models of one objective are two systems here."""
    return replace(
        source,
        records=[replace(one, objective=_model(one).label) for one in source.records],
        per_query=[
            replace(one, condition=replace(one.condition, objective=_model(one).label)) for one in source.per_query
        ],
    )


def _model(record: Record | PerQueryScores) -> Model:
    at = record if isinstance(record, Record) else record.condition
    return Model(at.model, at.objective, at.bitext_size, at.seed)


def _setting(record: Record) -> Setting:
    return Setting(record.dataset, record.scoring)


def interval_of(record: Record | None) -> Interval | None:
    return None if record is None else Interval(record.value, record.low, record.high, record.queries)


def evaluation_page(source: Source) -> Page:
    measured = Measured(source)
    attacked = any(record.attack is not None for record in measured.records)
    what = "attack run" if attacked else "evaluation"
    sections = [
        Section("languages", "MAP by language", [(s.label, _bars(measured, s, n))
                                                 for n, s in enumerate(measured.settings)]),
        Section("measures", "Every measure", [(s.label, _measures(measured, s)) for s in measured.settings]),
    ]  # fmt: skip
    if attacked:
        sections.append(_attack_section(measured))
    sections.append(_tests_section(measured))
    if source.examples:
        sections.append(Section("examples", "Examples", example_blocks(measured.results)))
    return Page(
        title=f"{', '.join(m.name for m in measured.models if not m.is_reference) or 'Models'}: Kivuko {what}",
        heading="How well does this model retrieve, per language?" if not attacked
        else "How robust is this model’s search?",
        kicker=f"Kivuko, {what}, {source.header.created[:10]}",
        answer=_answer(measured, attacked),
        sections=[
            *sections,
            limits_section(_limits(source)),
            words_section(fmt.entry("evaluation.terms")),
            protocol_section(source.header, "", {"attacks": ("kind", "description")} if attacked else {}),
        ],
    )  # fmt: skip


def _answer(measured: Measured, attacked: bool) -> Answer:
    """Return the figures of the first model in the first setting in one sentence."""
    setting = measured.settings[0]
    model = next((m for m in measured.models if not m.is_reference), measured.models[0])
    place = next((p for p in measured.places if measured.record(setting, model, p) is not None), None)
    if place is None:
        return Answer("unanswered", f"These records hold no clean MAP of “{model.name}”.")
    record = measured.record(setting, model, place)
    where = (
        f"over {fmt.count(len(measured.results.low), 'low-resource language')}"
        if place == LOW
        else (f"in {fmt.language_label(place)}")
    )
    reached = f"reaches a MAP of {fmt.spread(interval_of(record))} {where} ({setting.label})"
    sentence = f"“{model.name}” ({model.objective}) {reached}"
    teacher = next((m for m in measured.models if m.objective == TEACHER), None)
    reference = measured.record(setting, teacher, place) if teacher else None
    if record is not None and reference is not None and reference.value > 0 and teacher != model:
        gain = fmt.per_cent(record.value / reference.value - 1)
        sentence += f"; its English teacher alone reaches {fmt.figure(reference.value)} on the same queries ({gain})"
    support = []
    if attacked and record is not None:
        left = [
            (budget, name, hit)
            for name, budget in measured.attacks(setting, model)
            if (hit := measured.record(setting, model, place, attack=(name, budget))) is not None
        ]
        if left:
            _, name, worst = min(left, key=lambda one: one[2].value)
            label = fmt.budget_label(attack_facts(measured.source.header, name).unit, worst.budget)
            sentence += f"; the strongest attack here, {name} ({label}), leaves {fmt.spread(interval_of(worst))}"
    if record is not None:
        support.append(f"95 % interval, from {pluralize(record.queries, 'query', 'queries')}.")
    return Answer("unanswered", sentence + ".", tuple(support))


def _bars(measured: Measured, setting: Setting, place: int) -> FigureSet:
    roles: dict[Model, str] = {}
    for model in measured.models:
        role = TEACHER if model.objective == TEACHER else OTHER
        if not model.is_reference:
            role = _ROLES[min(len([r for r in roles.values() if r in _ROLES]), len(_ROLES) - 1)]
        roles[model] = role
    groups = []
    for code in measured.places:
        bars = [
            Bar(role, model.label if not model.is_reference else model.objective, value)
            for model, role in roles.items()
            if (value := interval_of(measured.record(setting, model, code))) is not None
        ]
        if bars:
            groups.append((fmt.language_label(code), bars))
    if not groups:
        return FigureSet(setting.label, "", (), None, fmt.text("evaluation.no-bars"))
    limit = axis_top((bar.value for _, bars in groups for bar in bars), 1.2)
    panels = [
        bar_panel(f"MAP, {measured.split} split", groups[start : start + 12], limit, "MAP", f"bars{place}-{start}")
        for start in range(0, len(groups), 12)
    ]
    models = ", ".join(model.label for model in roles)
    caption = fmt.text("evaluation.bars", setting=setting.label, split=measured.split, models=models)
    return FigureSet(setting.label, caption, panels, None, kind="bars")


def _measures(measured: Measured, setting: Setting) -> Table:
    clean = [r for r in measured.records if r.attack is None and _setting(r) == setting]
    names = sorted({r.measure for r in clean}, key=lambda name: (name != MAP, name))
    subsets = sorted({r.subset for r in clean}, key=lambda name: (name != measured.subset, name))
    groups = []
    for model in measured.models:
        for subset in subsets:
            rows = []
            for code in measured.places:
                records = [measured.record(setting, model, code, name, subset=subset) for name in names]
                if any(records):
                    queries = max(record.queries for record in records if record)
                    figures = [fmt.spread(interval_of(record)) for record in records]
                    rows.append(Row(Cell(fmt.language_label(code)), cells(*figures, f"{queries:,}")))
            if rows:
                groups.append(RowGroup(rows, model.label + (f": {subset} queries" if len(subsets) > 1 else "")))
    return Table(
        fmt.text("evaluation.measures", setting=setting.label, split=measured.split),
        ("language", *names, "queries"),
        groups,
    )


def _attack_section(measured: Measured) -> Section:
    blocks: list[tuple[str, Block]] = []
    for setting in measured.settings:
        for model in measured.models:
            if (table := _attack_table(measured, setting, model)) is not None:
                blocks.append((f"{model.label}, {setting.label}", table))
    notes: list[str] = []
    groups = []
    results = measured.results
    languages = results.low or results.languages
    systems = [s for st in results.settings for size in (*results.sizes(st), None) for s in results.systems(st, size)]
    for system in systems:
        if results.measured(system) and (rows := success_rows(results, system, languages)):
            groups.append(RowGroup(rows, f"Against {system.objective}"))
            notes += samples(results, system)
    if groups:
        whose = "low-resource languages" if results.low else "all languages"
        blocks.append(("Success of each attack", success_of(groups, whose)))
    if notes:
        blocks.append(("", Bullets(list(dict.fromkeys(notes)))))
    return Section("attacks", "Every attack", blocks)


def _attack_table(measured: Measured, setting: Setting, model: Model) -> Table | None:
    attacks = measured.attacks(setting, model)
    if not attacks:
        return None
    own = [r for r in measured.records if r.attack is not None and (_setting(r), _model(r)) == (setting, model)]
    names = sorted({r.measure for r in own}, key=lambda name: (name != MAP, name))
    subsets = {r.subset for r in own}
    groups = []
    for code in dict.fromkeys([*measured.places, *(record.language for record in own)]):
        rows = []
        for attack, budget in attacks:
            at: list[Record | None] = [
                next((hit for subset in (measured.subset, *sorted(subsets))
                      if (hit := measured.record(setting, model, code, name, (attack, budget), subset))), None)
                for name in names
            ]  # fmt: skip
            if any(at):
                label = fmt.budget_label(attack_facts(measured.source.header, attack).unit, budget)
                rows.append(Row(Cell(attack), cells(label, *(fmt.spread(interval_of(record)) for record in at))))
        if rows:
            clean = measured.record(setting, model, code)
            heading = fmt.language_label(code) + (f", clean MAP {fmt.spread(interval_of(clean))}" if clean else "")
            groups.append(RowGroup(rows, heading))
    caption = fmt.text("evaluation.attacked", model=model.label, setting=setting.label)
    return Table(caption, ("attack", "budget", *names), groups, words=2)


def _tests_section(measured: Measured) -> Section:
    """Compare every model with every reference and other model on the same queries, corrected with Holm."""
    groups = {LOW: measured.results.low, HIGH: measured.results.high}
    tested: list[tuple[Setting, Model, Model, Difference]] = []
    for setting in measured.settings:
        blocks = {model: _blocks(measured, setting, model) for model in measured.models}
        for model, other in itertools.combinations(measured.models, 2):
            if not model.is_reference:
                for name, codes in groups.items():
                    with contextlib.suppress(DataError):  # not measured on the same queries
                        results = differences(blocks[model], blocks[other], groups={name: codes})
                        tested += [(setting, model, other, result) for result in results]
    if not tested:
        return Section("tests", "Every test", [("", Prose(fmt.text("evaluation.no-tests"), quiet=True))])
    rows = []
    adjusted = holm([result.p_value for *_, result in tested])
    for (setting, model, other, result), p in zip(tested, adjusted, strict=True):
        better = "better" if result.difference.mean > 0 else "worse"
        rows.append(
            Row(
                Cell(model.label, code=True),
                [
                    Cell(other.label, code=True), Cell(f"{fmt.language_label(result.language)}, {setting.label}"),
                    Cell(better if p < 0.05 else "not shown", strong=p < 0.05),
                    *cells(fmt.figure(result.a), fmt.figure(result.b), fmt.signed_spread(result.difference),
                           fmt.per_cent_spread(result.relative), fmt.p_cell(result.p_value, result.at_floor),
                           fmt.p_cell(p, result.at_floor)),
                ],
            )
        )  # fmt: skip
    table = Table(
        fmt.text("evaluation.tests", tests=fmt.count(len(tested), "test")),
        ("model", "against", "queries", "it is", "MAP", "other’s MAP", "difference [95 %]", "relative [95 %]", "p",
         "p, Holm"),
        [RowGroup(rows)], words=4,
    )  # fmt: skip
    return Section("tests", "Every test", [("", table)])


def _blocks(measured: Measured, setting: Setting, model: Model) -> list[PerQueryScores]:
    return [
        block
        for block in measured.source.per_query
        if block.measure == MAP
        and block.subset == measured.subset
        and block.condition.attack is None
        and block.condition.split == measured.split
        and (block.condition.dataset, block.condition.scoring) == (setting.dataset, setting.scoring)
        and _model(block) == model
    ]


def _limits(source: Source) -> list[str]:
    return [*own_limits(source.header), *fmt.entry("evaluation.limits"), fmt.text("study.limit-shown")]
