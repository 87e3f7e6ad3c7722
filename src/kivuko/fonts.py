"""Lines of text in any script, drawn with Pillow: fonts, direction and shortening."""

import functools
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import regex
from PIL import ImageDraw, ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

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


def draw_line(
    pen: ImageDraw.ImageDraw, place: tuple[float, float], text: str, size: int, fill: str, bold: bool = False
) -> None:
    """Draw a line whose baseline begins (on the left) at ``place``; letters are shaped where Pillow has Raqm."""
    left, baseline = place
    runs = list(script_runs(text))
    for script, part in reversed(runs) if is_right_to_left(text) else runs:
        font = font_for(script, size, bold)
        pen.text((left, baseline), part, font=font, fill=fill, anchor="ls")
        left += _length(font, part)


def line_width(text: str, size: int, bold: bool = False) -> float:
    return sum(_length(font_for(script, size, bold), part) for script, part in script_runs(text))


@functools.lru_cache(maxsize=64)
def font_for(script: str, size: int, bold: bool = False) -> Font:
    """Return a font that covers an ISO 15924 script, at ``size`` pixels: Noto's if installed, else Pillow's (Latin)."""
    file = _font_file(script, bold)
    return ImageFont.truetype(str(file), size) if file else ImageFont.load_default(size)


def has_font(script: str) -> bool:
    """Return True if a font for an ISO 15924 script is installed; Latin is always there."""
    return script == "Latn" or _font_file(script, bold=False) is not None


def scripts_without_font(text: str) -> tuple[str, ...]:
    """Return the ISO 15924 codes of the scripts in a text whose letters would be drawn as empty boxes."""
    return tuple(dict.fromkeys(script for script, _ in script_runs(text) if not has_font(script)))


@functools.lru_cache(maxsize=4096)
def scripts_of(text: str) -> tuple[str, ...]:
    """Return the scripts that use every character of ``text``: Latin, and those that need a font of their own.

    By Script_Extensions: punctuation of several scripts, such as the danda, is of each; the full stop is of none.
    """
    return tuple(
        script
        for script in ("Latn", *_NOTO)
        if regex.search(rf"\p{{scx={script}}}", text)
        and regex.fullmatch(rf"[\p{{scx={script}}}\p{{scx=Zinh}}\u25cc]+", text)  # marks, and the base of marks
    )


def script_runs(text: str) -> Iterator[tuple[str, str]]:
    """Split a text into parts of one script each: (ISO 15924 code, part), in the order of reading.

    Spaces join the part before them. Digits and common punctuation are "Latn": Noto's fonts of single scripts often
    lack them.
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


def is_right_to_left(text: str) -> bool:
    """Return True if a text's first letter is of a right-to-left script (UAX 9, rules P2 and P3)."""
    first = next((kind for kind in map(unicodedata.bidirectional, text) if kind in ("L", "R", "AL")), "L")
    return first != "L"


def shortened(text: str, limit: int) -> str:
    """Cut a text to ``limit`` grapheme clusters, the last of them an ellipsis; never within a cluster.

    >>> shortened("kilichofunguliwa", 8)
    'kilicho…'
    """
    clusters = regex.findall(r"\X", text)
    return text if len(clusters) <= limit else "".join(clusters[: limit - 1]).rstrip() + "…"


def _font_file(script: str, bold: bool) -> Path | None:
    name = _NOTO.get(script, "NotoSans")
    for weight in ("Bold", "Regular") if bold else ("Regular",):
        for folder in map(Path, _FOLDERS):
            for ending in ("ttf", "ttc", "otf"):
                if (file := folder / f"{name}-{weight}.{ending}").is_file():
                    return file
    return None


def _length(font: Font, text: str) -> float:
    return float(font.getlength(text))
