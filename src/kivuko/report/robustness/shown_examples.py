"""Attacked queries and pictures as a reader sees them, before and after."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from kivuko.evaluation.examples import AttackedExample
from kivuko.report.low_resource.study import language_label
from kivuko.report.low_resource.wording import count
from kivuko.report.robustness.attacks import RADIUS, budget_label
from kivuko.report.robustness.findings import Findings

PER_ATTACK = 3


@dataclass(frozen=True)
class ShownExample:
    """What the template needs of one example; ``before`` and ``after`` are data URIs, empty without a picture."""

    attack: str
    budget: str
    language: str
    code: str
    query: str
    perturbed: str
    changed: bool
    edits: str
    ranks: str
    calls: str
    distance: str
    before: str = ""
    after: str = ""


def text_examples(findings: Findings) -> list[ShownExample]:
    """A few perturbed queries per attack, those whose picture lost most places first."""
    return _shown(findings, [example for example in findings.examples if example.image_after is None and example.edits])


def image_examples(findings: Findings) -> list[ShownExample]:
    """A few attacked pictures per attack, likewise."""
    return _shown(findings, [example for example in findings.examples if example.image_after is not None])


def _shown(findings: Findings, examples: Sequence[AttackedExample]) -> list[ShownExample]:
    order = {facts.name: place for place, facts in enumerate(findings.study.attacks)}
    found: dict[str, list[AttackedExample]] = {}
    for example in examples:
        found.setdefault(example.condition.attack or "", []).append(example)
    shown = []
    for _, group in sorted(found.items(), key=lambda item: (order.get(item[0], len(order)), item[0])):
        shown += [_show(findings, example) for example in _varied(group)[:PER_ATTACK]]
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


def _show(findings: Findings, example: AttackedExample) -> ShownExample:
    attack = example.condition.attack or "none"
    unit = findings.study.facts(attack).unit
    distances = {"L∞": example.linf, "L2": example.l2}
    written = [
        f"{norm} {budget_label(RADIUS, value) if norm == 'L∞' else f'{value:.2f}'}"
        for norm, value in distances.items()
        if value
    ]
    return ShownExample(
        attack=attack,
        budget=budget_label(unit, example.condition.budget),
        language=language_label(example.language),
        code=example.language,
        query=example.query,
        perturbed=example.perturbed,
        changed=example.perturbed != example.query,
        edits=", ".join(edit.kind for edit in example.edits) or "none",
        ranks=f"{example.rank_before:,} → {example.rank_after:,}",
        calls=count(example.calls, "call"),
        distance=", ".join(written),
        before=_data_uri(example.image_before),
        after=_data_uri(example.image_after),
    )


def _data_uri(png: bytes | None) -> str:
    return "" if png is None else f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"
