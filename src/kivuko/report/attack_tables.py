"""Tables of attacks, of hardening against them, and attacked examples to show on a page."""

import base64
from collections.abc import Callable, Sequence
from dataclasses import replace

from kivuko.evaluation.attack.examples import AttackedExample
from kivuko.evaluation.robustness import accuracy_radius_area, robustness
from kivuko.evaluation.statistics import Interval
from kivuko.report import formatting as fmt
from kivuko.report.page import Block, Cell, Examples, Prose, Row, RowGroup, ShownExample, Table, cells
from kivuko.report.results import OF_IMAGES, Attack, Results, Seed, Spot, System, over_seeds
from kivuko.report.study_page import Findings


def success_table(findings: Findings) -> Table | None:
    choice, results = findings.headline, findings.results
    if choice is None or not results.low:
        return None
    groups = []
    for system in (choice.first, choice.second):
        rows = success_rows(results, system, results.low) if system else []
        if rows and system is not None:
            groups.append(RowGroup(rows, f"Against {system.objective}, {fmt.size_heading(system.size)}"))
    return success_of(groups, "low-resource languages") if groups else None


def success_rows(results: Results, system: System, languages: Sequence[str]) -> list[Row]:
    """Return both rates of success, the share kept and the area under the curve, per attack at its largest budget."""
    rows = []
    for facts in results.attacks:
        by_budget = {
            budget: blocks
            for budget in results.budgets(facts.name)
            if (blocks := results.blocks(system, (facts.name, budget)))
        }
        if by_budget and results.blocks(system):
            largest, clean = max(by_budget), results.blocks(system)
            result = robustness(clean, by_budget[largest], languages)
            area = accuracy_radius_area(clean, by_budget, languages)
            figures = map(fmt.spread, (result.accuracy_drop, result.success_of_correct, result.ratio, area))
            rows.append(Row(Cell(facts.name), cells(fmt.budget_label(facts.unit, largest), *figures)))
    return rows


def success_of(groups: Sequence[RowGroup], languages: str) -> Table:
    return Table(
        fmt.text("robustness.success", languages=languages),
        ("attack", "budget", "fall of R@1", "broken", "kept", "area"),
        groups,
        words=2,
    )


def samples(results: Results, system: System) -> list[str]:
    """Return a line for each attack that was run on some of the queries only."""
    queries = sum(len(block.values) for block in results.blocks(system))
    lines = []
    for facts in results.attacks:
        for budget in results.budgets(facts.name, [system])[:1]:
            attacked = sum(len(block.values) for block in results.blocks(system, (facts.name, budget)))
            if 0 < attacked < queries:
                share = f"{attacked / queries:.0%}"
                lines.append(fmt.text("robustness.sample", attack=facts.name, share=share))
    return lines


# Hardening

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
                heading = f"Hardened {hardened.objective} against plain {plain.objective}: {fmt.size_heading(size)}"
                groups.append(RowGroup(rows, heading))
    if not groups:
        return None
    return Table(
        fmt.text("robustness.hardened", least=_LEAST_LOSS),
        ("attack", "budget", "plain", "hardened", "difference [95 %]", "recovered"),
        groups,
        words=2,
    )


def _conditions(results: Results, of_images: bool) -> list[Attack | None]:
    kind = [facts for facts in results.attacks if (facts.family in OF_IMAGES) is of_images]
    return [None, *((facts.name, budget) for facts in kind for budget in results.budgets(facts.name))]


def _condition_cells(results: Results, attack: Attack | None) -> tuple[str, str]:
    return (attack[0], fmt.budget_label(results.attack(attack[0]).unit, attack[1])) if attack else ("clean", fmt.DASH)


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
            means = [fmt.mean_of(over_seeds(side)) for side in sides]
            cells_after = further(attack, gained, shared)
            rows.append(Row(Cell(name), cells(budget, *means, fmt.signed_spread(gained, 3), *cells_after)))
    return rows if len(rows) > 1 else []


def _text_rows(results: Results, plain: System, hardened: System) -> list[Row]:
    def recovered(attack: Attack | None, gained: Interval, shared: list[Seed]) -> list[str]:
        attacked = results.seed_values(Spot(plain, attack))
        clean = results.clean_values(plain, results.blocks(plain, attack) if attack else [])
        lost = sum(clean.get(seed, 0.0) - attacked[seed] for seed in shared) / len(shared)
        return [fmt.per_cent(gained.mean / lost) if attack and lost >= _LEAST_LOSS else fmt.DASH]

    return _hardening_rows(results, plain, hardened, False, recovered)


def tower_table(findings: Findings) -> Table | None:
    results = findings.results
    groups = []
    for size in [findings.size] if findings.size is not None else [*results.sizes(findings.setting), None]:
        for system in results.systems(findings.setting, size):
            for tower in results.towers[1:]:
                rows = _tower_rows(results, system, replace(system, tower=tower))
                if rows:
                    heading = (
                        f"Students of {system.objective}, {fmt.size_heading(size)}: {tower} against {system.tower}"
                    )
                    groups.append(RowGroup(rows, heading))
    if not groups:
        return None
    return Table(
        fmt.text("robustness.tower"),
        ("attack", "budget", "MAP, plain", "MAP, hardened", "difference [95 %]", "R@1, plain", "R@1, hardened"),
        groups,
        words=2,
    )


def _tower_rows(results: Results, plain: System, hardened: System) -> list[Row]:
    def first_ranks(attack: Attack | None, _gained: Interval, _shared: list[Seed]) -> list[str]:
        sides = [results.seed_values(Spot(system, attack, measure="R@1")) for system in (plain, hardened)]
        return [fmt.mean_of(over_seeds(side)) for side in sides]

    return _hardening_rows(results, plain, hardened, True, first_ranks)


# Examples

PER_ATTACK = 3


def example_blocks(results: Results) -> list[tuple[str, Block]]:
    """Return perturbed queries and images under their headings, or a line that there are none."""
    texts, images = text_examples(results), image_examples(results)
    if not texts and not images:
        return [("", Prose(fmt.text("robustness.no-examples"), quiet=True))]
    blocks: list[tuple[str, Block]] = [("", Prose(fmt.text("robustness.examples", most=PER_ATTACK)))]
    if texts:
        blocks.append(("Queries", Examples(texts, "texts")))
    if images:
        blocks.append(("Images", Examples(images, "images")))
    return blocks


def text_examples(results: Results) -> list[ShownExample]:
    return _shown(results, [example for example in results.examples if example.image_after is None and example.edits])


def image_examples(results: Results) -> list[ShownExample]:
    return _shown(results, [example for example in results.examples if example.image_after is not None])


def _shown(results: Results, examples: Sequence[AttackedExample]) -> list[ShownExample]:
    order = {facts.name: place for place, facts in enumerate(results.attacks)}
    by_attack: dict[str, list[AttackedExample]] = {}
    for example in examples:
        by_attack.setdefault(example.condition.attack or "", []).append(example)
    shown = []
    for _, group in sorted(by_attack.items(), key=lambda item: (order.get(item[0], len(order)), item[0])):
        shown += [_show(results, example) for example in _varied(group)[:PER_ATTACK]]
    return shown


def _varied(examples: Sequence[AttackedExample]) -> list[AttackedExample]:
    """Put the hardest hit first, and another language before a second example of one, another query before the same."""
    waiting = sorted(
        examples,
        key=lambda e: (e.reciprocal_rank_after - e.reciprocal_rank_before, e.language, e.query_id, repr(e.condition)),
    )
    chosen: list[AttackedExample] = []
    for new_language in (True, False):
        for example in waiting:
            queries = {other.query_id for other in chosen}
            languages = {other.language for other in chosen} if new_language else set()
            if example.query_id not in queries and example.language not in languages:
                chosen.append(example)
    return chosen


def _show(results: Results, example: AttackedExample) -> ShownExample:
    attack = example.condition.attack or "none"
    distances = {"L∞": example.linf, "L2": example.l2}
    moved = [
        f"{norm} {fmt.budget_label(fmt.RADIUS, value) if norm == 'L∞' else f'{value:.2f}'}"
        for norm, value in distances.items()
        if value
    ]
    return ShownExample(
        attack=attack,
        budget=fmt.budget_label(results.attack(attack).unit, example.condition.budget),
        language=fmt.language_label(example.language),
        code=example.language,
        query=example.query,
        perturbed=example.perturbed,
        changed=example.perturbed != example.query,
        edits=", ".join(edit.kind for edit in example.edits) or "none",
        ranks=f"{example.rank_before:,} → {example.rank_after:,}",
        calls=fmt.count(example.calls, "call"),
        distance=", ".join(moved),
        before=_data_uri(example.image_before),
        after=_data_uri(example.image_after),
    )


def _data_uri(png: bytes | None) -> str:
    return "" if png is None else f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"
