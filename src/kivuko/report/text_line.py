"""One line of text in any mixture of scripts, each part in a font that has its letters."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

import regex
from PIL import ImageDraw

from kivuko.report.lettering import Font, font_for, has_font, scripts_of


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
