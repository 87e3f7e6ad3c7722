"""Numbers as the page writes them."""

from __future__ import annotations

import re

from kivuko.evaluation import Interval
from kivuko.report.low_resource.study import Setting

_DATASETS = {"emoji": "text to image", "emoji-text": "text to English text"}
_SCORINGS = {"cosine": "one vector each", "maxsim": "late interaction"}
DASH, MINUS = "–", "−"


def setting_label(setting: Setting) -> str:
    """Return ``text to image, one vector each``; unknown names as they are."""
    task = _DATASETS.get(setting.dataset, setting.dataset)
    return f"{task}, {_SCORINGS.get(setting.scoring, setting.scoring)}"


def figure(value: float | None) -> str:
    """Write ``0.412``, with a true minus sign; a dash for None."""
    return DASH if value is None else f"{value:.3f}".replace("-", MINUS)


def signed(value: float, digits: int = 4) -> str:
    """Write ``+0.0144`` or ``−0.0144``."""
    return f"{value:+.{digits}f}".replace("-", MINUS)


def per_cent(value: float | None) -> str:
    """Write a share as ``+14.2 %``; a dash for None."""
    return DASH if value is None else f"{100 * value:+,.1f} %".replace("-", MINUS)


def spread(interval: Interval | None) -> str:
    """Write ``0.412 [0.380, 0.447]``; a single value stands alone, for its spread is not known."""
    if interval is None:
        return DASH
    if interval.degenerate:
        return figure(interval.mean)
    return f"{figure(interval.mean)} [{figure(interval.low)}, {figure(interval.high)}]"


def signed_spread(interval: Interval | None, digits: int = 4) -> str:
    """Write ``+0.0144 [+0.0069, +0.0230]``."""
    if interval is None:
        return DASH
    if interval.degenerate:
        return signed(interval.mean, digits)
    return f"{signed(interval.mean, digits)} [{signed(interval.low, digits)}, {signed(interval.high, digits)}]"


def per_cent_spread(interval: Interval | None) -> str:
    """Write ``+14.2 % [+6.8 %, +22.9 %]``; a dash where it is not defined."""
    if interval is None:
        return DASH
    return f"{per_cent(interval.mean)} [{per_cent(interval.low)}, {per_cent(interval.high)}]"


def probability(p: float) -> str:
    """Write ``p = 0.012`` or ``p < 0.001``."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def tied(text: str) -> str:
    """Keep together what belongs on one line: ``14.2 %``, ``p = 0.012``, the inside of brackets."""
    text = re.sub(r"(?<=\d) %", "\u00a0%", text)
    text = re.sub(r"\bp ([=<]) (?=\d)", "p\u00a0\\1\u00a0", text)
    return re.sub(r"\[[^\]]{1,40}\]", lambda match: match[0].replace(" ", "\u00a0"), text)


def count(number: int, noun: str) -> str:
    """Write ``1 seed`` or ``5 seeds``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
