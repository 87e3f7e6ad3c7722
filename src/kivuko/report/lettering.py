"""Fonts for drawing text of any script into pictures."""

from __future__ import annotations

import functools
from pathlib import Path

import regex
from PIL import ImageFont

_FOLDERS = ("/usr/share/fonts/truetype/noto", "/usr/share/fonts/noto", "/usr/share/fonts/google-noto")
# Noto's name of the font for each ISO 15924 script; Latin, Greek and Cyrillic share one.
_NOTO = {
    "Arab": "NotoSansArabic", "Armn": "NotoSansArmenian", "Beng": "NotoSansBengali", "Deva": "NotoSansDevanagari",
    "Ethi": "NotoSansEthiopic", "Geor": "NotoSansGeorgian", "Gujr": "NotoSansGujarati", "Guru": "NotoSansGurmukhi",
    "Hebr": "NotoSansHebrew", "Khmr": "NotoSansKhmer", "Knda": "NotoSansKannada", "Laoo": "NotoSansLao",
    "Mlym": "NotoSansMalayalam", "Mymr": "NotoSansMyanmar", "Orya": "NotoSansOriya", "Sinh": "NotoSansSinhala",
    "Taml": "NotoSansTamil", "Telu": "NotoSansTelugu", "Thai": "NotoSansThai", "Tibt": "NotoSerifTibetan",
}  # fmt: skip

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@functools.lru_cache(maxsize=64)
def font_for(script: str, size: int, bold: bool = False) -> Font:
    """Return a font that covers an ISO 15924 script, at ``size`` pixels.

    Noto fonts where they are installed (Debian: fonts-noto-core); otherwise Pillow's own font, which covers Latin.
    """
    name = _NOTO.get(script, "NotoSans")
    for weight in ("Bold", "Regular") if bold else ("Regular",):
        for folder in map(Path, _FOLDERS):
            if (file := folder / f"{name}-{weight}.ttf").is_file():
                return ImageFont.truetype(str(file), size)
    return ImageFont.load_default(size)


def script_of(text: str) -> str:
    """Return the ISO 15924 script of a text, among those that need a font of their own; "Latn" if there is none."""
    for script in _NOTO:
        if regex.search(rf"\p{{Script={script}}}", text):
            return script
    return "Latn"
