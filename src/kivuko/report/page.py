"""A page: an answer and sections of paragraphs, tables, plots and examples, rendered as one HTML document."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jinja2
from markupsafe import Markup

from kivuko.evaluation.records import Header
from kivuko.report.formatting import entry, keep_together


@dataclass(frozen=True)
class Cell:
    text: str
    code: bool = False  # a name from a file, in a fixed-width font
    strong: bool = False
    state: str = ""  # CSS class of a verdict


@dataclass(frozen=True)
class Row:
    head: Cell
    cells: Sequence[Cell]


@dataclass(frozen=True)
class RowGroup:
    rows: Sequence[Row]
    heading: str = ""


@dataclass(frozen=True)
class Table:
    caption: str
    columns: Sequence[str]
    groups: Sequence[RowGroup]
    words: int = 1  # columns, from the left, that hold words and not figures
    kind: str = ""  # CSS class
    type: str = "table"


@dataclass(frozen=True)
class FigureSet:
    """Small multiples with the table of the numbers behind them."""

    title: str
    caption: str
    panels: Sequence[Markup]
    numbers: Table | None
    absent: str = ""  # the reason that there is no panel
    kind: str = ""
    type: str = "figures"


@dataclass(frozen=True)
class Prose:
    text: str
    quiet: bool = False  # in the lighter ink of a remark
    type: str = "prose"


@dataclass(frozen=True)
class Bullets:
    lines: Sequence[str]
    type: str = "bullets"


@dataclass(frozen=True)
class Fact:
    key: str
    text: str
    structured: bool = False  # shown as JSON


@dataclass(frozen=True)
class Facts:
    entries: Sequence[Fact]
    type: str = "facts"


@dataclass(frozen=True)
class ShownExample:
    """One attacked query or image; ``before`` and ``after`` are data URIs, empty without an image."""

    attack: str
    budget: str
    language: str
    code: str
    query: str
    perturbed: str
    changed: bool
    edits: str
    ranks: str
    calls: str
    distance: str
    before: str = ""
    after: str = ""


@dataclass(frozen=True)
class Examples:
    entries: Sequence[ShownExample]
    type: str  # "texts" or "images"


Block = Table | FigureSet | Prose | Bullets | Facts | Examples


@dataclass(frozen=True)
class Section:
    id: str
    title: str
    blocks: Sequence[tuple[str, Block]]  # each with its subheading, or ""
    contents: str = ""  # title in the list of contents, if another


@dataclass(frozen=True)
class Answer:
    kind: str  # CSS class
    sentence: str
    support: tuple[str, ...] = ()  # further sentences


@dataclass(frozen=True)
class Page:
    title: str
    heading: str
    kicker: str
    answer: Answer
    sections: Sequence[Section] = field(default_factory=tuple)


def cells(*texts: str) -> list[Cell]:
    return [Cell(text) for text in texts]


def render(page: Page) -> str:
    """Return the page as HTML, every value escaped, as text that UTF-8 can hold (JSON can hold half a surrogate)."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("kivuko.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["tied"] = keep_together
    return environment.get_template("page.html.j2").render(page=page).lstrip().encode("utf-8", "replace").decode()


def limits_section(lines: Sequence[str]) -> Section:
    return Section("limits", "What this does not show", [("", Bullets(lines))])


def words_section(terms: Sequence[str]) -> Section:
    """Return the section that explains terms."""
    return Section("words", "Words", [("", Facts([Fact(term, entry("terms")[term]) for term in terms]))])


def protocol_section(header: Header, rule: str, tables: Mapping[str, Sequence[str]]) -> Section:
    """Return every key of the header: command, date, seeds, versions, how recipes were chosen, then the protocol's.

    ``rule``: how recipes were chosen on the page; ``tables``: keys of the protocol to show as tables, with first
    columns.
    """
    versions = ", ".join(f"{name} {version}" for name, version in header.versions.items())
    facts = [
        Fact("command", header.command, structured=True),
        Fact("created", header.created),
        Fact("seeds", ", ".join(map(str, header.seeds)) or "none"),
        Fact("versions", versions or "not recorded"),
        *([Fact("selection on this page", rule)] if rule else []),
        *(_fact(key, value) for key, value in header.protocol.items() if key not in tables),
    ]
    blocks: list[tuple[str, Block]] = [("", Facts(facts))]
    for what, first in tables.items():
        blocks.append(("", _named_table(header.protocol.get(what), what, first)))
    return Section("protocol", "Protocol", blocks)


def _named_table(entries: Any, what: str, first: Sequence[str]) -> Block:
    """Return a mapping of names to objects as a table, or as JSON if it has another form."""
    if entries is None:
        return Prose(f"The header does not describe the {what}.", quiet=True)
    if not isinstance(entries, Mapping) or not all(isinstance(entry, Mapping) for entry in entries.values()):
        return Facts([_fact(what, entries)])
    further = sorted({str(key) for entry in entries.values() for key in entry} - set(first))
    rows = [
        Row(Cell(str(name), code=True), cells(*(_fact(key, entry.get(key, "")).text for key in (*first, *further))))
        for name, entry in entries.items()
    ]
    columns = (what.removesuffix("s"), *first, *further)
    return Table(f"The {what}, as the header describes them", columns, [RowGroup(rows)], len(columns), "prose")


def own_limits(header: Header) -> list[str]:
    value = header.protocol.get("limits")
    lines = [value] if isinstance(value, str) else value if isinstance(value, list | tuple) else []
    return [str(line) for line in lines]


def is_quick(header: Header) -> bool:
    """Return True for the records of a study that was run with ``--quick``."""
    return header.protocol.get("quick") is True or "--quick" in header.command.split()


def _fact(key: str, value: Any) -> Fact:
    if isinstance(value, list | tuple) and not any(isinstance(item, dict | list | tuple) for item in value):
        return Fact(key, ", ".join(map(_scalar, value)) or "none")
    if isinstance(value, dict | list | tuple):
        return Fact(key, json.dumps(value, ensure_ascii=False, indent=2), structured=True)
    return Fact(key, _scalar(value))


def _scalar(value: Any) -> str:
    return {True: "yes", False: "no", None: "none"}[value] if value is None or isinstance(value, bool) else str(value)
