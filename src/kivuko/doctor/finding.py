"""One thing that a check found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Level = Literal["ok", "note", "warning", "fault"]
LEVELS: tuple[Level, ...] = ("ok", "note", "warning", "fault")  # from good to bad


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        level: "ok"; "note", good to know; "warning", results will probably suffer; "fault", results are worth nothing.
        check: the check's name.
        what: what was found, one line.
        do: what to do about it, one line; empty where there is nothing to do.
        language: the language it is about; None: about the model.
        figures: the numbers behind it, by name.
    """

    level: Level
    check: str
    what: str
    do: str = ""
    language: str | None = None
    figures: Mapping[str, float] = field(default_factory=dict)


def worst_level(findings: Iterable[Finding]) -> Level:
    """Return the worst level there is; "ok" if there is no finding."""
    return max((one.level for one in findings), key=LEVELS.index, default="ok")
