"""Records of a made-up low-resource study with known effects, small enough to write by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from kivuko.evaluation.records import Condition, Header, PerQueryScores, Record, write_records
from kivuko.report.low_resource import QUESTION
from kivuko.report.page import render
from kivuko.report.results import Source
from kivuko.report.study_page import Findings, examine, study_page

LOW, HIGH = ("sw", "so", "fil", "mr"), ("fi", "de", "fr")
RECIPES = {
    "mse": {"description": "squared distance of sentence vectors", "transport": False, "kind": "distillation"},
    "sentence": {"description": "contrastive and cosine", "transport": False, "kind": "distillation"},
    "optical": {"description": "sentence and transport", "transport": True, "kind": "distillation"},
    "greedy": {"description": "sentence and the greedy plan", "transport": True, "kind": "distillation"},
    "translate-test": {"description": "machine translation", "transport": False, "kind": "translation"},
    "lexical": {"description": "word table", "transport": False, "kind": "translation"},
}
QUALITY = {"mse": 0.20, "sentence": 0.24, "optical": 0.30, "greedy": 0.29, "translate-test": 0.15, "lexical": 0.10}
Scores = tuple[Header, list[Record], list[PerQueryScores]]


@dataclass(frozen=True)
class Plan:
    """What the made-up study measured.

    ``quality``: recipe to its MAP on test at the largest size; ``validation`` where it differs there. A smaller size
    gives less, as the square root of its share.
    """

    quality: Mapping[str, float] = field(default_factory=lambda: QUALITY)
    validation: Mapping[str, float] = field(default_factory=dict)
    settings: Sequence[tuple[str, str]] = (("emoji", "cosine"),)
    sizes: Sequence[int] = (300, 1000)
    seeds: Sequence[int] = (0, 1, 2)
    languages: Sequence[str] = (*LOW[:2], HIGH[0])
    concepts: int = 40
    splits: Sequence[str] = ("validation", "test")
    noise: float = 0.02
    protocol: Mapping[str, object] = field(
        default_factory=lambda: {"study": "low-resource", "standard": True, "recipes": RECIPES, "ties": "x"}
    )


def made_up(plan: Plan = Plan()) -> Scores:
    """Return header, records and per-query scores; the same plan gives the same."""
    records: list[Record] = []
    per_query: list[PerQueryScores] = []
    for dataset, scoring in plan.settings:
        for split in plan.splits:
            english = 0.9
            for name, quality in {"teacher": 0.05, "untrained": 0.004}.items():
                condition = _condition(dataset, scoring, split, name, None, None)
                _add(records, per_query, plan, condition, quality, english)
                if name == "teacher":
                    records += _figures(condition, "en", english, english, plan.concepts)
            for name, test in plan.quality.items():
                quality = plan.validation.get(name, test) if split == "validation" else test
                for size in plan.sizes:
                    for seed in plan.seeds:
                        condition = _condition(dataset, scoring, split, name, size, seed)
                        share = (size / max(plan.sizes)) ** 0.5
                        _add(records, per_query, plan, condition, quality * share, english)
    header = Header(
        command="kivuko study low-resource --out x", protocol=plan.protocol, seeds=tuple(plan.seeds),
        versions={"python": "3.11.7", "kivuko": "0.1"}, created="2026-01-02T03:04:05+00:00",
    )  # fmt: skip
    return header, records, per_query


def findings_of(header: Header, records: Sequence[Record], per_query: Sequence[PerQueryScores] = ()) -> Findings:
    """Return the findings of the low-resource question."""
    return examine(Source(header, records, per_query), QUESTION)


def page_of(header: Header, records: Sequence[Record], per_query: Sequence[PerQueryScores] = ()) -> str:
    """Return the page as HTML."""
    return render(study_page(findings_of(header, records, per_query)))


def written(path: Path, plan: Plan = Plan()) -> Path:
    """Write the made-up study to a records file."""
    write_records(path, *made_up(plan))
    return path


def _condition(dataset: str, scoring: str, split: str, name: str, size: int | None, seed: int | None) -> Condition:
    return Condition(
        dataset=dataset, scoring=scoring, split=split, model="static", objective=name, bitext_size=size, seed=seed
    )


def _add(
    records: list[Record], per_query: list[PerQueryScores], plan: Plan, at: Condition, quality: float, english: float
) -> None:
    means = {}
    for place, code in enumerate(plan.languages):
        # Concepts are as hard for every recipe, and a recipe's luck differs by seed and concept.
        hard = np.random.default_rng([1, place]).uniform(0.5, 1.5, plan.concepts)
        luck = np.random.default_rng([2, place, (at.seed or 0) + 1, *at.objective.encode()])
        values = quality * hard / hard.mean() + plan.noise * luck.standard_normal(plan.concepts)
        values = np.clip(values * (1.1 if code in HIGH else 1.0), 0, 1)
        means[code] = float(values.mean())
        records += _figures(at, code, means[code], english, plan.concepts)
        names = [f"concept-{index}" for index in range(plan.concepts)]
        per_query.append(
            PerQueryScores(
                condition=at, language=code, subset="headline", measure="MAP", query_ids=[f"{code}-{n}" for n in names],
                values=values, clusters=names,
            )
        )  # fmt: skip
    for group, members in (("low-resource", LOW), ("high-resource", HIGH)):
        inside = [means[code] for code in plan.languages if code in members]
        if inside:
            records += _figures(at, group, sum(inside) / len(inside), english, plan.concepts * len(inside))


def _figures(at: Condition, code: str, value: float, english: float, queries: int) -> list[Record]:
    figures = {"MAP": value, "R@1": value / 2, "R@10": min(1.0, value * 1.6), "parity": value / english}
    kinds = {"headline": 1.0, "compositional": 1.5, "lexical": 0.5}
    return [
        Record(
            **vars(at), subset=subset, language=code, measure=measure, value=min(1.0, figure * factor),
            low=min(1.0, figure * factor) * 0.9, high=figure * factor * 1.1, queries=queries,
        )
        for subset, factor in kinds.items()
        for measure, figure in figures.items()
        if subset == "headline" or measure == "MAP"
    ]  # fmt: skip
