"""A sequential color scale for shares: light to dark blue, even in lightness, the same to color-blind readers."""

from __future__ import annotations

from itertools import pairwise

Color = tuple[int, int, int]

# Blues of OKLCH hue 240-262 at lightness 0.975, 0.844, 0.713, 0.582, 0.451, 0.32: equal steps for the eye. What tells
# them apart is lightness alone, so they stay in order for every kind of color vision and in grey print.
_ANCHORS: tuple[Color, ...] = (
    (0xF1, 0xF8, 0xFD), (0xAD, 0xD1, 0xED), (0x6C, 0xA9, 0xDD), (0x37, 0x7E, 0xC5), (0x21, 0x54, 0x99),
    (0x1A, 0x31, 0x5E),
)  # fmt: skip
_SHADES = "░▒▓█"


def scale_color(value: float) -> Color:
    """Return the color of a share in [0, 1] (clipped to it) as red, green and blue in 0-255."""
    place = min(max(value, 0.0), 1.0) * (len(_ANCHORS) - 1)
    step = min(int(place), len(_ANCHORS) - 2)
    low, high = list(pairwise(_ANCHORS))[step]
    red, green, blue = (round(a + (b - a) * (place - step)) for a, b in zip(low, high, strict=True))
    return red, green, blue


def ink_on(background: Color) -> Color:
    """Return white or black, whichever is easier to read on ``background``: contrast at least 4.5 (WCAG 2.2, AA)."""
    light = luminance(background)
    return (255, 255, 255) if 1.05 / (light + 0.05) > (light + 0.05) / 0.05 else (0, 0, 0)


def luminance(color: Color) -> float:
    """Return the relative luminance of a color, in [0, 1], as WCAG 2.2 defines it."""
    parts = [part / 255 for part in color]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def hex_color(color: Color) -> str:
    """Write a color as ``#rrggbb``."""
    return "#{:02x}{:02x}{:02x}".format(*color)


def shade(value: float) -> str:
    """Return a block character for a share in [0, 1], for where there is no color: the fuller, the larger."""
    rounded = round(max(value, 0.0), 2)  # as the number beside it, so that equal numbers look alike
    return _SHADES[min(int(rounded * len(_SHADES)), len(_SHADES) - 1)]
