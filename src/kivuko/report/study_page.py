"""The engine of study pages: examine the records for one question, answer it, and lay out its sections."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from kivuko.errors import DataError
from kivuko.evaluation.statistics import Interval
from kivuko.report import formatting as fmt
from kivuko.report.comparisons import KINDS, Choice, Contrast, Family, PairedTest, choose, compare_all, contrast_of
from kivuko.report.page import (
    Answer,
    Block,
    Bullets,
    Cell,
    Page,
    Prose,
    Row,
    RowGroup,
    Section,
    Table,
    cells,
    is_quick,
    limits_section,
    own_limits,
    protocol_section,
    words_section,
)
from kivuko.report.results import Results, Setting, Source, System


@dataclass(frozen=True)
class Question:
    """One question to a study's records."""

    name: str  # of the study, as in the header and in the texts
    attacked: bool
    answer: "Callable[[Findings], Answer]"
    sections: "Callable[[Findings], Sequence[Section]]"
    limits: "Callable[[Findings], Sequence[str]]"
    headline_size: int = 300  # bitext size of the answer, or the nearest measured one

    def text(self, name: str) -> Any:
        return fmt.entry(f"{self.name}.{name}")


@dataclass(frozen=True)
class Findings:
    """Everything that a page says, worked out before it is laid out."""

    question: Question
    results: Results
    contrast: Contrast
    choices: tuple[Choice, ...]
    family: Family
    size: int | None

    @property
    def setting(self) -> Setting:
        return self.results.settings[0]

    @property
    def headline(self) -> Choice | None:
        """The choice in the headline setting at the headline size."""
        return None if self.size is None else self.choice(self.setting, self.size)

    @property
    def missing(self) -> list[str]:
        """Lines on comparisons that are missing, and on uneven seeds."""
        return [*self.family.missing, *self.results.uneven_seeds()]

    @property
    def answer(self) -> Answer:
        """The answer, which says so if it comes from a quick study."""
        answer = self.question.answer(self)
        if not is_quick(self.results.header):
            return answer
        return Answer(answer.kind, fmt.text("study.quick", sentence=answer.sentence), answer.support)

    def choice(self, setting: Setting, size: int | None) -> Choice | None:
        return next((c for c in self.choices if (c.setting, c.size) == (setting, size)), None)

    def marked(self, system: System) -> Cell:
        """Return a recipe's name with its star, if it was chosen."""
        choice = self.choice(system.setting, system.size)
        return Cell(system.objective + (choice.mark(system) if choice else ""), code=True)


def examine(source: Source, question: Question) -> Findings:
    """Choose, compare and correct; DataError where the records hold nothing that the question is about."""
    results = Results(source)
    if question.attacked and not results.attacks:
        raise DataError("the records hold no MAP of attacked queries, so there is nothing to report; run the study")
    if not question.attacked and not any(r.measure == "MAP" and r.attack is None for r in source.records):
        raise DataError("the records hold no MAP of clean queries, so there is nothing to report; run the study")
    contrast = contrast_of(results)
    settings = results.settings[:1] if question.attacked else results.settings
    choices = tuple(
        choose(results, contrast, setting, size, question.attacked)
        for setting in settings
        for size in results.sizes(setting)
    )
    family = compare_all(results, contrast, choices, question.attacked)
    sizes = results.sizes(results.settings[0])
    wanted = results.header.protocol.get("headline size")
    size = wanted if wanted in sizes else nearest(sizes, question.headline_size)
    return Findings(question, results, contrast, choices, family, size)


def nearest(sizes: Sequence[int], wanted: int) -> int | None:
    """Return the size nearest in ratio, the smaller of two equally near; None of none."""
    return min(sizes, key=lambda size: (abs(math.log(max(size, 1) / wanted)), size), default=None)


def study_page(findings: Findings) -> Page:
    question, header = findings.question, findings.results.header
    transport = findings.contrast.transport
    side = "" if transport else "recipe-"
    quick = ", quick" if is_quick(header) else ""
    terms = [term for term in question.text("terms") if transport or term != "Transport"]
    return Page(
        title=f"{question.text(f'{side}title')} Kivuko, {question.name} study{quick}",
        heading=question.text(f"{side}heading"),
        kicker=f"Kivuko, {question.name} study{quick}, {header.created[:10]}",
        answer=findings.answer,
        sections=[
            *question.sections(findings),
            limits_section(_limits(findings)),
            words_section(terms),
            protocol_section(header, findings.contrast.rule, question.text("tables")),
        ],
    )


def _limits(findings: Findings) -> list[str]:
    header = findings.results.header
    lines = own_limits(header)
    if header.protocol.get("standard") is not True:
        lines.append(fmt.text("study.limit-standard"))
    if (seeds := len(set(header.seeds))) < 5:
        lines.append(fmt.text("study.limit-seeds", seeds=fmt.count(seeds, "training seed")))
    lines += findings.question.limits(findings)
    if findings.contrast.transport:
        lines.append(fmt.text("study.limit-transport"))
    return [*lines, fmt.text("study.limit-shown")]


def seed_lines(tested: PairedTest, write: Callable[[Interval], str]) -> Iterator[str]:
    """Yield the interval over seeds of an answer's test, and whether it includes zero."""
    seeds = tested.comparison.over_seeds
    if seeds.degenerate:
        yield fmt.text("study.one-seed")
        return
    yield f"95 % interval over {fmt.count(seeds.n, 'training seed')}: {write(seeds)}."
    if seeds.low <= 0 <= seeds.high and tested.significant:
        yield fmt.text("study.includes-zero")


def tests_section(findings: Findings) -> Section:
    blocks: list[tuple[str, Block]] = []
    if findings.family.tests:
        blocks += [
            ("", Prose(findings.question.text("tests"))),
            ("", _attacked_tests(findings) if findings.question.attacked else _tests(findings)),
        ]
    else:
        blocks.append(("", Prose(fmt.text("study.no-tests"), quiet=True)))
    if findings.missing:
        blocks.append(("What is missing", Bullets(findings.missing)))
    return Section("tests", "Every test", blocks)


TEST_COLUMNS = ("difference [95 %]", "relative [95 %]", "over seeds [95 %]", "p", "p, Holm")


def holm_note(tests: Sequence[PairedTest]) -> str:
    """Say how many tests Holm's correction covers together, family by family where they have names."""
    sizes: dict[str, int] = {one.family: one.family_size for one in tests}
    families = "; ".join(f"{name}: {fmt.count(size, 'test')}" for name, size in sizes.items() if name)
    if families:
        return fmt.text("study.families", families=families)
    return fmt.text("study.holm", tests=fmt.count(len(tests), "test"))


def _tests(findings: Findings) -> Table:
    groups: dict[tuple[Setting, int], list[Row]] = {}
    for tested in findings.family.tests:
        comparison = tested.comparison
        roles = [role for role in tested.roles if role != comparison.second]
        row = Row(
            Cell(comparison.second + (f" ({', '.join(roles)})" if roles else ""), code=True),
            [
                Cell(comparison.first, code=True), Cell(tested.verdict, strong=tested.significant),
                *test_cells(tested),
            ],
        )  # fmt: skip
        groups.setdefault((tested.setting, tested.size), []).append(row)
    first = "with transport" if findings.contrast.transport else "best recipe"
    side = " with transport" if findings.contrast.transport else ""
    return Table(
        fmt.text("study.tests", side=side, holm=holm_note(findings.family.tests)),
        ("against", first, "it is", "MAP", "other’s MAP", *TEST_COLUMNS),
        [RowGroup(rows, f"{setting.label}: {fmt.size_heading(size)}") for (setting, size), rows in groups.items()],
        words=3,
    )


def _attacked_tests(findings: Findings) -> Table:
    groups: dict[tuple[int, str, str], list[Row]] = {}
    for tested in sorted(findings.family.tests, key=lambda t: (t.size, KINDS.index(t.kind))):
        comparison = tested.comparison
        row = Row(
            Cell(comparison.first, code=True),
            [Cell(tested.scope), Cell(tested.verdict, strong=tested.sign != 0), *test_cells(tested)],
        )
        groups.setdefault((tested.size, tested.kind, comparison.second), []).append(row)
    who = (
        "Each recipe with transport against the chosen one without"
        if findings.contrast.transport
        else ("The best recipe against the second best")
    )
    return Table(
        fmt.text("study.attacked-tests", who=who, holm=holm_note(findings.family.tests)),
        ("recipe", "attacks", "it is", "its value", "the other’s", *TEST_COLUMNS),
        [
            RowGroup(rows, f"{kind}, against “{other}”: {fmt.size_heading(size)}")
            for (size, kind, other), rows in groups.items()
        ],
        words=3,
    )


def test_cells(tested: PairedTest) -> list[Cell]:
    """Return the cells of ``TEST_COLUMNS``, both means first."""
    comparison = tested.comparison
    return cells(
        *map(fmt.figure, comparison.means),
        fmt.signed_spread(comparison.difference), fmt.per_cent_spread(comparison.relative),
        fmt.signed_spread(comparison.over_seeds), fmt.p_cell(comparison.test.p_value, tested.at_floor),
        fmt.p_cell(tested.adjusted, tested.at_floor),
    )  # fmt: skip


def by_size(
    findings: Findings, setting: Setting, row: Callable[[System], Sequence[Cell] | None], heading: bool = False
) -> list[RowGroup]:
    """Return a group of rows per bitext size, a row per recipe; rows that are None or all dashes are left out.

    ``heading``: whether the setting is part of each group's heading.
    """
    groups = []
    for size in (*findings.results.sizes(setting), None):
        rows = []
        for system in findings.results.systems(setting, size):
            columns = row(system)
            if columns is not None and any(cell.text != fmt.DASH for cell in columns):
                rows.append(Row(findings.marked(system), columns))
        if rows:
            label = f"{fmt.setting_label(setting.dataset, setting.scoring)}: " if heading else ""
            groups.append(RowGroup(rows, label + fmt.size_heading(size)))
    return groups


def stars(contrast: Contrast) -> str:
    return fmt.text("study.stars-transport" if contrast.transport else "study.stars-recipes")
