"""Making one sentence canonical without changing what a reader sees."""

from __future__ import annotations

import re
import unicodedata

# Control characters and format characters that no reader sees and no spelling needs: soft hyphen,
# left-to-right and other direction marks, word joiner and invisible operators, byte order mark, annotations.
# Joiners (U+200C, U+200D), variation selectors and emoji tags stay: Marathi, Persian and emoji need them.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u00ad\u061c\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
)
# The zero-width space separates words in Khmer, Burmese and Thai, so it counts as space, not as nothing.
_ZERO_WIDTH_SPACE = "\u200b"


def clean_text(text: str) -> str:
    """Return ``text`` in Unicode NFC, without invisible characters, each run of white space one space.

    Line separators of any kind inside ``text`` (U+0085, U+2028, vertical tab) are white space like any other.
    Cleaning twice changes nothing more.
    """
    # Most sentences hold nothing to clean, and to see that takes a quarter of the time that cleaning does: everything
    # invisible, and all white space but the space, is what Python calls not printable.
    if text.isprintable():
        if "  " in text or text != text.strip():
            text = " ".join(text.split())
    else:
        text = " ".join(_INVISIBLE.sub("", text.replace(_ZERO_WIDTH_SPACE, " ")).split())
    return text if text.isascii() else unicodedata.normalize("NFC", text)
