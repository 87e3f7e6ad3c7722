"""The records of a study, an evaluation or an attack run, indexed by what a page looks up."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from kivuko.errors import DataError, UsageError
from kivuko.evaluation.attack.examples import AttackedExample
from kivuko.evaluation.comparison import seed_means
from kivuko.evaluation.group_means import PARITY
from kivuko.evaluation.records import Condition, Header, PerQueryScores, Record
from kivuko.evaluation.robustness import mixture, on_queries_of
from kivuko.evaluation.statistics import Interval, seed_interval
from kivuko.languages import DEFAULT_LANGUAGES, language
from kivuko.report.formatting import EDITS, POINTS, RADIUS, SEVERITY, setting_label

TEACHER, UNTRAINED = "teacher", "untrained"
TRANSLATE_TEST, LEXICAL, MSE = "translate-test", "lexical", "mse"
DISTILLATION, TRANSLATION, REFERENCE, OWN_SPACE = "distillation", "translation", "reference", "own space"
LOW, HIGH = "low-resource", "high-resource"
GROUPS = (LOW, HIGH)
WITHOUT_FILIPINO = "low-resource without Filipino"  # which only this project counts as low-resource
ENGLISH, MAP = "en", "MAP"
ROBUSTNESS_GAP = "robustness gap"
TEST, VALIDATION = "test", "validation"
HEADLINE, ALL = "headline", "all"

TEXT_NOISE, TEXT_ADVERSARIAL = "text noise", "text adversarial"
IMAGE_NOISE, IMAGE_ADVERSARIAL, JOINT = "image noise", "image adversarial", "joint"
FAMILIES = (TEXT_NOISE, TEXT_ADVERSARIAL, IMAGE_NOISE, IMAGE_ADVERSARIAL, JOINT)
OF_IMAGES = (IMAGE_NOISE, IMAGE_ADVERSARIAL, JOINT)
OTHER_ATTACKS = "other attacks"
POINTS_ATTACK = "code-points"

_KINDS = {TEACHER: REFERENCE, UNTRAINED: REFERENCE, TRANSLATE_TEST: TRANSLATION, LEXICAL: TRANSLATION}
_FAMILY_OF = {
    TEXT_ADVERSARIAL: ("greedy", "hotflip", "char-gradient", "universal-text"),
    IMAGE_NOISE: ("gaussian-noise", "blur", "jpeg", "occlusion", "contrast"),
    IMAGE_ADVERSARIAL: (
        "fgsm", "pgd", "apgd", "square", "standard", "universal", "apgd-english", "apgd-own", "pgd-english", "pgd-own",
    ),
    JOINT: ("sep", "sep-attack", "co-attack", "sga"),
    TEXT_NOISE: (
        "typo", "insert", "delete", "swap", "substitute", "keyboard", "confusable", "diacritics", "case", "width",
        "normalization", "join", "split", "drop-word", "swap-words", "code-switch", "code-points", "form", "word",
        "any",
    ),
}  # fmt: skip
_UNITS = {TEXT_NOISE: EDITS, TEXT_ADVERSARIAL: EDITS, IMAGE_NOISE: SEVERITY, IMAGE_ADVERSARIAL: RADIUS, JOINT: RADIUS}
_FIRST_SETTINGS = (("emoji", "cosine"), ("emoji", "maxsim"), ("emoji-text", "cosine"), ("emoji-text", "maxsim"))

Seed = int | None
Attack = tuple[str, float]  # name and budget


@dataclass(frozen=True)
class RecipeFacts:
    """The header's facts on a recipe."""

    name: str
    transport: bool
    kind: str  # "distillation", "translation" (queries go to the English teacher), "own space", "reference" (untrained)
    robust: bool = False  # trained on perturbed text
    counterpart: str = ""  # the same recipe without
    control: bool = False  # aligns words without transport: compared by name, never chosen as the best without

    @property
    def role(self) -> str:
        if self.kind == DISTILLATION:
            return "with transport" if self.transport else "control" if self.control else "without transport"
        return self.kind


@dataclass(frozen=True)
class AttackFacts:
    """The header's facts on an attack."""

    name: str
    family: str  # one of FAMILIES, or as the header says
    description: str
    unit: str  # "edits", "radius", "severity" or another


@dataclass(frozen=True)
class Setting:
    """A data set, and the way that a query and a document are compared."""

    dataset: str
    scoring: str

    @property
    def label(self) -> str:
        return setting_label(self.dataset, self.scoring)

    @property
    def where(self) -> str:
        """As in the records."""
        return f"{self.dataset}/{self.scoring}"


@dataclass(frozen=True)
class System:
    """One objective at one bitext size (None: no bitext), with one image tower (what follows "+" in a model's name)."""

    setting: Setting
    objective: str
    size: int | None
    tower: str = ""


@dataclass(frozen=True)
class Spot:
    """The place of one figure of one system; ``attack`` None: clean; ``subset`` None: the headline queries."""

    system: System
    attack: Attack | None = None
    language: str = LOW
    measure: str = MAP
    split: str = TEST
    subset: str | None = None


@dataclass(frozen=True)
class Scope:
    """A set of attacks reported together: each has the same weight, and so has each budget of one."""

    name: str
    attacks: tuple[tuple[str, tuple[float, ...]], ...]

    @property
    def weights(self) -> dict[Attack, float]:
        """Each attack and budget with its weight; they add up to 1."""
        return {
            (attack, budget): 1 / (len(self.attacks) * len(budgets))
            for attack, budgets in self.attacks
            for budget in budgets
        }


@dataclass(frozen=True)
class Source:
    """Header, records, per-query scores and attacked examples, as read from a records file."""

    header: Header
    records: Sequence[Record]
    per_query: Sequence[PerQueryScores] = ()
    examples: Sequence[AttackedExample] = field(default_factory=tuple)


class Results:
    """Records and per-query MAP by spot; DataError where two records of one condition differ."""

    def __init__(self, source: Source) -> None:
        self.header = source.header
        self.examples = tuple(source.examples)
        # The headline queries; "all" in files that do not tell copied queries apart.
        self.subset = HEADLINE if any(record.subset == HEADLINE for record in source.records) else ALL
        self._seeds = self._by_spot(source.records)
        self._intervals: dict[Spot, Interval | None] = {}  # figures, tables and the choice read the same ones
        self._blocks: dict[Spot, list[PerQueryScores]] = {}
        for block in source.per_query:
            if block.measure == MAP and block.subset == self.subset and not _attacked_with_nothing(block.condition):
                self._blocks.setdefault(replace(self._spot(block), language=LOW), []).append(block)
        self._mixed: dict[tuple[System, Scope], list[PerQueryScores] | None] = {}
        self._budgets: dict[System, dict[str, set[float]]] = {}
        self._tested: dict[System, set[str]] = {}  # subsets with MAP on the test split
        for spot in self._seeds:
            budgets = self._budgets.setdefault(spot.system, {})
            if (spot.split, spot.measure) != (TEST, MAP):
                continue
            if spot.attack is None:
                self._tested.setdefault(spot.system, set()).add(spot.subset or self.subset)
            elif spot.subset is None:
                budgets.setdefault(spot.attack[0], set()).add(spot.attack[1])
        self.settings = _ordered_settings({system.setting for system in self._budgets})
        # The plain image tower first, then those fine-tuned against attacks.
        self.towers = tuple(sorted({s.tower for s in self._budgets}, key=lambda t: ("robust" in t, len(t), t)))
        names = {attack for budgets in self._budgets.values() for attack in budgets}
        self.attacks = _by_family([self.attack(name) for name in names])
        codes = {spot.language for spot in self._seeds if spot.measure != ROBUSTNESS_GAP}  # of two groups
        self.languages = _ordered_languages(codes - {ENGLISH, *GROUPS})
        self.low = tuple(code for code in self.languages if is_low(code))
        self.high = tuple(code for code in self.languages if not is_low(code))

    def sizes(self, setting: Setting) -> tuple[int, ...]:
        """Return the bitext sizes of a setting's test records, ascending."""
        measured = {*self._tested, *(system for system, budgets in self._budgets.items() if budgets)}
        return tuple(sorted({s.size for s in measured if s.setting == setting and s.size is not None}))

    def systems(self, setting: Setting, size: int | None, tower: str | None = None) -> tuple[System, ...]:
        """Return the systems measured at a size on either split, by name, with the plain tower by default."""
        tower = self.towers[0] if tower is None else tower
        at = [s for s in self._budgets if (s.setting, s.size, s.tower) == (setting, size, tower)]
        return tuple(sorted(at, key=lambda system: system.objective))

    def subsets(self, setting: Setting) -> tuple[str, ...]:
        return tuple(sorted({name for s, names in self._tested.items() if s.setting == setting for name in names}))

    def budgets(self, attack: str, systems: Iterable[System] | None = None) -> tuple[float, ...]:
        chosen = self._budgets if systems is None else systems
        return tuple(sorted({b for system in chosen for b in self._budgets.get(system, {}).get(attack, ())}))

    def measured(self, system: System) -> set[Attack]:
        return {(attack, budget) for attack, budgets in self._budgets.get(system, {}).items() for budget in budgets}

    def recipe(self, objective: str) -> RecipeFacts:
        """Return the header's facts on a recipe; what it leaves out counts as distillation without transport."""
        entry = _entry(self.header, "recipes", objective)
        stated = entry.get("kind")
        kind = _KINDS.get(objective) or (stated if stated in (TRANSLATION, OWN_SPACE) else DISTILLATION)
        counterpart = str(entry.get("counterpart") or objective.removesuffix("-robust"))
        return RecipeFacts(
            objective,
            entry.get("transport") is True,
            kind,
            entry.get("robust") is True,
            counterpart,
            entry.get("control") is True,
        )

    @property
    def contrasts(self) -> tuple[str, ...]:
        """Controls that the study's question names beforehand, beside the best recipe without transport."""
        named = self.header.protocol.get("contrasts")
        return tuple(map(str, named)) if isinstance(named, list | tuple) else ()

    def attack(self, name: str) -> AttackFacts:
        return attack_facts(self.header, name)

    def seed_values(self, spot: Spot) -> dict[Seed, float]:
        """Return the figure of each seed; a group's is computed from its languages where no record holds it."""
        spot = replace(spot, subset=None) if spot.subset == self.subset else spot
        if records := self._seeds.get(spot):
            return {seed: record.value for seed, record in records.items()}
        members = self.members(spot.language)
        if members == (spot.language,) or not members or spot.measure == PARITY:
            return {}
        parts = [self.seed_values(replace(spot, language=code)) for code in members]
        shared = [seed for seed in parts[0] if all(seed in part for part in parts)]
        return {seed: sum(part[seed] for part in parts) / len(parts) for seed in shared}

    def over_seeds(self, spot: Spot) -> Interval | None:
        if spot not in self._intervals:
            self._intervals[spot] = over_seeds(self.seed_values(spot))
        return self._intervals[spot]

    def gap(self, system: System) -> Interval | None:
        """Return high- minus low-resource MAP, seed by seed, with its t interval."""
        low, high = (self.seed_values(Spot(system, language=group)) for group in (LOW, HIGH))
        return over_seeds({seed: high[seed] - low[seed] for seed in high if seed in low})

    def members(self, code: str) -> tuple[str, ...]:
        apart = tuple(one for one in self.low if one != "fil")
        return {LOW: self.low, HIGH: self.high, WITHOUT_FILIPINO: apart}.get(code, (code,))

    @property
    def groups(self) -> tuple[str, ...]:
        """Return the groups that tables show: without Filipino too, where it and others are there."""
        return (*GROUPS, WITHOUT_FILIPINO) if "fil" in self.low and len(self.low) > 1 else GROUPS

    def clean_values(self, system: System, attacked: Sequence[PerQueryScores], code: str = LOW) -> dict[Seed, float]:
        """Return each seed's clean MAP over the queries that were attacked, which may not be all of them."""
        clean = self.blocks(system)
        values = self.seed_values(Spot(system, language=code))
        if sum(len(block.values) for block in attacked) in (0, sum(len(block.values) for block in clean)):
            return values
        return _means(lambda kept: on_queries_of(clean, kept), attacked, self.members(code), values)

    def scope_values(self, system: System, scope: Scope, code: str = LOW) -> dict[Seed, float]:
        """Return each seed's mean MAP over a scope's attacks; nothing where one of them was not measured."""
        parts = [(weight, self.seed_values(Spot(system, attack, code))) for attack, weight in scope.weights.items()]
        if not parts:
            return {}
        values = {  # from the records alone, where each attack is over its own queries
            seed: sum(weight * part[seed] for weight, part in parts)
            for seed in parts[0][1]
            if all(seed in part for _, part in parts)
        }
        return _means(lambda kept: kept, self.scope_blocks(system, scope) or [], self.members(code), values)

    def blocks(self, system: System, attack: Attack | None = None) -> list[PerQueryScores]:
        """Return the per-query MAP on the test split, one block per language and seed."""
        return self._blocks.get(Spot(system, attack), [])

    def scope_blocks(self, system: System, scope: Scope) -> list[PerQueryScores] | None:
        """Return each query's mean over a scope's attacks; None where one of them was not measured query by query."""
        key = (system, scope)
        if key not in self._mixed:
            parts = [(weight, self.blocks(system, attack)) for attack, weight in scope.weights.items()]
            self._mixed[key] = mixture(parts) if parts and all(blocks for _, blocks in parts) else None
        return self._mixed[key]

    def queries(self, setting: Setting, code: str) -> int:
        """Return the largest number of test queries in the setting's clean MAP records of a language."""
        return max(
            (
                record.queries
                for spot, seeds in self._seeds.items()
                if (spot.system.setting, spot.language, spot.measure, spot.split, spot.subset, spot.attack)
                == (setting, code, MAP, TEST, None, None)
                for record in seeds.values()
            ),
            default=0,
        )

    def uneven_seeds(self) -> list[str]:
        """Return a line for each recipe with fewer training seeds than the header names."""
        most = len(set(self.header.seeds))
        lines = []
        for setting in self.settings:
            for size in self.sizes(setting):
                for system in self.systems(setting, size):
                    trained = [seed for seed in self.seed_values(Spot(system)) if seed is not None]
                    if trained and len(trained) < most:
                        lines.append(f"{setting.where}, {size:,} pairs: {system.objective} has {len(trained)} of "
                                     f"{most} seeds")  # fmt: skip
        return lines

    def _spot(self, scores: Record | PerQueryScores) -> Spot:
        at = scores if isinstance(scores, Record) else scores.condition
        tower = at.model.rpartition("+")[2] if "+" in at.model else ""
        system = System(Setting(at.dataset, at.scoring), at.objective, at.bitext_size, tower)
        attack = (at.attack, float(at.budget or 0)) if at.attack is not None and at.budget != 0 else None
        subset = None if scores.subset == self.subset else scores.subset
        return Spot(system, attack, scores.language, scores.measure, at.split, subset)

    def _by_spot(self, records: Iterable[Record]) -> Mapping[Spot, dict[Seed, Record]]:
        by_spot: dict[Spot, dict[Seed, Record]] = {}
        for record in records:
            if _attacked_with_nothing(record):
                continue
            seeds = by_spot.setdefault(self._spot(record), {})
            if record.seed in seeds and seeds[record.seed] != record:
                _refuse(seeds[record.seed], record)
            seeds[record.seed] = record
        return by_spot


def _attacked_with_nothing(at: Condition) -> bool:
    """Return True for a budget of nothing, which is clean: clean queries have scores of their own."""
    return at.attack is not None and at.budget == 0


def over_seeds(values: Mapping[Seed, float]) -> Interval | None:
    """Return the mean over seeds with its t interval, or None where nothing was measured."""
    return seed_interval(list(values.values())) if values else None


def is_low(code: str) -> bool:
    """Return True for a low-resource language, and for a code that is not in the table of languages."""
    try:
        return language(code).resource == "low"
    except UsageError:
        return True


def attack_facts(header: Header, name: str) -> AttackFacts:
    """Return the header's facts on an attack; missing ones follow from the name."""
    entry = _entry(header, "attacks", name)
    family = str(entry.get("kind") or _family_of(name))
    unit = str(entry.get("unit") or entry.get("budget unit") or attack_unit(name))
    return AttackFacts(name, family, str(entry.get("description") or ""), unit)


def attack_unit(name: str) -> str:
    return POINTS if name.startswith(POINTS_ATTACK) else _UNITS.get(_family_of(name), "budget")


def _family_of(name: str) -> str:
    base = name.split(":")[0]
    return next((family for family, names in _FAMILY_OF.items() if base in names), OTHER_ATTACKS)


def _entry(header: Header, what: str, name: str) -> Mapping[str, Any]:
    entries = header.protocol.get(what)
    entry = entries.get(name) if isinstance(entries, Mapping) else None
    return entry if isinstance(entry, Mapping) else {}


def _means(
    kept_of: Callable[[list[PerQueryScores]], list[PerQueryScores]],
    blocks: Sequence[PerQueryScores],
    languages: Sequence[str],
    otherwise: dict[Seed, float],
) -> dict[Seed, float]:
    """Return each seed's mean over languages of ``kept_of(blocks)``; ``otherwise`` where that cannot be computed."""
    kept = [block for block in blocks if block.language in languages]
    if not kept:
        return otherwise
    try:
        return seed_means(kept_of(kept), languages)
    except DataError:
        return otherwise


def _refuse(first: Record, second: Record) -> None:
    what = f"two records of {second.measure} of {second.objective!r} in {second.language!r}, seed {second.seed}"
    if first.model != second.model:
        raise DataError(f"{what}, models {first.model!r} and {second.model!r}: a page is about one student; keep one")
    raise DataError(f"{what}, attack {second.attack!r}: they contradict each other; run the study again")


def _ordered_settings(settings: set[Setting]) -> tuple[Setting, ...]:
    order = {Setting(*names): place for place, names in enumerate(_FIRST_SETTINGS)}
    return tuple(sorted(settings, key=lambda s: (order.get(s, len(order)), s.dataset, s.scoring)))


def _ordered_languages(codes: set[str]) -> tuple[str, ...]:
    known = [code for code in DEFAULT_LANGUAGES if code in codes]
    return (*known, *sorted(codes - set(known)))


def _by_family(attacks: Sequence[AttackFacts]) -> tuple[AttackFacts, ...]:
    place = {family: row for row, family in enumerate(FAMILIES)}
    return tuple(sorted(attacks, key=lambda f: (place.get(f.family, len(place)), f.family, f.name)))
