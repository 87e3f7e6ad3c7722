"""Records of a made-up robustness study with known effects, small enough to write by hand."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image

from kivuko.evaluation.attack.examples import AttackedExample, examples_path, write_examples
from kivuko.evaluation.records import Condition, Header, PerQueryScores, Record, write_records
from kivuko.perturbations.edits import Edit
from kivuko.report.page import render
from kivuko.report.results import Source
from kivuko.report.robustness import QUESTION
from kivuko.report.study_page import Findings, examine, study_page

LOW, HIGH = ("sw", "mr"), ("fi",)
RECIPES = {
    "mse": {"description": "squared distance", "transport": False, "kind": "distillation", "robust": False},
    "contrastive": {"description": "contrastive", "transport": False, "kind": "distillation", "robust": False},
    "optical": {"description": "sentence and transport", "transport": True, "kind": "distillation", "robust": False},
    "transport": {"description": "transport alone", "transport": True, "kind": "distillation", "robust": False},
    "optical-robust": {"description": "hardened", "transport": True, "kind": "distillation", "robust": True},
    "translate-test": {"description": "translate", "transport": False, "kind": "translation", "robust": False},
}
ATTACKS = {
    "typo": {"kind": "text noise", "description": "Slips of the finger.", "unit": "edits"},
    "greedy": {"kind": "text adversarial", "description": "Greedy search for the worst edits.", "unit": "edits"},
    "gaussian-noise": {"kind": "image noise", "description": "Noise of a camera.", "unit": "severity"},
    "apgd-own": {"kind": "image adversarial", "description": "APGD in the language itself.", "unit": "radius"},
}
BUDGETS = {"typo": (1.0, 2.0), "greedy": (1.0, 2.0), "gaussian-noise": (1.0, 3.0), "apgd-own": (1 / 255, 4 / 255)}
CLEAN = {"mse": 0.4, "contrastive": 0.5, "optical": 0.6, "transport": 0.45, "optical-robust": 0.58}
KEPT = {"mse": 0.5, "contrastive": 0.5, "optical": 0.5, "transport": 0.5, "optical-robust": 0.75}
CLEAN["translate-test"], KEPT["translate-test"] = 0.4, 0.3
PLAIN, HARDENED = "static+emoji", "static+emoji-robust"
Scores = tuple[Header, list[Record], list[PerQueryScores], list[AttackedExample]]


@dataclass(frozen=True)
class Plan:
    """What the made-up study measured.

    ``clean``: recipe to its clean MAP at the largest size (a smaller one gives less); ``kept``: the share of it that is
    left at an attack's largest budget, half of the fall at the smaller one; ``attack_kept`` where it differs.
    """

    clean: Mapping[str, float] = field(default_factory=lambda: CLEAN)
    kept: Mapping[str, float] = field(default_factory=lambda: KEPT)
    attack_kept: Mapping[tuple[str, str], float] = field(default_factory=dict)
    attacks: Sequence[str] = tuple(ATTACKS)
    sizes: Sequence[int] = (300, 1400)
    seeds: Sequence[int] = (0, 1, 2)
    languages: Sequence[str] = (*LOW, *HIGH)
    concepts: int = 60
    attacked_concepts: int | None = None
    splits: Sequence[str] = ("validation", "test")
    towers: Sequence[str] = (PLAIN, HARDENED)
    noise: float = 0.02
    protocol: Mapping[str, object] = field(
        default_factory=lambda: {"study": "robustness", "standard": True, "recipes": RECIPES, "attacks": ATTACKS}
    )


def made_up(plan: Plan = Plan()) -> Scores:
    """Return header, records, per-query scores and examples; the same plan gives the same."""
    records: list[Record] = []
    per_query: list[PerQueryScores] = []
    for tower in plan.towers:
        for name, level in plan.clean.items():
            for size in plan.sizes:
                for seed in plan.seeds:
                    for split in plan.splits:
                        at = Condition(
                            dataset="emoji", split=split, model=tower, objective=name, bitext_size=size, seed=seed
                        )
                        quality = level * (0.6 if size < max(plan.sizes) else 1.0)
                        _add(records, per_query, plan, at, quality)
                        if split == "test":
                            _attack(records, per_query, plan, at, quality)
    teacher = Condition(dataset="emoji", split="test", model=plan.towers[0], objective="teacher")
    _add(records, per_query, plan, teacher, 0.05)
    _attack(records, per_query, plan, teacher, 0.05)
    header = Header(
        command="kivuko study robustness --out x", protocol=plan.protocol, seeds=tuple(plan.seeds),
        versions={"python": "3.11.7", "kivuko": "0.1"}, created="2026-01-02T03:04:05+00:00",
    )  # fmt: skip
    return header, records, per_query, examples(plan)


def findings_of(
    header: Header,
    records: Sequence[Record],
    per_query: Sequence[PerQueryScores] = (),
    examples: Sequence[AttackedExample] = (),
) -> Findings:
    """Return the findings of the robustness question."""
    return examine(Source(header, records, per_query, examples), QUESTION)


def page_of(*parts) -> str:
    """Return the page as HTML."""
    return render(study_page(findings_of(*parts)))


def written(path: Path, plan: Plan = Plan()) -> Path:
    """Write the made-up study to a records file."""
    header, records, per_query, shown = made_up(plan)
    write_records(path, header, records, per_query)
    write_examples(examples_path(path), shown)
    return path


def png(shade: int) -> bytes:
    """A small image in one gray."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, shade, shade)).save(buffer, "PNG")
    return buffer.getvalue()


def examples(plan: Plan) -> list[AttackedExample]:
    """Two of each kind."""
    at = Condition(
        dataset="emoji", split="test", model=PLAIN, objective="optical", bitext_size=300, seed=0, attack="greedy",
        budget=1,
    )  # fmt: skip
    text = AttackedExample(
        condition=at, language="mr", query_id="mr/cat", query="मांजर", perturbed="मंजर",
        edits=(Edit("delete", 0, 2, "म"),), image_id="cat", rank_before=1, rank_after=1234, calls=65,
    )  # fmt: skip
    image = replace(
        text, condition=replace(at, attack="apgd-own", budget=4 / 255), perturbed="मांजर", edits=(), linf=4 / 255,
        l2=1.25, image_before=png(200), image_after=png(100), rank_after=7,
    )  # fmt: skip
    swahili = {"language": "sw", "query_id": "sw/dog", "query": "mbwa"}
    second = replace(text, **swahili, perturbed="bwa", edits=(Edit("delete", 0, 1, ""),), rank_after=3)
    return [text, second, image, replace(image, **swahili, perturbed="mbwa")]


def _attack(records: list[Record], per_query: list[PerQueryScores], plan: Plan, at: Condition, quality: float) -> None:
    for attack in plan.attacks:
        for place, budget in enumerate(BUDGETS[attack]):
            kept = plan.attack_kept.get((at.objective, attack), plan.kept.get(at.objective, 0.5))
            if at.model == HARDENED and attack == "apgd-own":
                kept = 0.9
            share = 1 - (1 - kept) * (place + 1) / 2
            _add(records, per_query, plan, replace(at, attack=attack, budget=budget), quality * share)


def _add(records: list[Record], per_query: list[PerQueryScores], plan: Plan, at: Condition, quality: float) -> None:
    means = {}
    concepts = plan.concepts if at.attack is None else plan.attacked_concepts or plan.concepts
    for place, code in enumerate(plan.languages):
        # Concepts are as hard for every recipe, and a recipe's luck differs by seed and concept.
        hard = np.random.default_rng([1, place]).uniform(0.6, 1.4, plan.concepts)
        luck = np.random.default_rng(
            [2, place, (at.seed or 0) + 1, *f"{at.model}{at.objective}{at.split}{at.attack}{at.budget}".encode()]
        )
        values = quality * hard / hard.mean() + plan.noise * luck.standard_normal(plan.concepts)
        values = np.clip(values * (1.1 if code in HIGH else 1.0), 0, 1)[:concepts]
        means[code] = float(values.mean())
        records += _figures(at, code, means[code], concepts)
        names = [f"concept-{index}" for index in range(concepts)]
        per_query.append(
            PerQueryScores(
                condition=at, language=code, subset="headline", measure="MAP", query_ids=[f"{code}-{n}" for n in names],
                values=values, clusters=names,
            )
        )  # fmt: skip
    for group, members in (("low-resource", LOW), ("high-resource", HIGH)):
        inside = [means[code] for code in plan.languages if code in members]
        if inside:
            records += _figures(at, group, sum(inside) / len(inside), concepts * len(inside))


def _figures(at: Condition, code: str, value: float, queries: int) -> list[Record]:
    return [
        Record(
            **vars(at), subset="headline", language=code, measure=measure, value=figure, low=figure * 0.9,
            high=figure * 1.1, queries=queries,
        )
        for measure, figure in {"MAP": value, "R@1": value / 2, "R@10": min(1.0, value * 1.6)}.items()
    ]  # fmt: skip
