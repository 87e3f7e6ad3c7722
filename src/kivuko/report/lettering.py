"""Fonts for drawing text of any script into pictures."""

from __future__ import annotations

import functools
from pathlib import Path

import regex
from PIL import ImageFont

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
