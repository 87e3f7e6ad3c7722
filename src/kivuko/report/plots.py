"""Small plots as SVG for a page: lines with bands over seeds, and groups of bars, distinguished by role.

Colors are drawn as fixed sentinels and replaced by CSS variables, so that one drawing serves the light, the dark and
the printed page. The palette is Okabe and Ito's (2008); dash, marker and hatching tell roles apart as well.
"""

from __future__ import annotations

import contextlib
import io
import math
import re
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from kivuko.errors import MissingDependencyError
from kivuko.evaluation.statistics import Interval
from kivuko.report.formatting import DASH, figure, spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FIRST, SECOND, OTHER = "first", "second", "other"
MSE, TRANSLATE_TEST, LEXICAL, TEACHER = "mse", "translate-test", "lexical", "teacher"
HARDENED, TOWER = "hardened", "tower"

INK, QUIET, RULE = "#1b1b1a", "#5f5f5e", "#d9d9d8"
FONT = "DejaVu Sans"  # ships with matplotlib, so the layout is the same on every machine


@dataclass(frozen=True)
class Style:
    color: str
    variable: str
    dash: Any
    marker: str
    width: float = 1.6
    hatch: str = ""


STYLES = {
    FIRST: Style("#0072b2", "--transport", "-", "o", 2.2),
    SECOND: Style("#d55e00", "--without", (0, (5, 1.5)), "s", 1.8, "////"),
    MSE: Style("#009e73", "--mse", (0, (6, 1.5, 1.2, 1.5)), "^"),
    TRANSLATE_TEST: Style("#cc79a7", "--translate", (0, (1.2, 1.4)), "D"),
    LEXICAL: Style("#e69f00", "--lexical", (0, (3, 1.2)), "v"),
    TEACHER: Style("#6b6b6a", "--teacher", (0, (1, 2.4)), "", 1.4),
    OTHER: Style("#b9b9b8", "--other", "-", "", 0.8),
}
STYLES |= {HARDENED: STYLES[MSE], TOWER: STYLES[LEXICAL]}  # no plot shows both of a pair
VARIABLES = {INK: "--ink", QUIET: "--quiet", RULE: "--rule"} | {s.color: s.variable for s in STYLES.values()}
"""Sentinel color to the CSS variable that replaces it."""

_SETTINGS: Any = {  # Any: matplotlib types its keys one by one, from a version of its own on
    "svg.fonttype": "none", "svg.hashsalt": "kivuko",
    "font.family": "sans-serif", "font.sans-serif": [FONT], "font.size": 10,
    "axes.unicode_minus": True, "axes.edgecolor": RULE, "axes.labelcolor": QUIET,
    "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "axes.grid.axis": "y", "axes.axisbelow": True,
    "grid.color": RULE, "grid.linewidth": 0.6,
    "text.color": INK, "text.parse_math": False,  # a recipe called $x$ is no formula
    "xtick.color": RULE, "ytick.color": RULE, "xtick.labelcolor": QUIET, "ytick.labelcolor": QUIET,
    "ytick.major.size": 0, "hatch.linewidth": 0.9,
}  # fmt: skip
_INCH = 72  # units of the SVG's view box to matplotlib's inch
_WIDTH, _HEIGHT, _AXES_WIDTH, _AXES_HEIGHT = 340, 252, 200, 174
_KEY_ROW = 15.0  # height of a row of a panel's key, in units of the view box
_LABEL_GAP = 13.0  # between labels, in units of the view box
_CHARACTER = 6.0  # width of a tick's character, likewise


@dataclass(frozen=True)
class Line:
    """One line: its role, its label, and its intervals by place on the x axis; ``points[None]`` holds everywhere."""

    role: str
    label: str
    points: Mapping[float | None, Interval]


@dataclass(frozen=True)
class Axis:
    """The axes that the panels of one row share."""

    places: Sequence[float]
    ticks: Sequence[str]
    label: str
    low: float
    high: float
    what: str = "MAP"
    log: bool = False
    banded: Sequence[str] | None = None
    spoken: Callable[[float], str] = " at {:g}".format


@dataclass(frozen=True)
class Bar:
    role: str
    label: str
    value: Interval


BarGroup = tuple[str, Sequence[Bar]]  # a label (language) and its bars


def line_panel(title: str, lines: Sequence[Line], axis: Axis, prefix: str, spoken: str = "") -> Markup:
    """Draw lines, from back to front, with bands over seeds, each labeled at its end; return SVG.

    ``prefix``: of every id, unique on the page; ``spoken``: the title for a screen reader, if another.
    """
    with _plotting():
        from matplotlib.figure import Figure

        image = Figure(figsize=(_WIDTH / _INCH, _HEIGHT / _INCH), dpi=_INCH, facecolor="none")
        box = (40 / _WIDTH, 40 / _HEIGHT, _AXES_WIDTH / _WIDTH, _AXES_HEIGHT / _HEIGHT)
        axes = image.add_axes(box, facecolor="none")
        image.text(6 / _WIDTH, 1 - 17 / _HEIGHT, _drawable(title), fontsize=12, fontweight="bold")
        _set_axes(axes, axis)
        for line in lines:
            _draw_line(axes, line, axis)
        _label_ends(axes, [line for line in lines if line.role != OTHER], axis)
        return _inline_svg(image, prefix, _spoken_lines(spoken or title, lines, axis))


def _set_axes(axes: Axes, axis: Axis) -> None:
    first, last = axis.places[0], axis.places[-1]
    if axis.log:
        axes.set_xscale("log")
        pad = 0.06 * math.log10(last / first)
        # A single size is drawn near the labels: long threads to them would look like trends.
        axes.set_xlim(*((first / 10**pad, last * 10**pad) if pad else (first / 10, last * 10**0.1)))
    else:
        pad = 0.03 * (last - first) or 1.0
        axes.set_xlim(first - pad, last + pad)
    axes.set_xticks(*_ticks(axes, axis))
    axes.set_xticks([], minor=True)
    axes.set_xlabel(_drawable(axis.label))
    axes.set_ylim(axis.low, axis.high)
    axes.set_title(axis.what, loc="left", fontsize=9, color=QUIET, x=-0.16, pad=4)
    if axis.low < 0:
        axes.axhline(0, color=QUIET, linewidth=1)


def _ticks(axes: Axes, axis: Axis) -> tuple[list[float], list[str]]:
    """Return the ticks that do not run into the one before them; the last one stays."""
    kept: list[tuple[float, str]] = []
    for place, name in zip(axis.places, axis.ticks, strict=True):
        close = bool(kept) and _AXES_WIDTH * (_share(axes, place) - _share(axes, kept[-1][0])) < _CHARACTER * len(name)
        if close and place == axis.places[-1]:
            kept.pop()
        if not close or place == axis.places[-1]:
            kept.append((place, name))
    return [place for place, _ in kept], [name for _, name in kept]


def _share(axes: Axes, place: float) -> float:
    """Return where a place is on the x axis, from 0 (left) to 1."""
    return float(axes.transAxes.inverted().transform(axes.transData.transform((place, axes.get_ylim()[0])))[0])


def _draw_line(axes: Axes, line: Line, axis: Axis) -> None:
    style = STYLES[line.role]
    look: dict[str, Any] = {"color": style.color, "linewidth": style.width, "linestyle": style.dash}
    if None in line.points:
        axes.axhline(line.points[None].mean, **look)
        return
    places = sorted(place for place in line.points if place is not None)
    marker = style.marker or ("." if len(places) == 1 else None)  # a line of one point would not be seen
    axes.plot(places, [line.points[place].mean for place in places], marker=marker, markersize=5, **look)
    if line.role == OTHER or (axis.banded is not None and line.role not in axis.banded):
        return
    low, high = [line.points[place].low for place in places], [line.points[place].high for place in places]
    if len(places) == 1:  # a band needs width
        axes.vlines(places, low, high, color=style.color, linewidth=1)
    else:
        axes.fill_between(places, low, high, color=style.color, alpha=0.14, linewidth=0)


def _label_ends(axes: Axes, lines: Sequence[Line], axis: Axis) -> None:
    """Write each line's name next to its end, pushed apart where they would overlap, with a thread to the end."""
    unit = (axis.high - axis.low) / _AXES_HEIGHT  # of the y axis, per unit of the view box
    left, right = axes.get_xlim()

    def beyond(share: float) -> float:
        """Return the place so far to the right of the axes, as a share of their width."""
        return float(right * (right / left) ** share if axis.log else right + share * (right - left))

    ends = sorted(((*_end(line, right), line) for line in lines), key=lambda end: (end[1], end[2].role))
    heights = spread_apart([y for _, y, _ in ends], _LABEL_GAP * unit, axis.low, axis.high)
    for (x, y, line), height in zip(ends, heights, strict=True):
        style, thread = STYLES[line.role], beyond(0.045)
        axes.plot([x, thread], [y, height], color=style.color, linewidth=0.5, clip_on=False)
        if style.marker:
            axes.plot([thread], [height], color=style.color, marker=style.marker, markersize=4.5, clip_on=False)
        axes.text(beyond(0.09), height, _drawable(line.label), fontsize=9.5, va="center", color=INK)


def _end(line: Line, right: float) -> tuple[float, float]:
    if None in line.points:
        return right, line.points[None].mean
    last = max(place for place in line.points if place is not None)
    return last, line.points[last].mean


def spread_apart(heights: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move ascending heights apart to ``gap``, each as little as may be, staying between ``low`` and ``high``."""
    moved = list(heights)
    for _ in range(200):
        for place in range(1, len(moved)):
            short = gap - (moved[place] - moved[place - 1])
            if short > 0:
                moved[place - 1] -= short / 2
                moved[place] += short / 2
        for place, height in enumerate(moved):
            moved[place] = min(max(height, low), high)
    return moved


def bar_panel(
    title: str, groups: Sequence[BarGroup], limit: float, label: str, prefix: str, spoken: str = ""
) -> Markup:
    """Draw groups of horizontal bars, from top to bottom, each with its figure at the end; return SVG.

    ``limit``: right end of the axis, the same for panels side by side; ``label``: of the axis.
    """
    roles = {bar.role: bar.label for _, bars in groups for bar in bars}
    row = 13.0
    key = key_places(roles) if len(roles) > 1 else []
    margin = 78 + _KEY_ROW * (key[-1][3] if key else 0)  # above and below the bars
    height = margin + sum(row * len(bars) + 9 for _, bars in groups)
    with _plotting():
        from matplotlib.figure import Figure

        image = Figure(figsize=(_WIDTH / _INCH, height / _INCH), dpi=_INCH, facecolor="none")
        axes = image.add_axes((112 / _WIDTH, 32 / height, 212 / _WIDTH, (height - margin) / height), facecolor="none")
        image.text(6 / _WIDTH, 1 - 17 / height, _drawable(title), fontsize=12, fontweight="bold")
        _draw_key(image, key, height)
        axes.grid(axis="y", visible=False)
        axes.grid(axis="x", visible=True)
        axes.set_xlim(0, limit)
        axes.set_ylim(height - margin, 0)
        axes.set_xlabel(_drawable(label))
        place, middles = 4.5, []
        for _, bars in groups:
            middles.append(place + row * len(bars) / 2)
            for bar in bars:
                _draw_bar(axes, bar, place + row / 2, limit)
                place += row
            place += 9
        axes.set_yticks(middles, [_drawable(name) for name, _ in groups])
        axes.tick_params(axis="y", labelcolor=INK, labelsize=9.5)
        groups_spoken = [
            f"{name}: {', '.join(f'{b.label} {figure(b.value.mean)}' for b in bars)}." for name, bars in groups
        ]
        return _inline_svg(image, prefix, " ".join([f"{spoken or title}.", *groups_spoken]))


def _draw_bar(axes: Axes, bar: Bar, y: float, limit: float) -> None:
    style, value = STYLES[bar.role], bar.value
    axes.barh(y, value.mean, 10.5, facecolor=style.color if not style.hatch else "none", edgecolor=style.color,
              hatch=style.hatch, linewidth=1)  # fmt: skip
    end = value.mean
    if not value.degenerate:
        axes.plot([max(value.low, 0), value.high], [y, y], color=INK, linewidth=1)
        end = max(end, value.high)
    axes.text(max(end, 0) + 0.015 * limit, y, figure(value.mean), fontsize=8.5, va="center", color=INK)


def key_places(roles: Mapping[str, str]) -> list[tuple[str, str, float, int]]:
    """Return (role, label, left edge, row) of each entry of a panel's key, in as many rows as it takes."""
    places: list[tuple[str, str, float, int]] = []
    left, row = 6.0, 0
    for role, label in roles.items():
        width = 42 + 6.2 * len(label)
        if places and left + width > _WIDTH:
            left, row = 6.0, row + 1
        places.append((role, label, left, row))
        left += width
    return places


def _draw_key(image: Any, places: Sequence[tuple[str, str, float, int]], height: float) -> None:
    from matplotlib.patches import Rectangle

    for role, label, left, row in places:
        style, y = STYLES[role], height - 38 - _KEY_ROW * row
        image.add_artist(
            Rectangle(
                (left / _WIDTH, y / height), 16 / _WIDTH, 9 / height, transform=image.transFigure, linewidth=1,
                facecolor=style.color if not style.hatch else "none", edgecolor=style.color, hatch=style.hatch,
            )
        )  # fmt: skip
        image.text((left + 21) / _WIDTH, (y + 1) / height, _drawable(label), fontsize=9.5, color=INK)


def axis_top(intervals: Iterable[Interval], room: float = 1.06) -> float:
    """Return the end of an axis that holds the intervals."""
    return room * max(max(interval.high for interval in intervals), 1e-3)


def _spoken_lines(title: str, lines: Sequence[Line], axis: Axis) -> str:
    """Return a panel in words for a screen reader."""
    sentences = [f"{title}."]
    for line in lines:
        if line.role != OTHER:
            points = (spread(value) + ("" if x is None else axis.spoken(x)) for x, value in line.points.items())
            sentences.append(f"{line.label}: {', '.join(points) or DASH}.")
    return " ".join(sentences)


def check_plotting() -> None:
    """Raise MissingDependencyError, which names the command to run, where matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as problem:
        raise MissingDependencyError("the page's plots need matplotlib. Run: pip install 'kivuko[report]'") from problem


@contextlib.contextmanager
def _plotting() -> Iterator[None]:
    """Draw in the page's style, whatever matplotlibrc the user keeps; everything is as before afterward."""
    check_plotting()
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # names in scripts that the layout's font lacks: the reader's font draws them
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        yield


_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _drawable(text: str) -> str:
    """Return the text with every character that XML cannot hold replaced by U+FFFD."""
    return _NOT_IN_XML.sub("\ufffd", text)


def _inline_svg(image: Figure, prefix: str, spoken: str) -> Markup:
    """Return the figure as an ``<svg>`` element without fixed size, fixed colors or ids that clash."""
    buffer = io.BytesIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    image.savefig(buffer, format="svg", metadata=nothing)
    root = ElementTree.fromstring(buffer.getvalue())
    for parent in list(root.iter()):
        for child in list(parent):
            # A style element here would restyle the whole page.
            if child.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"):
                parent.remove(child)
    _rename(root, prefix)
    for size in ("width", "height", "version"):
        root.attrib.pop(size, None)
    root.attrib |= {"role": "img", "aria-label": _drawable(spoken), "class": "plot"}
    ElementTree.register_namespace("", _SVG)
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _rename(root: ElementTree.Element, prefix: str) -> None:
    """Prefix ids that something refers to, drop the others, and turn fixed colors and fonts into the page's."""
    used = set()
    for element in root.iter():
        if (target := element.attrib.pop(f"{{{_XLINK}}}href", None)) is not None:
            used.add(target.removeprefix("#"))
            element.set("href", f"#{prefix}-{target.removeprefix('#')}")
        for name, value in element.attrib.items():
            if name != "href" and "url(#" in value:
                used |= set(_REFERENCE.findall(value))
                value = _REFERENCE.sub(lambda match: f"url(#{prefix}-{match[1]})", value)
            element.set(name, _themed(value) if name in ("style", "fill", "stroke") else value)
    for element in root.iter():
        if (name := element.attrib.pop("id", "")) in used:
            element.set("id", f"{prefix}-{name}")


def _themed(style: str) -> str:
    for color, variable in VARIABLES.items():
        style = style.replace(color, f"var({variable}, {color})")
    # matplotlib lists the font of the layout and its kin; the page has its own.
    return re.sub(rf"'{FONT}'[^;]*", "var(--sans, sans-serif)", style)
