"""Records: the source of truth. What was measured, on what, with how much certainty."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from kivuko.errors import DataError

_REPORTED_PACKAGES = ("kivuko", "torch", "transformers", "sentence-transformers", "ir_measures", "numpy")


@dataclass(frozen=True, kw_only=True)
class Condition:
    """What one score matrix was measured under.

    ``bitext_size`` is in sentence pairs per language (the mean, rounded, where languages differ), None for a model
    that saw no bitext. ``seed`` is the training seed, None for an untrained model or a mean over seeds. ``attack`` and
    ``budget`` are None on clean input; a budget is a radius on the pixel scale 0-1, or a number of edits. ``scoring``
    says how a query and a document are compared: the "cosine" of one vector each, or "maxsim" over several.
    """

    dataset: str
    split: str
    model: str
    objective: str
    bitext_size: int | None = None
    seed: int | None = None
    attack: str | None = None
    budget: float | None = None
    scoring: str = "cosine"


@dataclass(frozen=True, kw_only=True)
class Record(Condition):
    """One number with its 95 % interval; one line of a records file.

    ``language`` is a BCP-47 code or a group's name such as "low-resource"; ``subset`` names the queries
    counted, "all" being all of them; ``queries`` is how many they are.

    Raises:
        DataError: a field of the wrong type, or a number that is not finite.
    """

    subset: str
    language: str
    measure: str
    value: float
    low: float
    high: float
    queries: int

    def __post_init__(self) -> None:
        if problem := wrong_field(vars(self), RECORD_FIELDS):
            raise DataError(f"record of {self.measure!r} in {self.language!r}: {problem}")


@dataclass(frozen=True, kw_only=True)
class Header:
    """How the records of one file came to be.

    ``protocol`` says what the numbers mean (captions per image, gallery size, tie handling), as JSON
    values; ``seeds`` are all seeds used; ``created`` is ISO 8601 in UTC.
    """

    command: str
    protocol: Mapping[str, Any]
    seeds: Sequence[int] = ()
    versions: Mapping[str, str] = field(default_factory=lambda: current_versions())
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))


def current_versions() -> dict[str, str]:
    """Versions of Python and of the packages that shape a number, read without importing them."""
    versions = {"python": platform.python_version()}
    for package in _REPORTED_PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions


# Field name to (what it must be, in words; the types; whether it may be None).
FieldRule = tuple[str, tuple[type, ...], bool]
_TEXT: FieldRule = ("text", (str,), False)
_WHOLE: FieldRule = ("a whole number", (int,), False)
_NUMBER: FieldRule = ("a finite number", (int, float), False)

RECORD_FIELDS: dict[str, FieldRule] = {
    "dataset": _TEXT,
    "split": _TEXT,
    "subset": _TEXT,
    "language": _TEXT,
    "model": _TEXT,
    "objective": _TEXT,
    "bitext_size": (*_WHOLE[:2], True),
    "seed": (*_WHOLE[:2], True),
    "attack": (*_TEXT[:2], True),
    "budget": (*_NUMBER[:2], True),
    "scoring": _TEXT,
    "measure": _TEXT,
    "value": _NUMBER,
    "low": _NUMBER,
    "high": _NUMBER,
    "queries": _WHOLE,
}

HEADER_FIELDS: dict[str, FieldRule] = {
    "command": _TEXT,
    "protocol": ("an object", (dict,), False),
    "seeds": ("a list", (list, tuple), False),
    "versions": ("an object", (dict,), False),
    "created": _TEXT,
}


def wrong_field(fields: Mapping[str, Any], rules: Mapping[str, FieldRule]) -> str | None:
    """Say what is wrong with the first field that breaks its rule, or None if all is well."""
    for name, (words, types, optional) in rules.items():
        if name not in fields:
            return f"field {name!r} is missing"
        value = fields[name]
        if value is None and optional:
            continue
        # bool is an int to Python, and a NaN a float; neither is a number here.
        fits = isinstance(value, types) and not isinstance(value, bool)
        if not fits or (isinstance(value, float) and not math.isfinite(value)):
            return f"field {name!r} is {value!r}; it must be {words}"
    if unknown := set(fields) - set(rules):
        return f"field {min(unknown)!r} is not known"
    return None
