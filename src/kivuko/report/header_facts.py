"""What a records file tells of itself in its header, laid out for a page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kivuko.evaluation import Header
from kivuko.report.low_resource.table import Cell, Row, RowGroup, Table, cells


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
