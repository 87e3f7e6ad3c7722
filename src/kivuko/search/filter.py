"""Queries and filters, checked before anything is loaded: ``paka mweusi``, ``license=cc0``, ``width>=800``.

A filter becomes SQL in which everything that the user wrote is a bound parameter; a key that is not a column is read
from the item's metadata by ``json_extract`` on a bound path.
"""

from __future__ import annotations

import math
import re
import sqlite3
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kivuko.errors import UsageError
from kivuko.text import clean_text

if TYPE_CHECKING:
    from kivuko.search.store import IndexStore

OPERATORS = ("=", "!=", "<", "<=", ">", ">=", "~")
COLUMNS = {"key": "items.key", "caption": "items.caption", "width": "contents.width", "height": "contents.height"}
MOST_CONDITIONS, _LONGEST = 32, 1000
_SHOWN = 30  # fields that a message lists
_NUMBERS = ("width", "height")
_CONDITION = re.compile(r"(?P<key>[^=!<>~]*)(?P<operator>!=|<=|>=|==|=|<|>|~)(?P<value>.*)", re.DOTALL)
_HOW = 'Write it like "license=cc0" or "width>=800"; the operators are =, !=, <, <=, >, >= and ~ (contains).'
Bound = str | float


@dataclass(frozen=True)
class Condition:
    """One condition; docs/search.md says what each operator means."""

    key: str  # a column (key, caption, width, height) or a name in the metadata
    operator: str
    value: str  # as written

    def __str__(self) -> str:
        return f"{self.key}{self.operator}{self.value}"


@dataclass(frozen=True)
class Filter:
    """Conditions that must all hold; without any, everything passes."""

    conditions: tuple[Condition, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.conditions)

    def sql(self) -> tuple[str, list[Bound]]:
        """Return an SQL expression over the tables ``items`` and ``contents``, and the values of its ``?``."""
        parts, bound = ["1"], list[Bound]()
        for condition in self.conditions:
            part, own = _compiled(condition)
            parts.append(f"({part})")
            bound += own
        return " AND ".join(parts), bound


Conditions = str | Sequence[str] | Filter | None  # what a search takes as ``where``


def parse_filter(texts: Sequence[str]) -> Filter:
    """Parse conditions like ``license=cc0``; UsageError for anything else."""
    if len(texts) > MOST_CONDITIONS:
        raise UsageError(f"where: {len(texts)} conditions are too many; {MOST_CONDITIONS} are the most.")
    return Filter(tuple(_parsed(text) for text in texts))


def as_filter(where: Conditions) -> Filter:
    if isinstance(where, Filter):
        return where
    if not isinstance(where, str | Sequence | None):
        raise UsageError(f"where is {where!r}: give a condition, or a list of them. {_HOW}")
    return parse_filter([where] if isinstance(where, str) else where or ())


def check_count(k: object) -> None:
    """Raise UsageError unless ``k`` is a number of images."""
    if not isinstance(k, int) or isinstance(k, bool) or k < 1:
        raise UsageError(f"k = {k!r}: give a whole number of images, at least 1.")


def checked_path(path: Path | str) -> Path:
    """Return a path as a Path; UsageError for anything else."""
    if not isinstance(path, Path | str):
        raise UsageError(f"{path!r}: give the folder of an index, such as my.index.")
    return Path(path)


def clean_query(text: str) -> str:
    """Return a query, cleaned like training sentences; UsageError if it is empty, not UTF-8 or no text."""
    if not isinstance(text, str):
        raise UsageError(f"the query is {text!r}: give a text.")
    try:
        text.encode()
    except UnicodeEncodeError as problem:
        raise UsageError("the query is not UTF-8 text: set the terminal to UTF-8 and write it again.") from problem
    if not (cleaned := clean_text(text)):
        raise UsageError('the query is empty: write a few words, for example "paka mweusi".')
    return cleaned


def refuse_unknown_fields(where: Filter, store: IndexStore) -> None:
    """Raise UsageError if a condition requires a value of a field that no image has."""
    for condition in where.conditions:
        absent_passes = condition.operator == "!=" or not condition.value
        if absent_passes or condition.key in COLUMNS:
            continue
        if not len(store.select(Filter((Condition(condition.key, "!=", ""),)))):
            known = "".join(letter if letter.isprintable() else " " for letter in ", ".join(store.fields()[:_SHOWN]))
            raise UsageError(
                f"where {str(condition)[:80]!r}: no image has a field '{condition.key[:40]}'; there are: "
                f"{', '.join((*COLUMNS, known) if known else COLUMNS)}."
            )


def _parsed(text: str) -> Condition:
    if not isinstance(text, str):
        raise UsageError(f"where holds {text!r}, which is not a condition. {_HOW}")
    shown = repr(text[:80])
    if len(text) > _LONGEST:
        raise UsageError(f"where {shown}...: longer than {_LONGEST} letters. Shorten it.")
    try:
        text.encode()
    except UnicodeEncodeError as problem:
        raise UsageError(f"where {shown}: not UTF-8 text. Write it again.") from problem
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise UsageError(f"where {shown}: not a condition. {_HOW}")
    key, operator, value = match["key"].strip(), match["operator"].replace("==", "="), match["value"].strip()
    if not key:
        raise UsageError(f"where {shown}: no key before '{operator}'. {_HOW}")
    if any(letter in '"\\' or ord(letter) < 32 for letter in key):  # what the path of json_extract cannot hold
        raise UsageError(f"where {shown}: a key holds no quotes, backslashes or control characters.")
    if not value and operator not in ("=", "!="):
        raise UsageError(f"where {shown}: no value after '{operator}'. {_HOW}")
    if key in _NUMBERS and operator != "~" and value and _number(value) is None:
        raise UsageError(f'where {shown}: {key} is a number of pixels. Write it like "{key}>=800".')
    return Condition(key, operator, value)


def fold(text: str) -> str:
    """Return a text for comparison in any case: folded as Unicode says, composed, and with one small i for all four.

    >>> fold("İSTANBUL"), fold("E\u0301COLE") == fold("École"), fold("Straße")
    ('istanbul', True, 'strasse')
    """
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).casefold())
    return folded.replace("i\u0307", "i").replace("ı", "i")


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def add_functions(database: sqlite3.Connection) -> None:
    """Add the functions that the SQL of a filter calls; SQLite itself knows the case of a to z only."""
    for name, function in (("kivuko_fold", fold), ("kivuko_nfc", _composed)):
        database.create_function(name, 1, function, deterministic=True)


# Only texts beyond ASCII need the functions, which take some microseconds each: CASE does not call them for others.
_BEYOND_ASCII = "*[^\x01-\x7f]*"


def _compiled(condition: Condition) -> tuple[str, list[Bound]]:
    known, path = (COLUMNS[condition.key], []) if condition.key in COLUMNS else _field("json_extract", condition.key)
    if condition.operator in ("=", "!="):
        part, bound = _equal(known, path, condition)
        return (part, bound) if condition.operator == "=" else (f"NOT ({part})", bound)
    if condition.operator == "~":
        return _contains(known, path, fold(condition.value))
    number = _number(condition.value)
    if number is None:
        part = f"CASE WHEN {known} GLOB ? THEN kivuko_nfc({known}) ELSE {known} END {condition.operator} ?"
        own = [*path, _BEYOND_ASCII, *path, *path, _composed(condition.value)]
        return f"typeof({known}) = 'text' AND {part}", [*path, *own]
    # Compared with a REAL, SQLite reads a numeric text as a number; any other text is more than infinity.
    part = f"{known} {condition.operator} CAST(? AS REAL) AND {known} <= CAST(? AS REAL)"
    return part, [*path, number, *path, math.inf]


def _field(function: str, key: str) -> tuple[str, list[Bound]]:
    """Return an expression for a field of the metadata, whose name may be stored composed or not."""
    names = dict.fromkeys((key, _composed(key), unicodedata.normalize("NFD", key)))
    calls = ", ".join(f"{function}(items.metadata, ?)" for _ in names)
    return (f"COALESCE({calls})" if len(names) > 1 else calls), [f'$."{name}"' for name in names]


def _equal(known: str, path: list[Bound], condition: Condition) -> tuple[str, list[Bound]]:
    """Return an expression that is 0 or 1, never NULL, and the values of its parameters."""
    value = condition.value
    if not value:
        return f"COALESCE({known}, '') = ''", path
    parts, bound = [f"COALESCE(CAST({known} AS TEXT) = ?, 0)"], [*path, value]
    parts.append(f"CASE WHEN {known} GLOB ? THEN kivuko_nfc({known}) = ? ELSE 0 END")
    bound += [*path, _BEYOND_ASCII, *path, _composed(value)]
    if (number := _number(value)) is not None:
        parts.append(f"COALESCE({known} = CAST(? AS REAL), 0)")
        bound += [*path, number]
    if path and value.lower() in ("true", "false"):
        kind, names = _field("json_type", condition.key)
        parts.append(f"COALESCE({kind} = ?, 0)")
        bound += [*names, value.lower()]
    return " OR ".join(parts), bound


def _contains(known: str, path: list[Bound], folded: str) -> tuple[str, list[Bound]]:
    beyond, bound = f"instr(kivuko_fold({known}), ?)", [*path, _BEYOND_ASCII, *path, folded]
    if not folded.isascii():
        return f"CASE WHEN {known} GLOB ? THEN {beyond} > 0 END", bound
    return f"CASE WHEN {known} GLOB ? THEN {beyond} ELSE instr(lower({known}), ?) END > 0", [*bound, *path, folded]


def _number(text: str) -> float | None:
    if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text, re.ASCII):
        return None
    number = float(text)
    return number if math.isfinite(number) else None
