"""An image of search results: each query in its own script, with its nearest images beside it."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import regex
from PIL import Image, ImageDraw, ImageFont

_FOLDERS = (
    "/usr/share/fonts/truetype/noto", "/usr/share/fonts/opentype/noto", "/usr/share/fonts/noto",
    "/usr/share/fonts/noto-cjk", "/usr/share/fonts/google-noto",
)  # fmt: skip
# Noto's name of the font for each ISO 15924 script; Latin, Greek and Cyrillic share one.
_NOTO = {
    "Arab": "NotoSansArabic", "Armn": "NotoSansArmenian", "Beng": "NotoSansBengali", "Deva": "NotoSansDevanagari",
    "Ethi": "NotoSansEthiopic", "Geor": "NotoSansGeorgian", "Gujr": "NotoSansGujarati", "Guru": "NotoSansGurmukhi",
    "Hebr": "NotoSansHebrew", "Khmr": "NotoSansKhmer", "Knda": "NotoSansKannada", "Laoo": "NotoSansLao",
    "Mlym": "NotoSansMalayalam", "Mymr": "NotoSansMyanmar", "Orya": "NotoSansOriya", "Sinh": "NotoSansSinhala",
    "Taml": "NotoSansTamil", "Telu": "NotoSansTelugu", "Thai": "NotoSansThai", "Tibt": "NotoSerifTibetan",
    "Hani": "NotoSansCJK", "Hira": "NotoSansCJK", "Kana": "NotoSansCJK", "Hang": "NotoSansCJK",
}  # fmt: skip

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@functools.lru_cache(maxsize=64)
def font_for(script: str, size: int, bold: bool = False) -> Font:
    """Return a font that covers an ISO 15924 script, at ``size`` pixels.

    Noto fonts where they are installed (Debian: fonts-noto-core, fonts-noto-cjk); otherwise Pillow's own font, which
    covers Latin.
    """
    file = _font_file(script, bold)
    return ImageFont.truetype(str(file), size) if file else ImageFont.load_default(size)


def has_font(script: str) -> bool:
    """Tell whether a font for an ISO 15924 script is installed; Latin is always there."""
    return script == "Latn" or _font_file(script, bold=False) is not None


def _font_file(script: str, bold: bool) -> Path | None:
    name = _NOTO.get(script, "NotoSans")
    for weight in ("Bold", "Regular") if bold else ("Regular",):
        for folder in map(Path, _FOLDERS):
            for ending in ("ttf", "ttc", "otf"):
                if (file := folder / f"{name}-{weight}.{ending}").is_file():
                    return file
    return None


def script_of(text: str) -> str:
    """Return the ISO 15924 script of a text, among those that need a font of their own; "Latn" if there is none."""
    for script in _NOTO:
        if regex.search(rf"\p{{Script={script}}}", text):
            return script
    return "Latn"


@functools.lru_cache(maxsize=4096)
def scripts_of(text: str) -> tuple[str, ...]:
    """Return the scripts that use every character of ``text``: Latin, and those that need a font of their own.

    By Script_Extensions: punctuation that several scripts share, such as the danda, is of each of them; what all the
    world shares, such as the full stop, is of none.
    """
    return tuple(
        script
        for script in ("Latn", *_NOTO)
        if regex.search(rf"\p{{scx={script}}}", text)
        and regex.fullmatch(rf"[\p{{scx={script}}}\p{{scx=Zinh}}\u25cc]+", text)  # marks, and what they stand on
    )


_CELL, _GAP, _TEXT, _HEADER = 96, 10, 330, 54
_CAPTION, _CAPTION_LINE, _CAPTION_LINES = 11, 15, 2  # size of captions, and of their lines
# Okabe and Ito's colors, told apart by color-blind readers; the thickness of the frame tells as well.
_RIGHT, _INK, _FAINT, _PAPER = "#009E73", "#1b1b1b", "#6b6b6b", "#ffffff"


@dataclass(frozen=True)
class ResultRow:
    """One query and its images, best first, with what is written below them.

    ``right`` is the place of the wanted image, None if it is not shown.
    """

    query: str
    language: str
    script: str
    english: str
    images: Sequence[Image.Image]
    right: int | None = None
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


def is_right_to_left(text: str) -> bool:
    """Tell whether a text's first letter is of a script that runs from right to left (UAX 9, rules P2 and P3)."""
    first = next((kind for kind in map(unicodedata.bidirectional, text) if kind in ("L", "R", "AL")), "L")
    return first != "L"


def shortened(text: str, limit: int) -> str:
    """Cut a text to ``limit`` grapheme clusters, the last of them an ellipsis; never within a cluster.

    >>> shortened("kilichofunguliwa", 8)
    'kilicho…'
    """
    clusters = regex.findall(r"\X", text)
    return text if len(clusters) <= limit else "".join(clusters[: limit - 1]).rstrip() + "…"


def script_runs(text: str) -> Iterator[tuple[str, str]]:
    """Split a text into parts of one script each: (ISO 15924 code, part), in the order of reading.

    Spaces go with what stands before them. Digits and punctuation that belong to no script, or to many, are "Latn":
    Noto's fonts of single scripts often lack them.
    """
    current, part = "", ""
    for cluster in regex.findall(r"\X", text):
        scripts = scripts_of(cluster)
        script = current if current and (cluster.isspace() or current in scripts) else next(iter(scripts), "Latn")
        if part and script != current:
            yield current, part
            part = ""
        current, part = script, part + cluster
    if part:
        yield current, part


def scripts_without_font(text: str) -> tuple[str, ...]:
    """Return the ISO 15924 codes of the scripts in a text whose letters would be drawn as empty boxes."""
    return tuple(dict.fromkeys(script for script, _ in script_runs(text) if not has_font(script)))


def line_width(text: str, size: int, bold: bool = False) -> float:
    """Return the width of a line in pixels."""
    return sum(_length(font_for(script, size, bold), part) for script, part in script_runs(text))


def draw_line(
    pen: ImageDraw.ImageDraw, place: tuple[float, float], text: str, size: int, fill: str, bold: bool = False
) -> None:
    """Draw a line whose baseline begins (on the left) at ``place``; letters are shaped where Pillow has Raqm.

    A line that begins in a script from right to left has its parts in that order.
    """
    left, baseline = place
    runs = list(script_runs(text))
    for script, part in reversed(runs) if is_right_to_left(text) else runs:
        font = font_for(script, size, bold)
        pen.text((left, baseline), part, font=font, fill=fill, anchor="ls")
        left += _length(font, part)


def _length(font: Font, text: str) -> float:
    return float(font.getlength(text))
