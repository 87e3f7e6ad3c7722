"""An image of search results: each query in its script, with its nearest images next to it."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from kivuko.fonts import Font, font_for
from kivuko.text import script_of

_CELL, _GAP, _TEXT, _HEADER = 96, 10, 330, 54
_CAPTION, _CAPTION_LINE, _CAPTION_LINES = 11, 15, 2  # size of captions, and of their lines
# Okabe and Ito's colors, distinct for color-blind readers; so is the thickness of the frame.
_RIGHT, _INK, _FAINT, _PAPER = "#009E73", "#1b1b1b", "#6b6b6b", "#ffffff"


@dataclass(frozen=True)
class ResultRow:
    """One query and its images, best first, with captions below them."""

    query: str
    language: str
    script: str
    english: str
    images: Sequence[Image.Image]
    right: int | None = None  # place of the wanted image, None if it is not shown
    captions: Sequence[str] = ()


def results_image(rows: Sequence[ResultRow], title: str, note: str = "") -> Image.Image:
    """Draw the rows as one RGB image; the wanted image has a thick green frame. An empty title takes no room."""
    columns = max((len(row.images) for row in rows), default=1)
    width = _TEXT + columns * (_CELL + _GAP) + _GAP
    header = _HEADER if title else _GAP
    below = _CAPTION_LINE * _CAPTION_LINES if any(row.captions for row in rows) else 0
    step = _CELL + below + _GAP
    height = header + len(rows) * step + (30 if note else _GAP)
    canvas = Image.new("RGB", (width, height), _PAPER)
    pen = ImageDraw.Draw(canvas)
    pen.text((_GAP, 14), title, font=_fitted(pen, title, "Latn", 22, width - 2 * _GAP, bold=True), fill=_INK)
    for number, row in enumerate(rows):
        top = header + number * step
        if title or number:
            pen.line([(0, top - _GAP // 2), (width, top - _GAP // 2)], fill="#e4e4e4")
        _draw_query(pen, row, top)
        for place, image in enumerate(row.images):
            left = _TEXT + place * (_CELL + _GAP)
            canvas.paste(
                image.convert("RGB").resize((_CELL - 8, _CELL - 8), Image.Resampling.LANCZOS),
                (left + 4, top + 4),
            )
            if place == row.right:
                pen.rectangle((left, top, left + _CELL - 1, top + _CELL - 1), outline=_RIGHT, width=4)
        for place, caption in enumerate(row.captions):
            _draw_caption(pen, caption, _TEXT + place * (_CELL + _GAP), top + _CELL)
    if note:
        pen.text((_GAP, height - 24), note, font=font_for("Latn", 13), fill=_FAINT)
    return canvas


def _draw_query(pen: ImageDraw.ImageDraw, row: ResultRow, top: int) -> None:
    room = _TEXT - 2 * _GAP
    pen.text((_GAP, top + 4), row.language, font=font_for("Latn", 14), fill=_FAINT)
    pen.text((_GAP, top + 26), row.query, font=_fitted(pen, row.query, row.script, 23, room, bold=True), fill=_INK)
    pen.text((_GAP, top + 64), row.english, font=_fitted(pen, row.english, "Latn", 15, room), fill=_FAINT)


def _draw_caption(pen: ImageDraw.ImageDraw, caption: str, left: int, top: int) -> None:
    """Write a caption into the width of a cell, centered, in as many lines as there is room for."""
    font, room = font_for(script_of(caption), _CAPTION), _CELL
    words, lines = caption.split(), list[str]()
    while words and len(lines) < _CAPTION_LINES:
        line = words.pop(0)
        while words and pen.textlength(f"{line} {words[0]}", font=font) <= room:
            line += f" {words.pop(0)}"
        lines.append(line)
    if words:
        lines[-1] += f" {words[0]}"
    for number, line in enumerate(lines):
        shown, cut = line, bool(words) and number == len(lines) - 1
        while len(shown) > 1 and pen.textlength(shown + "…" * cut, font=font) > room:
            shown, cut = shown[:-1].rstrip(), True
        shown += "…" * cut
        x = left + (room - pen.textlength(shown, font=font)) / 2
        pen.text((x, top + number * _CAPTION_LINE), shown, font=font, fill=_INK)


def _fitted(pen: ImageDraw.ImageDraw, text: str, script: str, size: int, room: int, bold: bool = False) -> Font:
    """Return the largest font up to ``size`` pixels, and at least 9, in which ``text`` fits into ``room`` pixels."""
    while size > 9 and pen.textlength(text, font=font_for(script, size, bold)) > room:
        size -= 1
    return font_for(script, size, bold)
