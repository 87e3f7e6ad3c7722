"""A heat map for the terminal: shaded cells, or the largest shares of each word where the cells do not fit."""

from __future__ import annotations

import math

import numpy as np
from rich.cells import cell_len
from rich.style import Style
from rich.table import Table
from rich.text import Text

from kivuko.evaluation.tables import compact_table
from kivuko.report.heat_map import Panel, hex_color, ink_on, per_cent, scale_color, shade
from kivuko.report.result_image import is_right_to_left, shortened

# A terminal that reorders right-to-left text would take the figures of the row along; these marks hold them back.
_LEFT_TO_RIGHT_MARK = "\u200e"
_ROW_LIMIT, _COLUMN_LIMIT, _SHORTEST_LIMIT = 18, 14, 6  # grapheme clusters of a word that are shown
_CELL = 5  # characters of a cell


def heat_map_table(panel: Panel, width: int, in_color: bool, top: int = 3) -> Table:
    """Return a panel, less its title and notes, as a table of at most ``width`` characters, if its words allow.

    Column words are shortened as much as needed, down to six letters. Where that is not enough, each row lists its
    ``top`` largest shares instead.

    Args:
        in_color: whether the terminal shows enough colors to tell the shares apart by them; if not, the cells hold
            block characters.
    """
    room = width - max(cell_len(shortened(word, _ROW_LIMIT)) for word in panel.rows) - 1
    for limit in range(_COLUMN_LIMIT, _SHORTEST_LIMIT - 1, -1):
        columns = [shortened(word, limit) for word in panel.columns]
        if sum(max(_CELL, cell_len(word)) + 1 for word in columns) <= room:
            return _cells(panel, columns, in_color)
    return _largest(panel, top)


def _cells(panel: Panel, columns: list[str], in_color: bool) -> Table:
    table = compact_table("")
    table.add_column("", justify="right", no_wrap=True)
    for word in columns:
        table.add_column(Text(_held(word)), justify="center", no_wrap=True)
    for word, row in zip(panel.rows, panel.values, strict=True):
        cells = []
        for heading, value in zip(columns, map(float, row), strict=True):
            cells.append(_cell(value, max(_CELL, cell_len(heading)), in_color))
        table.add_row(Text(_held(shortened(word, _ROW_LIMIT))), *cells)
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
    table = compact_table("")
    table.add_column("", justify="right", no_wrap=True)
    table.add_column(f"the {top} largest shares, in per cent", overflow="fold")
    for word, row in zip(panel.rows, panel.values, strict=True):
        order = [] if np.isnan(row).all() else list(np.argsort(-row, kind="stable")[:top])
        shares = ", ".join(f"{_held(panel.columns[place])} {per_cent(row[place])}" for place in order)
        table.add_row(Text(_held(shortened(word, _ROW_LIMIT))), Text(shares or "–"))
    return table


def _held(word: str) -> str:
    return f"{_LEFT_TO_RIGHT_MARK}{word}{_LEFT_TO_RIGHT_MARK}" if is_right_to_left(word) else word
