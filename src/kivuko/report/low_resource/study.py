"""The records of a low-resource study, ordered by what its page asks for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kivuko.errors import DataError, UsageError
from kivuko.evaluation import PARITY, Condition, Header, Interval, PerQueryScores, Record, seed_interval
from kivuko.languages import DEFAULT_LANGUAGES, language

TEACHER, UNTRAINED = "teacher", "untrained"
TRANSLATE_TEST, LEXICAL, MSE = "translate-test", "lexical", "mse"
DISTILLATION, TRANSLATION, REFERENCE = "distillation", "translation", "reference"

_KINDS = {TEACHER: REFERENCE, UNTRAINED: REFERENCE, TRANSLATE_TEST: TRANSLATION, LEXICAL: TRANSLATION}


@dataclass(frozen=True)
class RecipeFacts:
    """``kind``: "distillation", "translation" (queries go to the English teacher), or "reference" (untrained)."""

    name: str
    transport: bool
    kind: str
    description: str

    @property
    def role(self) -> str:
        """In words, for a table."""
        if self.kind == DISTILLATION:
            return "with transport" if self.transport else "without transport"
        return self.kind


def recipe_facts(protocol: Mapping[str, Any], name: str) -> RecipeFacts:
    """Read the facts of one recipe; what is not told counts as distillation without transport."""
    told = protocol.get("recipes")
    entry = told.get(name) if isinstance(told, Mapping) else None
    entry = entry if isinstance(entry, Mapping) else {}
    kind = _KINDS.get(name) or (TRANSLATION if entry.get("kind") == TRANSLATION else DISTILLATION)
    return RecipeFacts(name, entry.get("transport") is True, kind, str(entry.get("description") or ""))


LOW, HIGH = "low-resource", "high-resource"
GROUPS = (LOW, HIGH)
ENGLISH = "en"
TEST, VALIDATION = "test", "validation"
MAP = "MAP"
HEADLINE, ALL = "headline", "all"

Seed = int | None
_FIRST_SETTINGS = (("emoji", "cosine"), ("emoji", "maxsim"), ("emoji-text", "cosine"), ("emoji-text", "maxsim"))


@dataclass(frozen=True)
class Setting:
    """What is searched, and how a query and a document are compared."""

    dataset: str
    scoring: str


@dataclass(frozen=True)
class Spot:
    """Where one figure of one objective stands in the study."""

    setting: Setting
    size: int | None
    objective: str
    language: str
    measure: str = MAP
    split: str = TEST
    subset: str = HEADLINE


class Study:
    """A study's clean (unattacked) records and per-query scores.

    Attributes:
        header: how they came to be.
        settings: those measured, the headline one first.
        languages: those measured, English aside; ``low`` and ``high`` are the two groups of them.

    Raises:
        DataError: there is nothing to report, or two records say different things of the same condition.
    """

    def __init__(self, header: Header, records: Sequence[Record], per_query: Sequence[PerQueryScores]) -> None:
        self.header = header
        clean = [record for record in records if record.attack is None]
        if not any(record.measure == MAP for record in clean):
            raise DataError("the records hold no MAP of clean queries, so there is nothing to report; run the study")
        # Files without a headline subset know no copied queries: there, all of them are the headline.
        self.subset = HEADLINE if any(record.subset == HEADLINE for record in clean) else ALL
        self._seeds = _by_spot(clean)
        self._intervals: dict[Spot, Interval | None] = {}  # figures, tables and the choice ask for the same ones
        self._blocks: dict[tuple[object, ...], list[PerQueryScores]] = {}
        for block in per_query:
            if block.condition.attack is None and block.measure == MAP and block.subset == self.subset:
                self._blocks.setdefault(_asked(block.condition), []).append(block)
        self._objectives: dict[tuple[Setting, int | None], set[str]] = {}
        self._test_subsets: dict[Setting, set[str]] = {}
        self._test_sizes: dict[Setting, set[int]] = {}
        for spot in self._seeds:
            self._objectives.setdefault((spot.setting, spot.size), set()).add(spot.objective)
            if spot.split == TEST and spot.measure == MAP:
                self._test_subsets.setdefault(spot.setting, set()).add(spot.subset)
                self._test_sizes.setdefault(spot.setting, set()).update([] if spot.size is None else [spot.size])
        self.settings = _ordered_settings({spot.setting for spot in self._seeds})
        self.languages = _ordered_languages({spot.language for spot in self._seeds} - {ENGLISH, *GROUPS})
        self.low = tuple(code for code in self.languages if is_low(code))
        self.high = tuple(code for code in self.languages if not is_low(code))

    def sizes(self, setting: Setting) -> tuple[int, ...]:
        """Return the bitext sizes of a setting's test records, ascending."""
        return tuple(sorted(self._test_sizes.get(setting, ())))

    def objectives(self, setting: Setting, size: int | None) -> tuple[str, ...]:
        """Return what was measured at a size on either split, in order of name; size None: without any bitext."""
        return tuple(sorted(self._objectives.get((setting, size), ())))

    def subsets(self, setting: Setting) -> tuple[str, ...]:
        """Return the subsets of queries that test records of a setting speak of."""
        return tuple(sorted(self._test_subsets.get(setting, ())))

    def facts(self, objective: str) -> RecipeFacts:
        """Return what the header tells of a recipe; an honest default where it tells nothing."""
        return recipe_facts(self.header.protocol, objective)

    def seed_values(self, spot: Spot) -> dict[Seed, float]:
        """Return the figure of each seed; a group's is made from its languages where no record holds it."""
        if found := self._seeds.get(spot):
            return {seed: record.value for seed, record in found.items()}
        members = {LOW: self.low, HIGH: self.high}.get(spot.language, ())
        if spot.measure == PARITY or not members:
            return {}
        parts = [self.seed_values(_in_language(spot, code)) for code in members]
        shared = [seed for seed in parts[0] if all(seed in part for part in parts)]
        return {seed: sum(part[seed] for part in parts) / len(parts) for seed in shared}

    def over_seeds(self, spot: Spot) -> Interval | None:
        """Return the mean over seeds with its t interval, or None where nothing was measured."""
        if spot not in self._intervals:
            values = self.seed_values(spot)
            self._intervals[spot] = seed_interval(list(values.values())) if values else None
        return self._intervals[spot]

    def gap(self, setting: Setting, size: int | None, objective: str) -> Interval | None:
        """Return high- minus low-resource MAP, seed by seed, with its t interval."""
        low, high = (
            self.seed_values(Spot(setting, size, objective, group, subset=self.subset)) for group in (LOW, HIGH)
        )
        shared = [seed for seed in high if seed in low]
        return seed_interval([high[seed] - low[seed] for seed in shared]) if shared else None

    def blocks(self, setting: Setting, size: int | None, objective: str) -> list[PerQueryScores]:
        """Return the per-query MAP on the test split."""
        return self._blocks.get((setting.dataset, setting.scoring, size, objective, TEST), [])

    def queries(self, setting: Setting, code: str) -> int:
        """Return the most test queries that any of the setting's MAP records of a language counts."""
        return max(
            (
                record.queries
                for spot, seeds in self._seeds.items()
                if (spot.setting, spot.language, spot.measure, spot.split, spot.subset)
                == (setting, code, MAP, TEST, self.subset)
                for record in seeds.values()
            ),
            default=0,
        )


def language_label(code: str) -> str:
    """Return ``Swahili (sw)``, a group's name as ``low-resource mean``, and an unknown code as it is."""
    if code in GROUPS:
        return f"{code} mean"
    try:
        return f"{language(code).name} ({code})"
    except UsageError:
        return code


def is_low(code: str) -> bool:
    """Say whether a language counts as low-resource; one that nobody knows does."""
    try:
        return language(code).resource == "low"
    except UsageError:
        return True


def _asked(condition: Condition) -> tuple[object, ...]:
    return (condition.dataset, condition.scoring, condition.bitext_size, condition.objective, condition.split)


def _in_language(spot: Spot, code: str) -> Spot:
    return Spot(spot.setting, spot.size, spot.objective, code, spot.measure, spot.split, spot.subset)


def _by_spot(records: Iterable[Record]) -> Mapping[Spot, dict[Seed, Record]]:
    found: dict[Spot, dict[Seed, Record]] = {}
    for record in records:
        setting = Setting(record.dataset, record.scoring)
        spot = Spot(
            setting, record.bitext_size, record.objective, record.language, record.measure, record.split, record.subset
        )
        seeds = found.setdefault(spot, {})
        if record.seed in seeds and seeds[record.seed] != record:
            raise DataError(
                f"two records of {record.measure} of {record.objective!r} in {record.language!r}, seed {record.seed}, "
                f"models {seeds[record.seed].model!r} and {record.model!r}: a page is about one student; keep one"
            )
        seeds[record.seed] = record
    return found


def _ordered_settings(found: set[Setting]) -> tuple[Setting, ...]:
    order = {Setting(*names): place for place, names in enumerate(_FIRST_SETTINGS)}
    return tuple(sorted(found, key=lambda s: (order.get(s, len(order)), s.dataset, s.scoring)))


def _ordered_languages(found: set[str]) -> tuple[str, ...]:
    known = [code for code in DEFAULT_LANGUAGES if code in found]
    return (*known, *sorted(found - set(known)))
