"""Heat maps of shares between words, side by side, as a picture or as SVG."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kivuko.errors import UsageError
from kivuko.report.color_scale import hex_color, ink_on, scale_color
from kivuko.report.drawing import Box, Drawing, Line, to_picture, to_svg
from kivuko.report.text_line import line_width, shortened

_INK, _FAINT, _NO_MASS = "#1b1b1b", "#5f5f5f", "#eeeeee"
_LABEL, _FIGURE, _TITLE, _NOTE = 16, 14, 17, 13  # sizes of lettering
_MARGIN, _GAP = 20, 8
_ROW_HEIGHT, _LINE_HEIGHT = 36, 20
_NARROWEST, _WIDEST = 46, 104  # of a column
_ROW_LIMIT, _COLUMN_LIMIT = 22, 18  # grapheme clusters of a word that are shown
_PAGE = 1400  # panels beyond this width go below
_SLANT = math.sqrt(0.5)


@dataclass(frozen=True, eq=False)
class Panel:
    """One heat map.

    Attributes:
        title: its heading.
        rows, columns: the words at its left and above it.
        values: [rows, columns] in [0, 1]; NaN throughout a row that has nothing to share.
        notes: lines below it.
    """

    title: str
    rows: Sequence[str]
    columns: Sequence[str]
    values: NDArray[np.float64]
    notes: Sequence[str] = field(default=())

    def __post_init__(self) -> None:
        if self.values.shape != (len(self.rows), len(self.columns)) or not self.values.size:
            raise UsageError(
                f"values have shape {list(self.values.shape)}: give [{len(self.rows)}, {len(self.columns)}], not empty"
            )


def heat_map_picture(
    panels: Sequence[Panel], title: Sequence[str] = (), notes: Sequence[str] = (), scale: int = 2
) -> Image.Image:
    """Draw panels side by side, as many to a row as fit, as an RGB image.

    Args:
        title: lines above, the first one bold.
        notes: lines below.
        scale: pixels of the image per pixel of the layout.

    Raises:
        UsageError: the picture would be too large; words and values of a panel do not fit together.
    """
    return to_picture(_drawing(panels, title, notes), scale)


def heat_map_svg(panels: Sequence[Panel], title: Sequence[str] = (), notes: Sequence[str] = ()) -> str:
    """Write the same as a standalone SVG document; a screen reader hears the largest share of each word."""
    heard = " ".join(_spoken(panel) for panel in panels)
    return to_svg(_drawing(panels, title, notes), " ".join(title) or "Heat map", " ".join((heard, *notes)).strip())


def per_cent(value: float) -> str:
    """Write a share as the number in a cell: whole per cent; a dash for NaN."""
    return "–" if math.isnan(value) else f"{100 * value:.0f}"


def _spoken(panel: Panel) -> str:
    best = []
    for word, row in zip(panel.rows, panel.values, strict=True):
        if np.isnan(row).all():
            best.append(f"{word}: nothing")
        else:
            column = int(np.nanargmax(row))
            best.append(f"{word}: {panel.columns[column]} {per_cent(row[column])} %")
    return f"{panel.title}: {', '.join(best)}."


@dataclass(frozen=True)
class _Frame:
    """How much room the parts of a panel take, in pixels."""

    label: float  # width of the row words
    head: float  # height of the column words
    column: float
    rising: bool
    width: float
    height: float


def _frame(panel: Panel) -> _Frame:
    label = max(line_width(shortened(word, _ROW_LIMIT), _LABEL) for word in panel.rows)
    widths = [line_width(shortened(word, _COLUMN_LIMIT), _LABEL) for word in panel.columns]
    column = max(_NARROWEST, max(widths) + 14)
    rising, overhang, head = column > _WIDEST, 0.0, float(_LINE_HEIGHT + _GAP)
    if rising:  # slanted words neither touch nor are cut, however long
        column = _NARROWEST
        overhang = max(
            0.0,
            *(column * (0.5 + place - len(widths)) + _SLANT * (width + _LABEL) for place, width in enumerate(widths)),
        )
        head = _SLANT * (max(widths) + _LABEL) + _GAP
    width = label + _GAP + column * len(widths) + overhang
    notes = max((line_width(note, _NOTE) for note in panel.notes), default=0.0)
    width = max(width, notes, line_width(panel.title, _LABEL, bold=True))
    height = _LINE_HEIGHT + _GAP + head + _ROW_HEIGHT * len(panel.rows) + _LINE_HEIGHT * len(panel.notes) + 2 * _GAP
    return _Frame(label, head, column, rising, width, height)


def _drawing(panels: Sequence[Panel], title: Sequence[str], notes: Sequence[str]) -> Drawing:
    boxes: list[Box] = []
    lines: list[Line] = []
    y = float(_MARGIN)
    for number, text in enumerate(title):
        y += _LINE_HEIGHT + 4
        lines.append(Line(_MARGIN, y, text, _TITLE, _FAINT if number else _INK, bold=not number))
    y += _MARGIN if title else 0
    right = max((line_width(text, _TITLE, bold=True) for text in title), default=0.0)
    for row in _page_rows([(panel, _frame(panel)) for panel in panels]):
        x = float(_MARGIN)
        deepest = max(frame.head for _, frame in row)
        for panel, frame in row:
            drawn_boxes, drawn_lines = _panel_marks(panel, frame, x, y, y + _LINE_HEIGHT + _GAP + deepest)
            boxes += drawn_boxes
            lines += drawn_lines
            x += frame.width + 2 * _MARGIN
        right = max(right, x - 3 * _MARGIN)
        y += max(frame.height - frame.head for _, frame in row) + deepest + _MARGIN
    for text in notes:
        lines.append(Line(_MARGIN, y, text, _NOTE, _FAINT))
        right = max(right, line_width(text, _NOTE))
        y += _LINE_HEIGHT
    return Drawing(math.ceil(right + 2 * _MARGIN), math.ceil(y + _GAP), boxes, lines)


def _page_rows(framed: list[tuple[Panel, _Frame]]) -> list[list[tuple[Panel, _Frame]]]:
    """Fill rows of the page from left to right; a panel wider than the page has a row of its own.

    Panels that take two rows or more are spread evenly: four are two and two, not three and one.
    """
    rows = list(_filled_rows(framed))
    share = -(-len(framed) // max(1, len(rows)))
    even = [framed[first : first + share] for first in range(0, len(framed), share)]
    return even if len(even) == len(rows) and all(_width(row) <= _PAGE for row in even) else rows


def _width(row: Sequence[tuple[Panel, _Frame]]) -> float:
    return sum(one.width for _, one in row) + 2 * _MARGIN * (len(row) - 1)


def _filled_rows(framed: list[tuple[Panel, _Frame]]) -> Iterator[list[tuple[Panel, _Frame]]]:
    row: list[tuple[Panel, _Frame]] = []
    for panel, frame in framed:
        if row and sum(one.width + 2 * _MARGIN for _, one in row) + frame.width > _PAGE:
            yield row
            row = []
        row.append((panel, frame))
    if row:
        yield row


def _panel_marks(panel: Panel, frame: _Frame, x: float, y: float, top: float) -> tuple[list[Box], list[Line]]:
    """Draw a panel whose upper left corner is at (x, y) and whose cells begin at ``top``."""
    boxes: list[Box] = []
    left = x + frame.label + _GAP
    lines = [Line(x, y + _LABEL, panel.title, _LABEL, _INK, bold=True)]
    for place, word in enumerate(panel.columns):
        middle, text = left + (place + 0.5) * frame.column, shortened(word, _COLUMN_LIMIT)
        if frame.rising:
            lines.append(Line(middle + _LABEL / 3, top - _GAP, text, _LABEL, _INK, rising=True))
        else:
            lines.append(Line(middle, top - _GAP, text, _LABEL, _INK, anchor="middle"))
    for number, word in enumerate(panel.rows):
        y = top + number * _ROW_HEIGHT
        baseline = y + _ROW_HEIGHT / 2 + _FIGURE / 3
        lines.append(Line(left - _GAP, baseline, shortened(word, _ROW_LIMIT), _LABEL, _INK, anchor="end"))
        for place, value in enumerate(map(float, panel.values[number])):
            color = scale_color(value) if not math.isnan(value) else None
            fill, ink = (_NO_MASS, _FAINT) if color is None else (hex_color(color), hex_color(ink_on(color)))
            tip = f"{word} → {panel.columns[place]}: {per_cent(value)} %"
            boxes.append(Box(left + place * frame.column, y, frame.column - 2, _ROW_HEIGHT - 2, fill, tip))
            middle = left + (place + 0.5) * frame.column - 1
            lines.append(Line(middle, baseline, per_cent(value), _FIGURE, ink, anchor="middle"))
    end = top + len(panel.rows) * _ROW_HEIGHT + _NOTE + _GAP / 2
    lines += [Line(x, end + _LINE_HEIGHT * place, note, _NOTE, _FAINT) for place, note in enumerate(panel.notes)]
    return boxes, lines
