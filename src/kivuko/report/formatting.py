"""Sentences of pages, and numbers and names as they write them: ``0.412 [0.380, 0.447]``, ``Swahili (sw)``."""

import re
import tomllib
from importlib import resources
from typing import Any

from kivuko.errors import UsageError
from kivuko.evaluation.statistics import Interval
from kivuko.evaluation.tables import p_value
from kivuko.languages import language

DASH, MINUS = "–", "−"
EDITS, POINTS, RADIUS, SEVERITY = "edits", "points", "radius", "severity"
_DATASETS = {"emoji": "text to image", "emoji-text": "text to English text"}
_SCORINGS = {"cosine": "one vector each", "maxsim": "late interaction"}
_TEXTS = tomllib.loads(resources.files("kivuko.report").joinpath("templates/texts.toml").read_text("utf-8"))


def entry(key: str) -> Any:
    """Return an entry of ``templates/texts.toml``, such as ``robustness.limits``."""
    value: Any = _TEXTS
    for name in key.split("."):
        value = value[name]
    return value


def text(key: str, **fields: object) -> str:
    """Return a sentence of ``templates/texts.toml`` with its fields filled in."""
    return str(entry(key)).format(**fields)


def figure(value: float | None) -> str:
    return DASH if value is None else f"{value:.3f}".replace("-", MINUS)


def mean_of(interval: Interval | None) -> str:
    return figure(interval.mean if interval else None)


def signed(value: float, digits: int = 4) -> str:
    return f"{value:+.{digits}f}".replace("-", MINUS)


def per_cent(value: float | None) -> str:
    """Write a share as ``+14.2 %``; a dash for None."""
    return DASH if value is None else f"{100 * value:+,.1f} %".replace("-", MINUS)


def spread(interval: Interval | None) -> str:
    """Write ``0.412 [0.380, 0.447]``; a single value has no interval."""
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


def probability(p: float, at_floor: bool = False) -> str:
    """Write ``p = 0.012``, ``p < 0.001``, or ``p ≤ 0.012`` where no random trial reached the difference."""
    written = p_value(p, at_floor)
    return f"p {written}" if written[0] in "<≤" else f"p = {written}"


def after_holm(p: float, tests: int | None = None, *, at_floor: bool = False) -> str:
    """Write ``p = 1.000 after Holm, over 60 tests``."""
    return f"{probability(p, at_floor)} after Holm" + ("" if tests is None else f", over {count(tests, 'test')}")


def p_cell(p: float, at_floor: bool) -> str:
    """Write a p value in a table, ``≤ 0.0012`` where it is an upper bound."""
    return p_value(p, at_floor, 4)


def keep_together(text: str) -> str:
    """Put no-break spaces into what belongs on one line: ``14.2 %``, ``p = 0.012``, the inside of brackets."""
    text = re.sub(r"(?<=\d) %", "\u00a0%", text)
    text = re.sub(r"\bp ([=<≤]) (?=\d)", "p\u00a0\\1\u00a0", text)
    return re.sub(r"\[[^\]]{1,40}\]", lambda match: match[0].replace(" ", "\u00a0"), text)


def count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def size_heading(size: int | None) -> str:
    """Write ``300 pairs per language``, or ``no bitext``."""
    return "no bitext" if size is None else f"{count(size, 'pair')} per language"


def setting_label(dataset: str, scoring: str) -> str:
    """Write ``text to image, one vector each``; unknown names as they are."""
    return f"{_DATASETS.get(dataset, dataset)}, {_SCORINGS.get(scoring, scoring)}"


def language_label(code: str) -> str:
    """Write ``Swahili (sw)``, a group's name as ``low-resource mean``, and an unknown code as it is."""
    if code in ("low-resource", "high-resource"):
        return f"{code} mean"
    try:
        return f"{language(code).name} ({code})"
    except UsageError:
        return code


def script_label(code: str) -> str:
    """Write the script of a language, as ``Deva``; of an unknown code that it is unknown."""
    try:
        return language(code).script
    except UsageError:
        return "unknown"


def budget_label(unit: str, budget: float | None) -> str:
    """Write a budget: ``2 edits``, ``4/255``, ``severity 3``; ``clean`` for none."""
    if budget is None or budget == 0:
        return "clean"
    if unit == EDITS and budget == int(budget):
        return count(int(budget), "edit")
    if unit == POINTS:
        return count(int(budget), "code point")
    if unit == RADIUS:
        levels = budget * 255
        return f"{round(levels)}/255" if abs(levels - round(levels)) < 1e-6 and levels < 255 else f"{budget:g}"
    return f"{unit} {budget:g}"


def budget_tick(unit: str, budget: float) -> str:
    """Write a budget at an axis that names its unit: ``2``, ``4/255``."""
    return budget_label(unit, budget) if unit == RADIUS and budget else f"{budget:g}"
