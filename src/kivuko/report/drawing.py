"""A drawing of boxes and lines of text, and its two forms: a picture and SVG."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from PIL import Image, ImageDraw

from kivuko.errors import UsageError
from kivuko.report.text_line import draw_line, is_right_to_left, line_width

# Larger pictures cost minutes and hundreds of megabytes to draw, and many viewers do not open them.
_MOST_PIXELS = 64_000_000
_ISOLATE, _END_ISOLATE = "\u2067", "\u2069"  # right-to-left isolate, pop directional isolate (UAX 9)
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_FONTS = (
    "'Noto Sans', 'Noto Sans Devanagari', 'Noto Sans Arabic', 'Noto Sans Ethiopic', 'Noto Sans Thai', "
    "'Noto Sans CJK SC', system-ui, 'Segoe UI', 'Nirmala UI', 'Kohinoor Devanagari', 'Geeza Pro', Kefa, Nyala, "
    "sans-serif"
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
    """A line of text whose baseline is at ``y``.

    ``x`` is where it begins, ends or has its middle, as ``anchor`` says: "start" (left), "end" (right) or "middle".
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


def to_picture(drawing: Drawing, scale: int = 2) -> Image.Image:
    """Draw it as an RGB image of ``scale`` times its size, or of once its size if it is large.

    Raises:
        UsageError: it is too large for a picture.
    """
    width, height = round(drawing.width), round(drawing.height)
    scale = scale if width * height * scale * scale <= _MOST_PIXELS else 1
    if width * height * scale * scale > _MOST_PIXELS:
        raise UsageError(f"a picture of {width} x {height} pixels is too large: give a shorter text, or write SVG.")
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
    """Draw a line on a square stencil of its own, its start in the middle; turn the stencil and lay it on."""
    size = line.size * scale
    half = round(line_width(line.text, size, line.bold)) + 2 * size
    stencil = Image.new("L", (2 * half, 2 * half), 0)
    draw_line(ImageDraw.Draw(stencil), (half, half), line.text, size, "white", line.bold)
    turned = stencil.rotate(45, resample=Image.Resampling.BICUBIC)
    place = (round(line.x * scale) - half, round(line.y * scale) - half)
    canvas.paste(Image.new("RGB", turned.size, line.fill), place, turned)


def to_svg(drawing: Drawing, title: str, description: str) -> str:
    """Write it as a standalone SVG document: text stays text, nothing is fetched from anywhere.

    Args:
        title, description: for those who hear the picture and do not see it.
    """
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
