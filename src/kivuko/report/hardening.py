"""Tables of hardening: recipes trained on perturbed text, and image towers fine-tuned against attacks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from kivuko.evaluation.statistics import Interval
from kivuko.report.formatting import DASH, budget_label, mean_of, per_cent, signed_spread, size_heading
from kivuko.report.page import Cell, Row, RowGroup, Table, cells
from kivuko.report.results import OF_IMAGES, Attack, Results, Seed, Spot, System, over_seeds
from kivuko.report.study_page import Findings

_LEAST_LOSS = 0.01  # of MAP; of less, a share says nothing


def text_hardening_table(findings: Findings) -> Table | None:
    results = findings.results
    groups = []
    for size in results.sizes(findings.setting):
        for hardened in results.systems(findings.setting, size):
            facts = results.recipe(hardened.objective)
            plain = replace(hardened, objective=facts.counterpart)
            rows = _text_rows(results, plain, hardened) if facts.robust and plain != hardened else []
            if rows:
                heading = f"Hardened {hardened.objective} against plain {plain.objective}: {size_heading(size)}"
                groups.append(RowGroup(rows, heading))
    if not groups:
        return None
    return Table(
        "Recipes that saw perturbed text in training, beside the same recipe without: low-resource mean MAP, means "
        "over seeds. Recovered is the share of the plain recipe’s loss under the attack (its clean less its attacked "
        f"MAP) that the hardened one wins back, where it loses at least {_LEAST_LOSS} of MAP. In brackets 95 % t "
        "intervals over seeds.",
        ("attack", "budget", "plain", "hardened", "difference [95 %]", "recovered"),
        groups,
        words=2,
    )


def _conditions(results: Results, of_images: bool) -> list[Attack | None]:
    kind = [facts for facts in results.attacks if (facts.family in OF_IMAGES) is of_images]
    return [None, *((facts.name, budget) for facts in kind for budget in results.budgets(facts.name))]


def _condition_cells(results: Results, attack: Attack | None) -> tuple[str, str]:
    return (attack[0], budget_label(results.attack(attack[0]).unit, attack[1])) if attack else ("clean", DASH)


def _hardening_rows(
    results: Results, plain: System, hardened: System, of_images: bool,
    further: Callable[[Attack | None, Interval, list[Seed]], list[str]],
) -> list[Row]:  # fmt: skip
    """Return MAP of both and their difference per attack; ``further`` gives the last cells."""
    rows = []
    for attack in _conditions(results, of_images):
        sides = [results.seed_values(Spot(system, attack)) for system in (plain, hardened)]
        shared = [seed for seed in sides[0] if seed in sides[1]]
        gained = over_seeds({seed: sides[1][seed] - sides[0][seed] for seed in shared})
        if gained is not None:
            name, budget = _condition_cells(results, attack)
            means = [mean_of(over_seeds(side)) for side in sides]
            cells_after = further(attack, gained, shared)
            rows.append(Row(Cell(name), cells(budget, *means, signed_spread(gained, 3), *cells_after)))
    return rows if len(rows) > 1 else []


def _text_rows(results: Results, plain: System, hardened: System) -> list[Row]:
    def recovered(attack: Attack | None, gained: Interval, shared: list[Seed]) -> list[str]:
        attacked = results.seed_values(Spot(plain, attack))
        clean = results.clean_values(plain, results.blocks(plain, attack) if attack else [])
        lost = sum(clean.get(seed, 0.0) - attacked[seed] for seed in shared) / len(shared)
        return [per_cent(gained.mean / lost) if attack and lost >= _LEAST_LOSS else DASH]

    return _hardening_rows(results, plain, hardened, False, recovered)


def tower_table(findings: Findings) -> Table | None:
    results = findings.results
    groups = []
    for size in [findings.size] if findings.size is not None else [*results.sizes(findings.setting), None]:
        for system in results.systems(findings.setting, size):
            for tower in results.towers[1:]:
                rows = _tower_rows(results, system, replace(system, tower=tower))
                if rows:
                    heading = f"Students of {system.objective}, {size_heading(size)}: {tower} against {system.tower}"
                    groups.append(RowGroup(rows, heading))
    if not groups:
        return None
    return Table(
        "The image tower fine-tuned against attacks, with the same students: low-resource means over seeds. In "
        "brackets 95 % t intervals over seeds.",
        ("attack", "budget", "MAP, plain", "MAP, hardened", "difference [95 %]", "R@1, plain", "R@1, hardened"),
        groups,
        words=2,
    )


def _tower_rows(results: Results, plain: System, hardened: System) -> list[Row]:
    def first_ranks(attack: Attack | None, _gained: Interval, _shared: list[Seed]) -> list[str]:
        sides = [results.seed_values(Spot(system, attack, measure="R@1")) for system in (plain, hardened)]
        return [mean_of(over_seeds(side)) for side in sides]

    return _hardening_rows(results, plain, hardened, True, first_ranks)
