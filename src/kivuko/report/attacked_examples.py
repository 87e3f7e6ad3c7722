"""Attacked queries and images to show on a page: few, varied, those with the largest loss first."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from kivuko.evaluation.attack.examples import AttackedExample
from kivuko.report.formatting import RADIUS, budget_label, count, language_label
from kivuko.report.page import Block, Examples, Prose, ShownExample
from kivuko.report.results import Results

PER_ATTACK = 3


def example_blocks(results: Results) -> list[tuple[str, Block]]:
    """Return perturbed queries and images under their headings, or a line that there are none."""
    texts, images = text_examples(results), image_examples(results)
    if not texts and not images:
        return [("", Prose("No examples are stored beside the records.", quiet=True))]
    blocks: list[tuple[str, Block]] = [
        ("", Prose(
            f"For each attack, up to {PER_ATTACK} of the examples that were kept: those that lost most, not typical "
            "ones. The arrow is the rank of the right image, before and after."
        ))
    ]  # fmt: skip
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
        f"{norm} {budget_label(RADIUS, value) if norm == 'L∞' else f'{value:.2f}'}"
        for norm, value in distances.items()
        if value
    ]
    return ShownExample(
        attack=attack,
        budget=budget_label(results.attack(attack).unit, example.condition.budget),
        language=language_label(example.language),
        code=example.language,
        query=example.query,
        perturbed=example.perturbed,
        changed=example.perturbed != example.query,
        edits=", ".join(edit.kind for edit in example.edits) or "none",
        ranks=f"{example.rank_before:,} → {example.rank_after:,}",
        calls=count(example.calls, "call"),
        distance=", ".join(moved),
        before=_data_uri(example.image_before),
        after=_data_uri(example.image_after),
    )


def _data_uri(png: bytes | None) -> str:
    return "" if png is None else f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"
