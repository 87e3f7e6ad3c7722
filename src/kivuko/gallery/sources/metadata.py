"""What a source says of a picture beside its caption, brought to values that a filter can compare."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from kivuko.gallery.item import Value

_LONGEST = 20_000  # letters of one value
_MOST = 200  # values of one picture
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,14}")
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]{0,14})\.[0-9]{1,17}([eE][-+]?[0-9]{1,3})?")


def clean_metadata(found: Mapping[Any, Any]) -> dict[str, Value]:
    """Return names and plain values; lists and objects become JSON text, what is too long is cut."""
    return {str(name)[:200]: _value(value) for name, value in list(found.items())[:_MOST] if name is not None}


def number_or_text(text: str) -> Value:
    """Read a cell of a table: a number if it is written as one (``1998``, ``0.5``, not ``007``), else the text."""
    if _WHOLE.fullmatch(text):
        return int(text)
    if _DECIMAL.fullmatch(text) and math.isfinite(number := float(text)):
        return number
    return text[:_LONGEST]


def clean_caption(text: Any) -> str | None:
    """Return a caption on one line; None if there is none."""
    if not isinstance(text, str):
        return None
    return " ".join(text.encode("utf-8", "replace").decode("utf-8").split())[:_LONGEST] or None


def _value(value: Any) -> Value:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")[:_LONGEST]
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value if abs(value) < 1 << 53 else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return json.dumps(value, ensure_ascii=True)[:_LONGEST]
