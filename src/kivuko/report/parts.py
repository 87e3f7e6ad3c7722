"""A paragraph on the contributions of the start, the loss and word alignment, written from tests."""

from collections.abc import Iterator, Sequence

from kivuko.report import formatting as fmt
from kivuko.report.comparisons import PARTS, PairedTest
from kivuko.report.page import Block, Cell, Prose, Row, RowGroup, Section, Table
from kivuko.report.study_page import TEST_COLUMNS, Findings, holm_note, test_cells

ALIGNMENT = "alignment"
_AS_WRITTEN = {1: "shown", 0: "not-shown", -1: "worse"}  # by the sign of a test after Holm


def parts_section(findings: Findings) -> Section:
    """Return the paragraph of each setting, in the headline size, and the tests behind it at every size."""
    blocks: list[tuple[str, Block]] = []
    for setting in findings.results.settings:
        own = [tested for tested in findings.family.parts if tested.setting == setting]
        blocks.append((setting.label, Prose(paragraph(own, findings.size))))
        if own:
            blocks.append(("", _table(own)))
    return Section("parts", "Start, loss, or word alignment?", blocks)


def paragraph(parts: Sequence[PairedTest], size: int | None) -> str:
    """Return the paragraph of one setting; ``parts``: its tests, all sizes."""
    here = [tested for tested in parts if tested.size == size]
    if not here:
        return fmt.text("parts.unmeasured")
    claims = [clause for sign in _AS_WRITTEN if (clause := _claim(here, sign))]
    alignment = next((tested for tested in here if tested.part == ALIGNMENT), None)
    about = f"alignment-{_AS_WRITTEN[alignment.sign]}" if alignment else "alignment-unmeasured"
    return " ".join(
        [
            fmt.text("parts.claims", pairs=fmt.count(here[0].size, "pair"), claims="; ".join(claims)) if claims else "",
            fmt.text(f"parts.{about}"),
            fmt.text(
                "parts.figures", figures="; ".join(map(_figures, here)), tests=here[0].family_size,
                concepts=fmt.count(here[0].comparison.difference.n, "concept"),
            ),
            *_unmeasured(here),
            *_elsewhere(parts, here),
        ]
    ).strip()  # fmt: skip


def _claim(here: Sequence[PairedTest], sign: int) -> str:
    """Return the clause that lists the places with this verdict; "" for none."""
    written = _AS_WRITTEN[sign]
    place = "worse-than" if sign < 0 else "place"
    places = [
        fmt.text(f"parts.{place}.{tested.part}", other=_control(tested.comparison.second))
        for tested in here
        if tested.part != ALIGNMENT and tested.sign == sign
    ]
    return fmt.text(f"parts.{written}", places=_listed(places, "and" if sign else "or")) if places else ""


def _figures(tested: PairedTest) -> str:
    comparison = tested.comparison
    first, second = map(fmt.figure, comparison.means)
    seeds = comparison.over_seeds
    return fmt.text(
        "parts.figure", part=tested.part, first=f"“{comparison.first}” {first}",
        second=f"“{comparison.second}” {second}", difference=fmt.signed_spread(comparison.difference, 3),
        relative=fmt.per_cent(tested.gain), p=fmt.probability(tested.adjusted, tested.at_floor),
        seeds=fmt.text("parts.seeds") if tested.sign and not seeds.degenerate and seeds.low <= 0 <= seeds.high else "",
    )  # fmt: skip


def _unmeasured(here: Sequence[PairedTest]) -> Iterator[str]:
    there = {(tested.comparison.first, tested.comparison.second) for tested in here}
    lacking = [f"“{first}” against “{second}”" for _, first, second in PARTS if (first, second) not in there]
    if lacking:
        yield fmt.text("parts.lacking", pairs=_listed(lacking, "and"))


def _elsewhere(parts: Sequence[PairedTest], here: Sequence[PairedTest]) -> Iterator[str]:
    """Yield whether the other sizes have the same verdicts, and which have not."""
    others = [tested for tested in parts if tested.size != here[0].size]
    if not others:
        return
    signs = {(tested.comparison.first, tested.comparison.second): tested.sign for tested in here}
    differ = [
        f"“{one.comparison.first}” against “{one.comparison.second}” at {fmt.count(one.size, 'pair')}: {one.verdict}"
        for one in others
        if signs.get((one.comparison.first, one.comparison.second), one.sign) != one.sign
    ]
    sizes = _listed([f"{size:,}" for size in dict.fromkeys(one.size for one in others)], "and")
    yield fmt.text("parts.differ" if differ else "parts.same", sizes=sizes, verdicts="; ".join(differ))


def _control(name: str) -> str:
    return str(fmt.entry("parts.controls").get(name, name))


def _listed(names: Sequence[str], conjunction: str) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {conjunction} {names[-1]}"


def _table(parts: Sequence[PairedTest]) -> Table:
    groups = [
        RowGroup(
            [
                Row(
                    Cell(tested.part),
                    [
                        Cell(tested.comparison.first, code=True), Cell(tested.comparison.second, code=True),
                        Cell(tested.verdict, strong=tested.significant), *test_cells(tested),
                    ],
                )
                for tested in parts
                if tested.size == size
            ],
            fmt.size_heading(size),
        )
        for size in dict.fromkeys(tested.size for tested in parts)
    ]  # fmt: skip
    return Table(
        fmt.text("parts.tests", holm=holm_note(parts)),
        ("part", "recipe", "against", "it is", "MAP", "other’s MAP", *TEST_COLUMNS),
        groups,
        words=4,
    )
