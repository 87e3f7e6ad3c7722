"""Templates of the pages: every value is escaped, and a value that a template lacks is an error."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jinja2

from kivuko.evaluation import Header, Interval

if TYPE_CHECKING:
    from kivuko.report.low_resource.study import Setting


@dataclass(frozen=True)
class Cell:
    """``code``: a name from a file, set in a fixed-width font. ``strong``: what the eye should find."""

    text: str
    code: bool = False
    strong: bool = False


@dataclass(frozen=True)
class Row:
    """``head`` names the row; ``cells`` follow it."""

    head: Cell
    cells: Sequence[Cell]


@dataclass(frozen=True)
class RowGroup:
    """Rows that belong together, under a heading of their own if there is one."""

    rows: Sequence[Row]
    heading: str = ""


@dataclass(frozen=True)
class Table:
    """``words`` counts the columns, from the left, that hold words and not figures."""

    caption: str
    columns: Sequence[str]
    groups: Sequence[RowGroup]
    words: int = 1


def cells(*texts: str) -> list[Cell]:
    """Return plain cells."""
    return [Cell(text) for text in texts]


@dataclass(frozen=True)
class Fact:
    """A key of the protocol: ``text`` as prose, or as JSON where it has structure."""

    key: str
    text: str
    structured: bool = False


def header_facts(header: Header, rule: str, leave_out: Sequence[str] = ("recipes",)) -> list[Fact]:
    """Return every key of the header: command, date, seeds, versions, the rule of selection, then the protocol's.

    Args:
        rule: how recipes were chosen on the page.
        leave_out: keys of the protocol that the page shows as tables.
    """
    versions = ", ".join(f"{name} {version}" for name, version in header.versions.items())
    first = [
        Fact("command", header.command, structured=True),
        Fact("created", header.created),
        Fact("seeds", ", ".join(map(str, header.seeds)) or "none"),
        Fact("versions", versions or "not told"),
        Fact("selection on this page", rule),
    ]
    return first + [_fact(key, value) for key, value in header.protocol.items() if key not in leave_out]


def told_table(told: Any, what: str, first: Sequence[str]) -> Table | Fact | None:
    """Return what the header tells of things by name, such as recipes, as a table; as it stands if it has another form.

    Args:
        told: name to an object with what is told of it; None where the header tells nothing.
        what: the things, in plural.
        first: the keys that come first, in this order.
    """
    if told is None:
        return None
    if not isinstance(told, Mapping) or not all(isinstance(entry, Mapping) for entry in told.values()):
        return _fact(what, told)
    further = sorted({str(key) for entry in told.values() for key in entry} - set(first))
    rows = [
        Row(Cell(str(name), code=True), cells(*(_fact(key, entry.get(key, "")).text for key in (*first, *further))))
        for name, entry in told.items()
    ]
    columns = (what.removesuffix("s"), *first, *further)
    return Table(f"The {what}, as the header tells of them", columns, [RowGroup(rows)], words=len(columns))


def own_limits(header: Header) -> list[str]:
    """Return the limits that the study itself names."""
    told = header.protocol.get("limits")
    found = [told] if isinstance(told, str) else told if isinstance(told, list | tuple) else []
    return [str(line) for line in found]


def _fact(key: str, value: Any) -> Fact:
    if isinstance(value, list | tuple) and not any(isinstance(item, dict | list | tuple) for item in value):
        return Fact(key, ", ".join(map(_scalar, value)) or "none")
    if isinstance(value, dict | list | tuple):
        return Fact(key, json.dumps(value, ensure_ascii=False, indent=2), structured=True)
    return Fact(key, _scalar(value))


def _scalar(value: Any) -> str:
    return {True: "yes", False: "no", None: "none"}[value] if value is None or isinstance(value, bool) else str(value)


_DATASETS = {"emoji": "text to image", "emoji-text": "text to English text"}
_SCORINGS = {"cosine": "one vector each", "maxsim": "late interaction"}
DASH, MINUS = "–", "−"


def setting_label(setting: Setting) -> str:
    """Return ``text to image, one vector each``; unknown names as they are."""
    task = _DATASETS.get(setting.dataset, setting.dataset)
    return f"{task}, {_SCORINGS.get(setting.scoring, setting.scoring)}"


def figure(value: float | None) -> str:
    """Write ``0.412``, with a true minus sign; a dash for None."""
    return DASH if value is None else f"{value:.3f}".replace("-", MINUS)


def signed(value: float, digits: int = 4) -> str:
    """Write ``+0.0144`` or ``−0.0144``."""
    return f"{value:+.{digits}f}".replace("-", MINUS)


def per_cent(value: float | None) -> str:
    """Write a share as ``+14.2 %``; a dash for None."""
    return DASH if value is None else f"{100 * value:+,.1f} %".replace("-", MINUS)


def spread(interval: Interval | None) -> str:
    """Write ``0.412 [0.380, 0.447]``; a single value stands alone, for its spread is not known."""
    if interval is None:
        return DASH
    if interval.degenerate:
        return figure(interval.mean)
    return f"{figure(interval.mean)} [{figure(interval.low)}, {figure(interval.high)}]"


def signed_spread(interval: Interval | None, digits: int = 4) -> str:
    """Write ``+0.0144 [+0.0069, +0.0230]``."""
    if interval is None:
        return DASH
    if interval.degenerate:
        return signed(interval.mean, digits)
    return f"{signed(interval.mean, digits)} [{signed(interval.low, digits)}, {signed(interval.high, digits)}]"


def per_cent_spread(interval: Interval | None) -> str:
    """Write ``+14.2 % [+6.8 %, +22.9 %]``; a dash where it is not defined."""
    if interval is None:
        return DASH
    return f"{per_cent(interval.mean)} [{per_cent(interval.low)}, {per_cent(interval.high)}]"


def probability(p: float) -> str:
    """Write ``p = 0.012`` or ``p < 0.001``."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def tied(text: str) -> str:
    """Keep together what belongs on one line: ``14.2 %``, ``p = 0.012``, the inside of brackets."""
    text = re.sub(r"(?<=\d) %", "\u00a0%", text)
    text = re.sub(r"\bp ([=<]) (?=\d)", "p\u00a0\\1\u00a0", text)
    return re.sub(r"\[[^\]]{1,40}\]", lambda match: match[0].replace(" ", "\u00a0"), text)


def count(number: int, noun: str) -> str:
    """Write ``1 seed`` or ``5 seeds``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def render(template: str, **values: Any) -> str:
    """Return a page as text that UTF-8 can hold: JSON can hold halves of surrogate pairs, UTF-8 cannot.

    Args:
        template: a file in ``templates/``.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("kivuko.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["tied"] = tied
    return environment.get_template(template).render(**values).encode("utf-8", "replace").decode()
