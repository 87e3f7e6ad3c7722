"""Heat maps of shares between words, side by side: as an image, as SVG, or as a table in the terminal.

Not by matplotlib: the SVG keeps its text as text, with a tooltip per share and a description for screen readers.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from rich.cells import cell_len
from rich.style import Style
from rich.table import Table
from rich.text import Text

from kivuko.errors import UsageError
from kivuko.fonts import draw_line, is_right_to_left, line_width, shortened

# Larger images cost minutes and hundreds of megabytes to draw, and many viewers do not open them.
_MOST_PIXELS = 64_000_000
_ISOLATE, _END_ISOLATE = "\u2067", "\u2069"  # right-to-left isolate, pop directional isolate (UAX 9)
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_FONTS = (
    "'Noto Sans', 'Noto Sans Devanagari', 'Noto Sans Arabic', 'Noto Sans Ethiopic', 'Noto Sans Thai', "
    "'Noto Sans CJK SC', system-ui, 'Segoe UI', 'Nirmala UI', 'Kohinoor Devanagari', 'Geeza Pro', Kefa, Nyala, "
    "sans-serif"
)

Color = tuple[int, int, int]
# Blues of OKLCH hue 240-262 at lightness 0.975, 0.844, 0.713, 0.582, 0.451, 0.32: equal steps for the eye. They
# differ in lightness alone, so they stay in order for every kind of color vision and in gray print.
_ANCHORS: tuple[Color, ...] = (
    (0xF1, 0xF8, 0xFD), (0xAD, 0xD1, 0xED), (0x6C, 0xA9, 0xDD), (0x37, 0x7E, 0xC5), (0x21, 0x54, 0x99),
    (0x1A, 0x31, 0x5E),
)  # fmt: skip
_SHADES = "░▒▓█"  # for terminals without color

_INK, _FAINT, _NO_MASS = "#1b1b1b", "#5f5f5f", "#eeeeee"
_LABEL, _FIGURE, _TITLE, _NOTE = 16, 14, 17, 13  # sizes of lettering
_MARGIN, _GAP = 20, 8
_ROW_HEIGHT, _LINE_HEIGHT = 36, 20
_NARROWEST, _WIDEST = 46, 104  # of a column
_ROW_LIMIT, _COLUMN_LIMIT = 22, 18  # grapheme clusters of a word that are shown
_PAGE = 1400  # panels beyond this width go below
_SLANT = math.sqrt(0.5)

# A terminal that reorders right-to-left text would take the figures of the row along; these marks hold them back.
_LEFT_TO_RIGHT_MARK = "\u200e"
_TABLE_ROW_LIMIT, _TABLE_COLUMN_LIMIT, _SHORTEST_LIMIT = 18, 14, 6  # the same in the terminal
_CELL = 5  # characters of a cell


@dataclass(frozen=True, eq=False)
class Panel:
    """One heat map."""

    title: str
    rows: Sequence[str]  # the words at its left
    columns: Sequence[str]  # the words above it
    values: NDArray[np.float64]  # [rows, columns] in [0, 1]; NaN throughout a row that has nothing to share
    notes: Sequence[str] = field(default=())  # lines below it

    def __post_init__(self) -> None:
        if self.values.shape != (len(self.rows), len(self.columns)) or not self.values.size:
            raise UsageError(
                f"values have shape {list(self.values.shape)}: give [{len(self.rows)}, {len(self.columns)}], not empty"
            )


@dataclass(frozen=True)
class Box:
    """A filled rectangle; ``tip`` is what a viewer of the SVG shows under the pointer."""

    left: float
    top: float
    width: float
    height: float
    fill: str
    tip: str = ""


@dataclass(frozen=True)
class Line:
    """A line of text whose baseline is at ``y``; ``x`` is its start, middle or end, as ``anchor`` says.

    ``rising``: turned by 45 degrees about (x, y), counter-clockwise; the anchor is then "start".
    """

    x: float
    y: float
    text: str
    size: int
    fill: str
    anchor: str = "start"
    bold: bool = False
    rising: bool = False


@dataclass(frozen=True)
class Drawing:
    """Boxes first, then lines over them; lengths in pixels of a screen at 96 to the inch."""

    width: float
    height: float
    boxes: Sequence[Box]
    lines: Sequence[Line]
    paper: str = "#ffffff"


@dataclass(frozen=True)
class _Frame:
    """The room that the parts of a panel take, in pixels."""

    label: float  # width of the row words
    head: float  # height of the column words
    column: float
    rising: bool
    width: float
    height: float


def heat_map_image(
    panels: Sequence[Panel], title: Sequence[str] = (), notes: Sequence[str] = (), scale: int = 2
) -> Image.Image:
    """Draw panels side by side, as many to a row as fit, as an RGB image."""
    return to_image(_drawing(panels, title, notes), scale)


def heat_map_svg(panels: Sequence[Panel], title: Sequence[str] = (), notes: Sequence[str] = ()) -> str:
    """Write the same as a standalone SVG document; a screen reader hears the largest share of each word."""
    heard = " ".join(_spoken(panel) for panel in panels)
    return to_svg(_drawing(panels, title, notes), " ".join(title) or "Heat map", " ".join((heard, *notes)).strip())


def heat_map_table(panel: Panel, width: int, in_color: bool, top: int = 3) -> Table:
    """Return a panel as a table at most ``width`` wide; if too wide, the ``top`` largest shares of each row."""
    room = width - max(cell_len(shortened(word, _TABLE_ROW_LIMIT)) for word in panel.rows) - 1
    for limit in range(_TABLE_COLUMN_LIMIT, _SHORTEST_LIMIT - 1, -1):
        columns = [shortened(word, limit) for word in panel.columns]
        if sum(max(_CELL, cell_len(word)) + 1 for word in columns) <= room:
            return _cells(panel, columns, in_color)
    return _largest(panel, top)


def per_cent(value: float) -> str:
    """Write a share as the number in a cell: whole per cent; a dash for NaN."""
    return "–" if math.isnan(value) else f"{100 * value:.0f}"


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


def _page_rows(framed: list[tuple[Panel, _Frame]]) -> list[list[tuple[Panel, _Frame]]]:
    """Fill rows of the page from left to right, evenly: four panels are two and two, not three and one."""
    rows = list(_filled_rows(framed))
    share = -(-len(framed) // max(1, len(rows)))
    even = [framed[first : first + share] for first in range(0, len(framed), share)]
    widths = [sum(one.width for _, one in row) + 2 * _MARGIN * (len(row) - 1) for row in even]
    return even if len(even) == len(rows) and max(widths) <= _PAGE else rows


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


def _spoken(panel: Panel) -> str:
    best = []
    for word, row in zip(panel.rows, panel.values, strict=True):
        column = 0 if np.isnan(row).all() else int(np.nanargmax(row))
        share = "nothing" if np.isnan(row).all() else f"{panel.columns[column]} {per_cent(row[column])} %"
        best.append(f"{word}: {share}")
    return f"{panel.title}: {', '.join(best)}."


def _table(*columns: str | Text, **options: Any) -> Table:
    """Return a table without rows: the words at its left, then these columns."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", justify="right", no_wrap=True)
    for column in columns:
        table.add_column(column, **options)
    return table


def _cells(panel: Panel, columns: list[str], in_color: bool) -> Table:
    table = _table(*(Text(_held(word)) for word in columns), justify="center", no_wrap=True)
    widths = [max(_CELL, cell_len(word)) for word in columns]
    for word, row in zip(panel.rows, panel.values, strict=True):
        cells = [_cell(value, width, in_color) for width, value in zip(widths, map(float, row), strict=True)]
        table.add_row(Text(_held(shortened(word, _TABLE_ROW_LIMIT))), *cells)
    return table


def _cell(value: float, width: int, in_color: bool) -> Text:
    if math.isnan(value):
        return Text(per_cent(value).center(width), style="dim")
    if not in_color:
        return Text(f"{shade(value)}{per_cent(value):>{_CELL - 2}}")
    background = scale_color(value)
    style = Style(color=hex_color(ink_on(background)), bgcolor=hex_color(background))
    return Text(f"{per_cent(value):>3}".center(width), style=style)


def _largest(panel: Panel, top: int) -> Table:
    table = _table(f"the {top} largest shares, in per cent", overflow="fold")
    for word, row in zip(panel.rows, panel.values, strict=True):
        order = [] if np.isnan(row).all() else list(np.argsort(-row, kind="stable")[:top])
        shares = ", ".join(f"{_held(panel.columns[place])} {per_cent(row[place])}" for place in order)
        table.add_row(Text(_held(shortened(word, _TABLE_ROW_LIMIT))), Text(shares or "–"))
    return table


def _held(word: str) -> str:
    return f"{_LEFT_TO_RIGHT_MARK}{word}{_LEFT_TO_RIGHT_MARK}" if is_right_to_left(word) else word


def to_image(drawing: Drawing, scale: int = 2) -> Image.Image:
    width, height = round(drawing.width), round(drawing.height)
    scale = scale if width * height * scale * scale <= _MOST_PIXELS else 1
    if width * height * scale * scale > _MOST_PIXELS:
        raise UsageError(f"an image of {width} x {height} pixels is too large: give a shorter text, or write SVG.")
    canvas = Image.new("RGB", (width * scale, height * scale), drawing.paper)
    pen = ImageDraw.Draw(canvas)
    for box in drawing.boxes:
        left, top = round(box.left * scale), round(box.top * scale)
        right, bottom = round((box.left + box.width) * scale), round((box.top + box.height) * scale)
        pen.rectangle((left, top, right - 1, bottom - 1), fill=box.fill)
    for line in drawing.lines:
        if line.rising:
            _draw_rising(canvas, line, scale)
        else:
            back = {"start": 0.0, "middle": 0.5, "end": 1.0}[line.anchor]
            start = line.x * scale - back * line_width(line.text, line.size * scale, line.bold)
            draw_line(pen, (start, line.y * scale), line.text, line.size * scale, line.fill, line.bold)
    return canvas


def _draw_rising(canvas: Image.Image, line: Line, scale: int) -> None:
    size = line.size * scale
    half = round(line_width(line.text, size, line.bold)) + 2 * size
    stencil = Image.new("L", (2 * half, 2 * half), 0)
    draw_line(ImageDraw.Draw(stencil), (half, half), line.text, size, "white", line.bold)
    turned = stencil.rotate(45, resample=Image.Resampling.BICUBIC)
    place = (round(line.x * scale) - half, round(line.y * scale) - half)
    canvas.paste(Image.new("RGB", turned.size, line.fill), place, turned)


def to_svg(drawing: Drawing, title: str, description: str) -> str:
    width, height = _number(drawing.width), _number(drawing.height)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img" aria-labelledby="title description" font-family={quoteattr(_FONTS)}>',
        f'<title id="title">{_text(title)}</title>',
        f'<desc id="description">{_text(description)}</desc>',
        f'<rect width="{width}" height="{height}" fill="{drawing.paper}"/>',
        *map(_box_element, drawing.boxes),
        *map(_line_element, drawing.lines),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _box_element(box: Box) -> str:
    rectangle = (
        f'<rect x="{_number(box.left)}" y="{_number(box.top)}" width="{_number(box.width)}" '
        f'height="{_number(box.height)}" fill="{box.fill}"'
    )
    return f"{rectangle}><title>{_text(box.tip)}</title></rect>" if box.tip else f"{rectangle}/>"


def _line_element(line: Line) -> str:
    settings = f'x="{_number(line.x)}" y="{_number(line.y)}" font-size="{line.size}" fill="{line.fill}"'
    if line.anchor != "start":
        settings += f' text-anchor="{line.anchor}"'
    if line.bold:
        settings += ' font-weight="bold"'
    if line.rising:
        settings += f' transform="rotate(-45 {_number(line.x)} {_number(line.y)})"'
    # The isolate characters, not the attribute direction="rtl": that one also swaps the ends that text-anchor means,
    # and not every viewer knows it.
    text = f"{_ISOLATE}{line.text}{_END_ISOLATE}" if is_right_to_left(line.text) else line.text
    return f"<text {settings}>{_text(text)}</text>"


def _text(text: str) -> str:
    """Escape for XML 1.0; characters that it has no place for become U+FFFD."""
    return escape(_NOT_IN_XML.sub("\ufffd", text))


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def scale_color(value: float) -> Color:
    """Return the color of a share in [0, 1] (clipped to it), 0-255 each."""
    place = min(max(value, 0.0), 1.0) * (len(_ANCHORS) - 1)
    step = min(int(place), len(_ANCHORS) - 2)
    low, high = list(pairwise(_ANCHORS))[step]
    red, green, blue = (round(a + (b - a) * (place - step)) for a, b in zip(low, high, strict=True))
    return red, green, blue


def shade(value: float) -> str:
    """Return a block character for a share in [0, 1], for where there is no color."""
    rounded = round(max(value, 0.0), 2)  # as the number next to it, so that equal numbers look alike
    return _SHADES[min(int(rounded * len(_SHADES)), len(_SHADES) - 1)]


def ink_on(background: Color) -> Color:
    """Return white or black: contrast at least 4.5 with ``background`` (WCAG 2.2, AA)."""
    light = luminance(background)
    return (255, 255, 255) if 1.05 / (light + 0.05) > (light + 0.05) / 0.05 else (0, 0, 0)


def luminance(color: Color) -> float:
    """Return the relative luminance of a color, in [0, 1], as WCAG 2.2 defines it."""
    parts = [part / 255 for part in color]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def hex_color(color: Color) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)
