"""The choice of recipes on the validation split, and every test of the page, corrected together with Holm."""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from kivuko.errors import KivukoError
from kivuko.evaluation.comparison import PairedComparison, compare_scores
from kivuko.evaluation.robustness import Matched, Point, compare_ratios, matched, on_queries_of
from kivuko.evaluation.statistics import holm
from kivuko.report.formatting import after_holm, text
from kivuko.report.results import (
    DISTILLATION,
    FAMILIES,
    LEXICAL,
    MSE,
    TRANSLATE_TEST,
    VALIDATION,
    RecipeFacts,
    Results,
    Scope,
    Seed,
    Setting,
    Spot,
    System,
)

LEVEL = 0.05
CLEAN = "clean MAP"
UNDER_ATTACK, RATIO, MATCHED = "MAP under attack", "robustness ratio", "MAP under attack at equal clean MAP"
KINDS = (CLEAN, UNDER_ATTACK, MATCHED, RATIO)
EVERYTHING = "all attacks"
BASELINES = (TRANSLATE_TEST, LEXICAL, MSE)
# What a recipe is made of: (part, with it, without it), fixed beforehand.
PARTS = (
    ("start", "transplant", "ibm1"),
    ("start", "transplant", "ibm2"),
    ("start", "transplant", "fast-align"),
    ("loss", "transport", "contrastive"),
    ("loss on start", "optical", "transplant"),
    ("alignment", "ibm1", "contrastive"),
)


@dataclass(frozen=True)
class Contrast:
    """The two sides of a page: with and without transport, or the best recipe and the next one."""

    transport: bool
    first: str  # name of a side in a plot's key
    second: str
    best: str  # name of a chosen recipe in a sentence
    other: str

    @property
    def role(self) -> str:
        """The role of the second side's choice in a table of tests."""
        return "best without transport" if self.transport else "second best"

    def sides(self, recipes: Sequence[RecipeFacts]) -> tuple[list[str], list[str]]:
        """Return the names of the recipes that may be chosen for each side."""
        names = [[one.name for one in recipes if one.transport is uses and not one.control] for uses in (True, False)]
        every = [one.name for one in recipes]
        return (names[0], names[1]) if self.transport else (every, every)

    @property
    def rule(self) -> str:
        """The rule by which recipes are chosen, in a sentence or two."""
        return text("study.rule-transport" if self.transport else "study.rule-recipes")


TRANSPORT_CONTRAST = Contrast(
    True, "with transport", "without", "the best recipe with it", "the best distillation recipe without it"
)
RECIPE_CONTRAST = Contrast(False, "best recipe", "second best", "the best recipe", "the second best")


def contrast_of(results: Results) -> Contrast:
    """Return the contrast that the records allow: transport needs recipes with it and without it.

    Records whose header says nothing on transport are compared recipe against recipe.
    """
    recipes = {
        facts.name: facts.transport
        for setting in results.settings
        for size in results.sizes(setting)
        for system in results.systems(setting, size)
        if (facts := results.recipe(system.objective)).kind == DISTILLATION and not facts.robust
    }
    return RECIPE_CONTRAST if len(recipes) > 1 and len({*recipes.values()}) == 1 else TRANSPORT_CONTRAST


@dataclass(frozen=True)
class Choice:
    """The recipes chosen at one setting and size."""

    setting: Setting
    size: int
    first: System | None  # None where none could be chosen
    second: System | None
    candidates: tuple[System, ...]  # every recipe of the first side, the chosen one first
    validation: Mapping[System, float]  # low-resource mean MAP over seeds
    scopes: tuple[Scope, ...] = ()  # all attacks together, then each family, as far as every recipe was measured
    notes: tuple[str, ...] = ()

    def mark(self, system: System) -> str:
        """Return a star behind a space for a chosen recipe, filled for the first side, hollow for the second."""
        return {self.first: " ★", self.second: " ☆"}.get(system, "")


def choose(results: Results, contrast: Contrast, setting: Setting, size: int, attacked: bool = False) -> Choice:
    """Choose at one setting and size, never by a test figure.

    ``attacked``: only among recipes measured under attack and not trained on perturbed text; those without validation
    scores may then be taken by name.
    """
    systems = [
        system
        for system in results.systems(setting, size)
        if (facts := results.recipe(system.objective)).kind == DISTILLATION
        and not (attacked and (facts.robust or not results.measured(system)))
    ]
    validation = {
        system: interval.mean
        for system in systems
        if (interval := results.over_seeds(Spot(system, split=VALIDATION))) is not None
    }
    names = contrast.sides([results.recipe(system.objective) for system in systems])
    sides = [[system for system in systems if system.objective in side] for side in names]
    notes: list[str] = []
    best = _by_name if attacked else _by_validation
    first = best(sides[0], validation, contrast.first, notes)
    rest = [system for system in sides[1] if system != first]
    second = best(rest, validation, contrast.second if not contrast.transport else "without transport", notes)
    candidates = tuple(sorted(sides[0], key=lambda s: (s != first, s.objective)))
    if not contrast.transport and first is not None:
        candidates = (first,)
    notes += [
        f"{system.objective} was chosen on validation but has no low-resource test MAP"
        for system in (first, second)
        if system and not results.seed_values(Spot(system))
    ]
    compared = [*candidates, *([second] if second else [])]
    scopes = _scopes(results, compared, notes) if attacked else ()
    return Choice(setting, size, first, second, candidates, validation, scopes, tuple(notes))


def _by_validation(
    systems: Sequence[System], validation: Mapping[System, float], what: str, notes: list[str]
) -> System | None:
    if left_out := [system.objective for system in systems if system not in validation]:
        notes.append(f"no validation scores of {', '.join(left_out)}, so they could not be chosen")
    if not systems:
        notes.append(f"no distillation recipe {what} was measured (the header says which recipes use transport)")
    # Equal figures: the first by name, so that the same records give the same page.
    measured = [system for system in systems if system in validation]
    return max(measured, key=lambda system: validation[system], default=None)


_PREFERRED = ("optical", "transport", "transplant", "contrastive", "sentence", "cosine", "mse")


def _by_name(
    systems: Sequence[System], validation: Mapping[System, float], what: str, notes: list[str]
) -> System | None:
    """Choose by validation if every system has scores there, else by name."""
    if not systems:
        notes.append(f"no distillation recipe {what} was measured under attack")
        return None
    if all(system in validation for system in systems):
        return max(systems, key=lambda system: validation[system])
    preferred = [system for name in _PREFERRED for system in systems if system.objective == name]
    best = (preferred or list(systems))[0]
    if len(systems) > 1:
        notes.append(f"not every recipe {what} has validation scores, so {best.objective} was taken by its name")
    return best


def _scopes(results: Results, systems: Sequence[System], notes: list[str]) -> tuple[Scope, ...]:
    if not systems:
        return ()
    shared = set.intersection(*(results.measured(system) for system in systems))
    if left_out := sorted({name for s in systems for name, _ in results.measured(s)} - {name for name, _ in shared}):
        notes.append(f"{', '.join(left_out)} was not made on every recipe, so means leave it out")
    for rule, says in ((_is_small, "small"), (_is_harmless, "harmless")):
        if names := sorted({name for name, _ in shared if rule(results, systems, name)}):
            notes.append(text(f"robustness.{says}", attacks=", ".join(names)))
            shared = {(name, budget) for name, budget in shared if name not in names}
    by_family: dict[str, list[tuple[str, tuple[float, ...]]]] = {}
    for facts in results.attacks:
        if budgets := tuple(sorted(budget for name, budget in shared if name == facts.name)):
            by_family.setdefault(facts.family, []).append((facts.name, budgets))
    families = [Scope(family, tuple(attacks)) for family, attacks in by_family.items()]
    families.sort(key=lambda scope: FAMILIES.index(scope.name) if scope.name in FAMILIES else len(FAMILIES))
    every = tuple(attack for scope in families for attack in scope.attacks)
    return (Scope(EVERYTHING, every), *families) if every else ()


_LEAST_SHARE = 0.1  # of the queries; means over fewer would rest on a few concepts
_LEAST_HARM = 0.01  # of clean MAP


def _is_small(results: Results, systems: Sequence[System], attack: str) -> bool:
    """Return True for an attack on so few of the queries that it would decide what all means are over."""
    budget = results.budgets(attack, systems[:1])[0]
    queries = [sum(len(b.values) for b in results.blocks(systems[0], at)) for at in ((attack, budget), None)]
    return 0 < queries[0] < _LEAST_SHARE * queries[1]


def _is_harmless(results: Results, systems: Sequence[System], attack: str) -> bool:
    """Return True for an attack that takes no compared recipe's low-resource MAP down, at any budget."""
    for system in systems:
        for budget in results.budgets(attack, [system]):
            clean = results.clean_values(system, results.blocks(system, (attack, budget)))
            attacked = results.seed_values(Spot(system, (attack, budget)))
            before = sum(clean[seed] for seed in attacked if seed in clean)
            if not before or sum(attacked[seed] for seed in attacked if seed in clean) < (1 - _LEAST_HARM) * before:
                return False
    return True


@dataclass(frozen=True)
class PairedTest:
    """A recipe of the first side against another on the test split, low-resource means."""

    setting: Setting
    size: int
    comparison: PairedComparison
    adjusted: float  # p value after Holm over the whole family
    scope: str = ""  # the attacks; "" for clean queries
    kind: str = CLEAN  # one of KINDS
    roles: tuple[str, ...] = ()  # of the other recipe: "mse" may also be the best without transport
    matching: Matched | None = None
    family_size: int = 1
    family: str = ""  # tests that are corrected together
    part: str = ""  # of PARTS, where two named recipes are compared instead of the chosen one and another

    @property
    def gain(self) -> float:
        """The relative difference, first / second - 1; infinite over a second whose mean is 0."""
        first, second = self.comparison.means
        if second > 0:
            return first / second - 1
        return math.inf if first > 0 else 0.0

    @property
    def significant(self) -> bool:
        return self.adjusted < LEVEL

    @property
    def at_floor(self) -> bool:
        """True if the p values are upper bounds: no random trial reached the difference."""
        return self.comparison.test.at_floor

    @property
    def p_text(self) -> str:
        """The p value after Holm, as in a sentence."""
        return after_holm(self.adjusted, at_floor=self.at_floor)

    @property
    def sign(self) -> int:
        """1 or -1 where the difference is significant and positive or negative, else 0."""
        if not self.significant:
            return 0
        return 1 if self.comparison.difference.mean > 0 else -1

    @property
    def verdict(self) -> str:
        return {1: "better", -1: "worse", 0: "not shown"}[self.sign]


@dataclass(frozen=True)
class Family:
    tests: tuple[PairedTest, ...]
    missing: tuple[str, ...]  # a line for each test that could not be computed
    parts: tuple[PairedTest, ...] = ()  # a family of each setting's own

    def against(self, setting: Setting, size: int, role: str) -> PairedTest | None:
        """Return the clean test against the recipe in this role."""
        same = (t for t in self.tests if (t.setting, t.size) == (setting, size) and role in t.roles)
        return next(same, None)

    def attacked(self, size: int, scope: str, kind: str, objective: str) -> PairedTest | None:
        """Return the test of one recipe of the first side under a scope's attacks."""
        wanted = (size, scope, kind, objective)
        return next((t for t in self.tests if (t.size, t.scope, t.kind, t.comparison.first) == wanted), None)


def compare_all(results: Results, contrast: Contrast, choices: Sequence[Choice], attacked: bool = False) -> Family:
    """Run every comparison of the page, then correct each family with Holm: all together, unless contrasts are named.

    Clean queries: the chosen recipe of the first side against every opponent; where the header names contrasts, the
    parts of the recipes too. Under attack: every recipe of the first side against the chosen one of the second, in
    every scope, in three ways.
    """
    missing = [f"{_where(choice, attacked)}: {note}" for choice in choices for note in choice.notes]
    tests: list[PairedTest] = []
    for choice in choices:
        for one in _under_attack(results, choice) if attacked else _clean(results, contrast, choice):
            if isinstance(one, str):
                missing.append(f"{_where(choice, attacked)}{one}")
            else:
                tests.append(one)
    if not results.contrasts or attacked:
        return Family(_corrected(tests), tuple(missing))
    tests = [replace(one, family=_named_family(one, results, contrast)) for one in tests]
    parts = [one for choice in choices for one in _parts(results, choice)]
    return Family(_corrected(tests), tuple(missing), _corrected(parts))


def _corrected(tests: Sequence[PairedTest]) -> tuple[PairedTest, ...]:
    corrected: dict[int, PairedTest] = {}
    for family in dict.fromkeys(one.family for one in tests):
        own = [place for place, one in enumerate(tests) if one.family == family]
        adjusted = holm([tests[place].comparison.test.p_value for place in own])
        for place, p in zip(own, adjusted, strict=True):
            corrected[place] = replace(tests[place], adjusted=p, family_size=len(own))
    return tuple(corrected[place] for place in range(len(tests)))


def _parts(results: Results, choice: Choice) -> Iterator[PairedTest]:
    here = {system.objective: system for system in results.systems(choice.setting, choice.size)}
    for part, one, other in PARTS:
        if one in here and other in here:
            with contextlib.suppress(KivukoError):  # scores are missing: the page says that it was not measured
                comparison = compare_scores(results.blocks(here[one]), results.blocks(here[other]), results.low)
                family = f"{choice.setting.where}: parts"
                yield PairedTest(choice.setting, choice.size, comparison, 1.0, family=family, part=part)


def _named_family(tested: PairedTest, results: Results, contrast: Contrast) -> str:
    """Return the family that was fixed beforehand: the question's contrasts in one setting, or the baselines there."""
    of_question = {contrast.role, *results.contrasts} & {*tested.roles}
    return f"{tested.setting.where}: {'the question' if of_question else 'baselines'}"


def _where(choice: Choice, attacked: bool) -> str:
    return f"{choice.size:,} pairs" if attacked else f"{choice.setting.where}, {choice.size:,} pairs"


def _clean(results: Results, contrast: Contrast, choice: Choice) -> Iterator[PairedTest | str]:
    if choice.first is None:
        return
    here = {system.objective: system for system in results.systems(choice.setting, choice.size)}
    if contrast.transport:
        named = [*results.contrasts, *BASELINES]
        roles = [(contrast.role, choice.second), *((name, here[name]) for name in named if name in here)]
    else:
        others = [here[name] for name in here if results.recipe(name).kind != "reference"]
        roles = [(contrast.role, choice.second), *((system.objective, system) for system in others)]
    opponents: dict[System, tuple[str, ...]] = {}
    for role, system in roles:
        if system is not None and system != choice.first:
            opponents[system] = (*opponents.get(system, ()), role)
    for other, names in opponents.items():
        try:
            comparison = compare_scores(results.blocks(choice.first), results.blocks(other), results.low)
        except KivukoError as problem:
            yield f": {choice.first.objective} against {other.objective} was not tested: {problem}"
        else:
            yield PairedTest(choice.setting, choice.size, comparison, 1.0, roles=names)
    if contrast.transport:
        wanted = [*results.contrasts, *([] if results.contrasts else BASELINES)]
        yield from (f": no {name} was measured" for name in wanted if name not in here)


def _under_attack(results: Results, choice: Choice) -> Iterator[PairedTest | str]:
    if choice.second is None:
        return
    for system in choice.candidates:
        for scope in choice.scopes:
            for kind, test in _WAYS.items():
                try:
                    made = test(results, scope, system, choice.second)
                except KivukoError as problem:
                    made = str(problem)
                if isinstance(made, str):
                    yield f", {scope.name}, {system.objective} against {choice.second.objective}, {kind}: {made}"
                else:
                    comparison, matching = made
                    yield PairedTest(choice.setting, choice.size, comparison, 1.0, scope.name, kind, (), matching)


_Made = tuple[PairedComparison, Matched | None] | str


def _raw(results: Results, scope: Scope, one: System, other: System) -> _Made:
    sides = [results.scope_blocks(system, scope) for system in (one, other)]
    if sides[0] is None or sides[1] is None:
        return "there are no per-query scores"
    return compare_scores(sides[0], sides[1], results.low), None


def _ratio(results: Results, scope: Scope, one: System, other: System) -> _Made:
    sides = [(results.blocks(system), results.scope_blocks(system, scope) or []) for system in (one, other)]
    if not all(clean and attacked for clean, attacked in sides):
        return "there are no per-query scores"
    comparison = compare_ratios(sides[0], sides[1], results.low)
    return (comparison, None) if comparison else "the MAP of a recipe is 0, so it has no ratio"


def _matched(results: Results, scope: Scope, one: System, other: System) -> _Made:
    points = [_points(results, scope, system) for system in (one, other)]
    matching = matched(points[0], points[1], results.low, one.size or 0)
    return (matching.comparison, matching) if matching.comparison else matching.reason


_WAYS: dict[str, Callable[[Results, Scope, System, System], _Made]] = {
    UNDER_ATTACK: _raw,
    MATCHED: _matched,
    RATIO: _ratio,
}


def _points(results: Results, scope: Scope, system: System) -> list[Point]:
    """Return the recipe at every size that it was measured at under all attacks of the scope."""
    points = []
    for size in results.sizes(system.setting):
        there = replace(system, size=size)
        robust, clean = results.scope_blocks(there, scope), results.blocks(there)
        if robust and clean:
            low = [block for block in robust if block.language in results.low]
            points.append(Point(size, on_queries_of(clean, low), low))
    return points


def no_choice(choice: Choice, contrast: Contrast, split: str) -> str:
    """Return why a choice has no pair to compare, as the end of a sentence."""
    if contrast.transport:
        lacking = "with transport" if choice.first is None else "without transport"
        return f"at {choice.size:,} pairs no distillation recipe {lacking} {split}"
    return f"at {choice.size:,} pairs fewer than two recipes {split}"


def share_values(results: Results, system: System, scope: Scope, code: str) -> list[dict[Seed, float]]:
    """Return each seed's clean MAP, MAP under a scope's attacks, and the share of the first that is kept."""
    clean = results.clean_values(system, results.scope_blocks(system, scope) or [], code)
    robust = results.scope_values(system, scope, code)
    ratio = {seed: robust[seed] / clean[seed] for seed in robust if clean.get(seed, 0) > 0}
    return [clean, robust, ratio]
