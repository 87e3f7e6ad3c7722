"""How the plots look: a line's color, dash and marker by its role, so that color is never the only cue.

Colors are drawn as fixed sentinels and replaced by CSS variables in the finished SVG, so that one drawing serves the
light, the dark and the printed page. The palette is Okabe and Ito's (2008), safe for every kind of color vision.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kivuko.report.low_resource.series import OTHER, TRANSPORT, WITHOUT
from kivuko.report.low_resource.study import LEXICAL, MSE, TEACHER, TRANSLATE_TEST

INK, QUIET, RULE = "#1b1b1a", "#5f5f5e", "#d9d9d8"
FONT = "DejaVu Sans"  # ships with matplotlib, so the layout is the same on every machine


@dataclass(frozen=True)
class Style:
    """``variable``: the CSS variable that takes the color's place; ``dash`` as matplotlib takes it."""

    color: str
    variable: str
    dash: Any
    marker: str
    width: float = 1.6
    hatch: str = ""


STYLES = {
    TRANSPORT: Style("#0072b2", "--transport", "-", "o", 2.2),
    WITHOUT: Style("#d55e00", "--without", (0, (5, 1.5)), "s", 1.8, "////"),
    MSE: Style("#009e73", "--mse", (0, (6, 1.5, 1.2, 1.5)), "^"),
    TRANSLATE_TEST: Style("#cc79a7", "--translate", (0, (1.2, 1.4)), "D"),
    LEXICAL: Style("#e69f00", "--lexical", (0, (3, 1.2)), "v"),
    TEACHER: Style("#6b6b6a", "--teacher", (0, (1, 2.4)), "", 1.4),
    OTHER: Style("#b9b9b8", "--other", "-", "", 0.8),
}
VARIABLES = {INK: "--ink", QUIET: "--quiet", RULE: "--rule"} | {s.color: s.variable for s in STYLES.values()}
"""Sentinel color to the CSS variable that replaces it."""

SETTINGS: Any = {  # Any: matplotlib types its keys one by one, from a version of its own on
    "svg.fonttype": "none",
    "svg.hashsalt": "kivuko",
    "font.family": "sans-serif",
    "font.sans-serif": [FONT],
    "font.size": 10,
    "axes.unicode_minus": True,
    "axes.edgecolor": RULE,
    "axes.labelcolor": QUIET,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "text.parse_math": False,  # a recipe called $x$ is no formula
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": QUIET,
    "ytick.labelcolor": QUIET,
    "ytick.major.size": 0,
    "hatch.linewidth": 0.9,
}
