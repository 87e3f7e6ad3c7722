"""A table as the page's template takes it: words only, already written; the template escapes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


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
