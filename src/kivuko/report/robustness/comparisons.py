"""Every comparison on the page: one family, so that asking often does not make luck look like a finding."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from kivuko.errors import KivukoError
from kivuko.evaluation import Comparison, compare, holm
from kivuko.evaluation.comparison import compare_ratios, on_queries_of
from kivuko.evaluation.matched import Matched, Point, matched
from kivuko.report.low_resource.study import DISTILLATION, VALIDATION
from kivuko.report.robustness.study import FAMILIES, RobustnessStudy, Scope, Spot, System, over_seeds

RULE = (
    "At each bitext size the best recipe with transport and the best distillation recipe without it are chosen by the "
    "low-resource mean MAP over seeds of clean queries of the validation split; no attacked score has a part in the "
    "choice. Recipes hardened against perturbed text do not stand for transport and are reported apart."
)
_WITHOUT_VALIDATION = {
    True: ("optical", "transport", "transplant"),
    False: ("contrastive", "sentence", "cosine", "mse"),
}
EVERYTHING = "all attacks"


@dataclass(frozen=True)
class Choice:
    """What is compared at one bitext size.

    Attributes:
        transport, plain: the chosen recipes; None where none was measured under attack.
        candidates: every recipe with transport that was measured under attack, the chosen one first.
        scopes: all attacks together, then each family, over the attacks and budgets that every one of them was measured
            under.
        notes: what a reader should know of the choice, a line each.
    """

    size: int
    transport: System | None
    plain: System | None
    candidates: tuple[System, ...]
    scopes: tuple[Scope, ...]
    notes: tuple[str, ...]


def choose(study: RobustnessStudy, size: int) -> Choice:
    """Choose at one size."""
    distilled = [
        system
        for system in study.systems(size)
        if study.recipe(system.objective).kind == DISTILLATION and not study.hardened(system.objective)
        and study.measured(system)
    ]  # fmt: skip
    notes: list[str] = []
    validation = {}
    for system in distilled:
        if found := over_seeds(study.seed_values(Spot(system, split=VALIDATION))):
            validation[system] = found.mean
    sides = {uses: [s for s in distilled if study.recipe(s.objective).transport is uses] for uses in (True, False)}
    chosen = {uses: _best(sides[uses], validation, uses, notes, size) for uses in sides}
    first = chosen[True]
    candidates = tuple(sorted(sides[True], key=lambda s: (s != first, s.objective)))
    plain = chosen[False]
    compared = [*candidates, *([plain] if plain else [])]
    return Choice(size, first, plain, candidates, _scopes(study, compared, notes, size), tuple(notes))


def _best(
    systems: Sequence[System], validation: Mapping[System, float], transport: bool, notes: list[str], size: int
) -> System | None:
    what = "with transport" if transport else "without transport"
    if not systems:
        notes.append(f"{size:,} pairs: no distillation recipe {what} was measured under attack")
        return None
    if all(system in validation for system in systems):
        # Equal figures: the first by name, so that the same records give the same page.
        return max(systems, key=lambda system: validation[system])
    fixed = [s for name in _WITHOUT_VALIDATION[transport] for s in systems if s.objective == name]
    best = (fixed or list(systems))[0]
    if len(systems) > 1:
        notes.append(
            f"{size:,} pairs: not every recipe {what} has validation scores, so {best.objective} was taken by its name"
        )
    return best


def _scopes(study: RobustnessStudy, systems: Sequence[System], notes: list[str], size: int) -> tuple[Scope, ...]:
    if not systems:
        return ()
    shared = set.intersection(*(study.measured(system) for system in systems))
    if left_out := sorted({name for s in systems for name, _ in study.measured(s)} - {name for name, _ in shared}):
        notes.append(f"{size:,} pairs: {', '.join(left_out)} was not made on every recipe, so means leave it out")
    by_family: dict[str, list[tuple[str, tuple[float, ...]]]] = {}
    for facts in study.attacks:
        if budgets := tuple(sorted(budget for name, budget in shared if name == facts.name)):
            by_family.setdefault(facts.family, []).append((facts.name, budgets))
    families = [Scope(family, tuple(attacks)) for family, attacks in by_family.items()]
    families.sort(key=lambda scope: FAMILIES.index(scope.name) if scope.name in FAMILIES else len(FAMILIES))
    every = tuple(attack for scope in families for attack in scope.attacks)
    return (Scope(EVERYTHING, every), *families) if every else ()


LEVEL = 0.05
RAW, RATIO, MATCHED = "MAP under attack", "robustness ratio", "MAP under attack at equal clean MAP"
KINDS = (RAW, MATCHED, RATIO)


@dataclass(frozen=True)
class RobustnessTest:
    """A recipe with transport against the chosen one without it, low-resource languages, one scope, one kind.

    ``adjusted``: the p value after Holm over the whole family. ``matching``: how clean MAP was made equal, if it was.
    """

    size: int
    scope: str
    kind: str
    comparison: Comparison
    adjusted: float
    matching: Matched | None = None

    @property
    def sign(self) -> int:
        """1 or -1 where the difference is significant and positive or negative, else 0."""
        if self.adjusted >= LEVEL:
            return 0
        return 1 if self.comparison.difference.mean > 0 else -1


@dataclass(frozen=True)
class Family:
    """All tests of the page, and a line for each one that could not be made."""

    tests: tuple[RobustnessTest, ...]
    missing: tuple[str, ...]

    def find(self, size: int, scope: str, kind: str, objective: str) -> RobustnessTest | None:
        """Return the test of one recipe with transport."""
        wanted = (size, scope, kind, objective)
        return next((t for t in self.tests if (t.size, t.scope, t.kind, t.comparison.first) == wanted), None)


@dataclass(frozen=True)
class _Made:
    size: int
    scope: str
    kind: str
    comparison: Comparison
    matching: Matched | None = None


def compare_all(study: RobustnessStudy, choices: Sequence[Choice]) -> Family:
    """Compare every transport recipe with the chosen one without, in every scope, then correct with Holm."""
    made: list[_Made] = []
    missing: list[str] = []
    for choice in choices:
        if choice.plain is None:
            continue
        for system in choice.candidates:
            for scope in choice.scopes:
                where = f"{choice.size:,} pairs, {scope.name}, {system.objective} against {choice.plain.objective}"
                for kind, test in _KINDS.items():
                    try:
                        outcome = test(study, scope, system, choice.plain)
                    except KivukoError as problem:
                        outcome = str(problem)
                    if isinstance(outcome, str):
                        missing.append(f"{where}, {kind}: {outcome}")
                    else:
                        comparison, matching = outcome
                        made.append(_Made(choice.size, scope.name, kind, comparison, matching))
    adjusted = holm({str(place): one.comparison.test.p_value for place, one in enumerate(made)})
    tests = (
        RobustnessTest(one.size, one.scope, one.kind, one.comparison, p, one.matching)
        for one, p in zip(made, adjusted.values(), strict=True)
    )
    return Family(tuple(tests), tuple(missing))


_Outcome = tuple[Comparison, Matched | None]


def _raw(study: RobustnessStudy, scope: Scope, one: System, other: System) -> _Outcome | str:
    sides = [study.scope_blocks(system, scope) for system in (one, other)]
    if sides[0] is None or sides[1] is None:
        return "there are no per-query scores"
    return compare(sides[0], sides[1], study.low), None


def _ratio(study: RobustnessStudy, scope: Scope, one: System, other: System) -> _Outcome | str:
    sides = [(study.blocks(system), study.scope_blocks(system, scope) or []) for system in (one, other)]
    if not all(clean and attacked for clean, attacked in sides):
        return "there are no per-query scores"
    found = compare_ratios(sides[0], sides[1], study.low)
    return (found, None) if found else "a recipe finds nothing, so it has no ratio"


def _matched(study: RobustnessStudy, scope: Scope, one: System, other: System) -> _Outcome | str:
    points = [_points(study, scope, system) for system in (one, other)]
    found = matched(points[0], points[1], study.low, one.size or 0)
    return (found.comparison, found) if found.comparison else found.reason


_KINDS: dict[str, Callable[[RobustnessStudy, Scope, System, System], _Outcome | str]] = {
    RAW: _raw,
    MATCHED: _matched,
    RATIO: _ratio,
}


def _points(study: RobustnessStudy, scope: Scope, system: System) -> list[Point]:
    """Return the recipe at every size that it was measured at under all attacks of the scope."""
    points = []
    for size in study.sizes:
        there = System(system.model, system.objective, size)
        robust, clean = study.scope_blocks(there, scope), study.blocks(there)
        if robust and clean:
            low = [block for block in robust if block.language in study.low]
            points.append(Point(size, on_queries_of(clean, low), low))
    return points
