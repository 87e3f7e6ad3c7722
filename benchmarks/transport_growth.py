"""How time grows with the batch and with the size of the problems: the rows for it, and a chart of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

from benchmarks.transport_grid import GROWTH_REGULARIZATION, KEY_BATCH, KEY_SIZE

Row = dict[str, Any]
Curve = list[tuple[float, float]]

PANELS = {
    "batch": f"problems of {KEY_SIZE[0]}x{KEY_SIZE[1]}, by batch",
    "size": f"{KEY_BATCH} problems, by cells n x m",
}
_COLORS = (
    "#000000", "#888888", "#bbbbbb", "#d95f02", "#e6ab02", "#1f78b4", "#6a3d9a", "#33a02c", "#a6d854", "#66c2a5",
    "#b2df8a", "#e7298a",
)  # fmt: skip
_WIDTH, _HEIGHT, _LEFT, _TOP, _LEGEND = 420, 340, 60, 40, 210


def growth_curves(rows: Sequence[Row], panel: str) -> dict[str, Curve]:
    """Return for each contender's label its points (batch or n m, seconds) on the centered costs, in order.

    Where it stopped short of the tolerance its time says nothing, and there is no point.
    """
    curves: dict[str, Curve] = {}
    for row in rows:
        if (
            row["kind"] != "centered"
            or row["regularization"] != GROWTH_REGULARIZATION
            or row["within_tolerance"] != 1.0
        ):
            continue
        if panel == "batch" and (row["n"], row["m"]) == KEY_SIZE:
            curves.setdefault(row["label"], []).append((row["batch"], row["seconds"]))
        if panel == "size" and row["batch"] == KEY_BATCH:
            curves.setdefault(row["label"], []).append((row["n"] * row["m"], row["seconds"]))
    return {label: sorted(curve) for label, curve in curves.items() if len(curve) > 1}


def exponent(curve: Curve) -> float:
    """Return the slope of the line from the first to the last point of a curve, on logarithmic axes."""
    (x0, y0), (x1, y1) = curve[0], curve[-1]
    return math.log(y1 / y0) / math.log(x1 / x0)


def growth_chart(rows: Sequence[Row]) -> str | None:
    """Return an SVG with a panel of each growth on logarithmic axes, None if there is nothing to draw."""
    panels = {name: growth_curves(rows, name) for name in PANELS}
    if not all(panels.values()):
        return None
    labels = list(dict.fromkeys(label for curves in panels.values() for label in curves))
    colors = {label: _COLORS[place % len(_COLORS)] for place, label in enumerate(labels)}
    seconds = [y for curves in panels.values() for curve in curves.values() for _, y in curve]
    height = (math.floor(math.log10(min(seconds))), math.ceil(math.log10(max(seconds))))
    parts = [
        _panel(curves, colors, height, PANELS[name], place * _WIDTH)
        for place, (name, curves) in enumerate(panels.items())
    ]
    for place, label in enumerate(labels):
        y = _TOP + 14 + 20 * place
        x = 2 * _WIDTH + 12
        parts.append(
            f'<line x1="{x}" y1="{y - 4}" x2="{x + 24}" y2="{y - 4}" stroke="{colors[label]}" stroke-width="2"/>'
        )
        parts.append(f'<text x="{x + 30}" y="{y}">{escape(label.replace("*", ""))}</text>')
    total = 2 * _WIDTH + _LEGEND
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total} {_HEIGHT}" width="{total}" height="{_HEIGHT}" '
        'font-family="sans-serif" font-size="12"><title>Seconds a call, at regularization '
        f'{GROWTH_REGULARIZATION}</title><rect width="100%" height="100%" fill="white"/>' + "".join(parts) + "</svg>\n"
    )


def _panel(curves: dict[str, Curve], colors: dict[str, str], height: tuple[int, int], title: str, left: int) -> str:
    """Return one panel's axes, titles and lines."""
    places = sorted({x for curve in curves.values() for x, _ in curve})
    low, high = math.log(places[0]), math.log(places[-1])
    bottom, right = _HEIGHT - 50, _WIDTH - 20

    def at_x(value: float) -> float:
        return left + _LEFT + (math.log(value) - low) / (high - low) * (right - _LEFT)

    def at_y(value: float) -> float:
        return bottom - (math.log10(value) - height[0]) / max(1, height[1] - height[0]) * (bottom - _TOP)

    parts = [f'<text x="{left + _LEFT}" y="20" font-weight="bold">{escape(title)}</text>']
    for power in range(height[0], height[1] + 1):
        y = at_y(10.0**power)
        parts.append(f'<line x1="{left + _LEFT}" y1="{y:.1f}" x2="{left + right}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{left + _LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_seconds(power)}</text>')
    for value in places:
        parts.append(f'<text x="{at_x(value):.1f}" y="{bottom + 18}" text-anchor="middle">{value:g}</text>')
    for label, curve in curves.items():
        points = " ".join(f"{at_x(x):.1f},{at_y(y):.1f}" for x, y in curve)
        width = 3 if label.startswith("**") else 1.5
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colors[label]}" stroke-width="{width}"/>')
    return "".join(parts)


def _seconds(power: int) -> str:
    if power >= 0:
        return f"{10**power} s"
    return f"{10 ** (power + 3)} ms" if power >= -3 else f"{10 ** (power + 6)} µs"
