"""What hardening brings and costs: recipes trained on perturbed text, and the hardened image tower."""

from __future__ import annotations

from collections.abc import Mapping

from kivuko.report.low_resource.tables import size_heading
from kivuko.report.rendering import DASH, Cell, Row, RowGroup, Table, cells, per_cent, signed_spread
from kivuko.report.robustness.findings import Findings
from kivuko.report.robustness.study import OF_IMAGES, RobustnessStudy, Spot, System, budget_label, over_seeds
from kivuko.report.robustness.tables import figure_of

_LEAST_LOSS = 0.01  # of MAP; of less, a share says nothing


def counterpart(study: RobustnessStudy, objective: str) -> str:
    """Return the recipe that a hardened one is compared with: as the header says, or its name without "robust"."""
    told = study.header.protocol.get("recipes")
    entry = told.get(objective) if isinstance(told, Mapping) else None
    named = entry.get("counterpart") if isinstance(entry, Mapping) else None
    return str(named or objective.removesuffix("-robust"))


def text_hardening_table(findings: Findings) -> Table | None:
    """Each hardened recipe beside its counterpart: what an attack on text costs, and how much of it comes back."""
    study = findings.study
    groups = []
    for size in study.sizes:
        for hardened in study.systems(size):
            plain = System(hardened.model, counterpart(study, hardened.objective), size)
            if (
                study.hardened(hardened.objective)
                and plain != hardened
                and (rows := _text_rows(study, plain, hardened))
            ):
                groups.append(
                    RowGroup(
                        rows, f"Hardened {hardened.objective} against plain {plain.objective}: {size_heading(size)}"
                    )
                )
    if not groups:
        return None
    return Table(
        "Recipes that saw perturbed text in training, beside the same recipe without: low-resource mean MAP, means "
        "over seeds. Recovered is the share of what the attack costs the plain recipe (its clean less its attacked "
        f"MAP) that the hardened one wins back, where it costs at least {_LEAST_LOSS} of MAP. In brackets 95 % t "
        "intervals over seeds.",
        ("attack", "budget", "plain", "hardened", "difference [95 %]", "recovered"),
        groups,
        words=2,
    )


def _text_rows(study: RobustnessStudy, plain: System, hardened: System) -> list[Row]:
    rows = []
    conditions = [
        None,
        *((f.name, b) for f in study.attacks if f.family not in OF_IMAGES for b in study.budgets(f.name)),
    ]
    for attack in conditions:
        sides = [study.seed_values(Spot(system, attack)) for system in (plain, hardened)]
        shared = [seed for seed in sides[0] if seed in sides[1]]
        if not shared:
            continue
        gained = over_seeds({seed: sides[1][seed] - sides[0][seed] for seed in shared})
        clean = study.clean_values(plain, study.blocks(plain, attack) if attack else [])
        lost = sum(clean.get(seed, 0.0) - sides[0][seed] for seed in shared) / len(shared)
        recovered = per_cent(gained.mean / lost) if attack and gained and lost >= _LEAST_LOSS else DASH
        name, budget = (attack[0], budget_label(study.facts(attack[0]).unit, attack[1])) if attack else ("clean", DASH)
        told = [figure_of(over_seeds(side)) for side in sides]
        rows.append(Row(Cell(name), cells(budget, *told, signed_spread(gained, 3), recovered)))
    return rows if len(rows) > 1 else []


def tower_table(findings: Findings) -> Table | None:
    """The hardened image tower beside the plain one, under attacks on images: one student, two towers."""
    study = findings.study
    groups = []
    for size in [findings.headline.size] if findings.headline else [*study.sizes, None]:
        for system in study.systems(size):
            for model in study.models[1:]:
                rows = _tower_rows(study, system, System(model, system.objective, size))
                if rows:
                    heading = f"Students of {system.objective}, {size_heading(size)}: {model} against {system.model}"
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


def _tower_rows(study: RobustnessStudy, plain: System, hardened: System) -> list[Row]:
    rows = []
    conditions = [None, *((f.name, b) for f in study.attacks if f.family in OF_IMAGES for b in study.budgets(f.name))]
    for attack in conditions:
        maps = [study.seed_values(Spot(system, attack)) for system in (plain, hardened)]
        firsts = [study.seed_values(Spot(system, attack, measure="R@1")) for system in (plain, hardened)]
        shared = [seed for seed in maps[0] if seed in maps[1]]
        if not shared:
            continue
        gained = over_seeds({seed: maps[1][seed] - maps[0][seed] for seed in shared})
        name, budget = (attack[0], budget_label(study.facts(attack[0]).unit, attack[1])) if attack else ("clean", DASH)
        told = [figure_of(over_seeds(side)) for side in (*maps, *firsts)]
        rows.append(Row(Cell(name), cells(budget, *told[:2], signed_spread(gained, 3), *told[2:])))
    return rows if len(rows) > 1 else []
