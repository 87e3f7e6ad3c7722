"""Recipes: declarative files that name objectives, their weights, and the schedule."""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any

from torch import Tensor

from kivuko.distill.objective import Objective, WeightedSum
from kivuko.distill.sentence import SentenceContrastive, SentenceCosine, SentenceMSE
from kivuko.distill.transport import TransportObjective
from kivuko.errors import UsageError


@dataclass(frozen=True)
class Schedule:
    """How long and how fast: ``steps`` batches of ``batch_size`` pairs, AdamW, linear warm-up, cosine decay to 0.

    ``warmup`` is a share of the steps; ``validate_every`` counts steps; ``token_dropout`` is the share of subwords
    that a static student hides from each training sentence. ``learning_rate`` is the static student's; a student of
    another kind takes the share of it that its ``rate_factor`` says.
    """

    steps: int = 800
    batch_size: int = 256
    learning_rate: float = 5e-3
    warmup: float = 0.05
    weight_decay: float = 0.0
    token_dropout: float = 0.0
    validate_every: int = 100


@dataclass(frozen=True)
class Term:
    """One objective of a recipe: its kind, its weight, and its options."""

    kind: str
    weight: float = 1.0
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """A named way to distil. ``objective`` builds what the trainer minimises."""

    name: str
    description: str
    terms: tuple[Term, ...]
    schedule: Schedule = Schedule()

    def objective(self, centre: Tensor) -> WeightedSum:
        """Build the weighted sum of objectives; ``centre`` [dim] is the teacher's mean content token."""
        return WeightedSum([(term.weight, _build(term, centre)) for term in self.terms])

    def with_schedule(self, **changes: Any) -> Recipe:
        """Return the same recipe with some schedule entries changed."""
        return replace(self, schedule=replace(self.schedule, **changes))


def shipped_recipes() -> tuple[str, ...]:
    """Return the names of the recipes that come with Kivuko, sorted."""
    folder = resources.files("kivuko.distill") / "recipes"
    return tuple(sorted(Path(entry.name).stem for entry in folder.iterdir() if entry.name.endswith(".toml")))


def load_recipe(name: str | Path) -> Recipe:
    """Load a recipe by name (``optical``, ``mse``, ...) or from a TOML file.

    Raises:
        UsageError: there is none of that name, or the file is not a recipe; names the file and the entry.
    """
    text = str(name)
    if text.endswith(".toml"):
        path = Path(text)
        try:
            content = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as problem:
            raise UsageError(f"{path}: cannot be read as a recipe ({problem}).") from problem
        if path.stem in _RESERVED:
            raise UsageError(f"{path}: '{path.stem}' is a row of its own in every result. Give the file another name.")
        return parse_recipe(content, path.stem, str(path))
    if text not in shipped_recipes():
        raise UsageError(f"no recipe '{text}': choose one of {', '.join(shipped_recipes())}, or name a .toml file.")
    file = resources.files("kivuko.distill") / "recipes" / f"{text}.toml"
    return parse_recipe(file.read_text(encoding="utf-8"), text, f"recipe '{text}'")


def parse_recipe(content: str, name: str, where: str) -> Recipe:
    """Read a recipe from TOML; ``where`` names it in messages. Raises UsageError as ``load_recipe`` does."""
    try:
        table = tomllib.loads(content)
    except (ValueError, RecursionError) as problem:  # also numbers of 5,000 digits, endless nesting
        raise UsageError(f"{where}: not valid TOML ({problem}).") from problem
    _check_keys(table, {"description", "objective", "schedule"}, where, "the recipe")
    entries = table.get("objective", [])
    if not isinstance(entries, list) or not entries:
        raise UsageError(f"{where}: names no objective. Add at least one [[objective]] with a kind.")
    schedule_table = table.get("schedule", {})
    _check_keys(schedule_table, {one.name for one in fields(Schedule)}, where, "[schedule]")
    try:
        settings: dict[str, Any] = {key: _typed(key, value) for key, value in schedule_table.items()}
        schedule = _checked(Schedule(**settings))
        terms = tuple(_term(entry) for entry in entries)
    except (TypeError, ValueError) as problem:
        raise UsageError(f"{where}: {problem}.") from problem
    if not any(term.weight for term in terms):
        raise UsageError(f"{where}: every objective has weight 0, so nothing would be learned.")
    return Recipe(name, str(table.get("description", "")), terms, schedule)


_RESERVED = ("teacher", "untrained")  # the ceiling and the floor
_LARGEST = {"learning_rate": 1e30, "weight_decay": 1e6}  # beyond, the optimizer's own float32 scalars overflow
_OPTIONS: Mapping[str, frozenset[str]] = {
    "transport": frozenset({"regularization", "centred", "tolerance", "max_iterations"}),
    "mse": frozenset(),
    "cosine": frozenset(),
    "contrastive": frozenset({"temperature"}),
}


def _build(term: Term, centre: Tensor) -> Objective:
    options = dict(term.options)
    match term.kind:
        case "transport":
            centred = options.pop("centred", True)
            return TransportObjective(centre=centre if centred else None, **options)
        case "mse":
            return SentenceMSE()
        case "cosine":
            return SentenceCosine()
        case _:
            return SentenceContrastive(**options)


def _term(entry: Any) -> Term:
    kind = entry.get("kind") if isinstance(entry, dict) else None
    if not isinstance(kind, str) or kind not in _OPTIONS:
        raise ValueError(f"unknown objective kind {kind!r}: choose one of {', '.join(_OPTIONS)}")
    options = {key: value for key, value in entry.items() if key not in ("kind", "weight")}
    for key, value in options.items():
        if key not in _OPTIONS[kind]:
            raise ValueError(
                f"objective '{kind}' has no option '{key}' (it has: {', '.join(sorted(_OPTIONS[kind])) or 'none'})"
            )
        if key == "centred":
            if not isinstance(value, bool):
                raise ValueError(f"objective '{kind}': {key} = {value!r} is neither true nor false")
        elif not _is_number(value, whole=key == "max_iterations") or value <= 0:
            raise ValueError(f"objective '{kind}': {key} = {value!r} is not a positive number")
    weight = entry.get("weight", 1.0)
    if not _is_number(weight) or weight < 0:
        raise ValueError(f"objective '{kind}': weight = {weight!r} is not a number of 0 or more")
    return Term(kind, float(weight), options)


def _typed(key: str, value: Any) -> int | float:
    whole = key in ("steps", "batch_size", "validate_every")
    if not _is_number(value, whole):
        raise ValueError(f"[schedule] {key} = {value!r} is not a {'whole ' if whole else ''}number")
    return value if whole else float(value)


def _is_number(value: Any, whole: bool = False) -> bool:
    """Whether a TOML value is a finite number (``nan`` and ``inf`` are TOML too)."""
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        return False
    return math.isfinite(value) if isinstance(value, float) else abs(value) < 2**63


def _checked(schedule: Schedule) -> Schedule:
    for key in ("steps", "batch_size", "validate_every", "learning_rate"):
        if getattr(schedule, key) <= 0:
            raise ValueError(f"[schedule] {key} must be above 0")
    for key in ("warmup", "token_dropout"):
        if not 0 <= getattr(schedule, key) < 1:
            raise ValueError(f"[schedule] {key} must be at least 0 and below 1")
    if schedule.weight_decay < 0:
        raise ValueError("[schedule] weight_decay must be 0 or more")
    for key, largest in _LARGEST.items():
        if getattr(schedule, key) > largest:
            raise ValueError(f"[schedule] {key} must be at most {largest:g}")
    return schedule


def _check_keys(table: Any, known: set[str], where: str, what: str) -> None:
    if not isinstance(table, dict):
        raise UsageError(f"{where}: {what} must be a table.")
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(sorted(known))}."
            raise UsageError(f"{where}: {what} has no entry '{key}'; {hint}")
