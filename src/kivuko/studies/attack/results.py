"""Records and attacked examples of one model, clean and under attacks."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from kivuko.attacks.spec import AttackSpec
from kivuko.evaluation import Condition, Header, LanguageScores, PerQueryScores, Record, per_query, summarise
from kivuko.evaluation import per_query_scores as laid_out
from kivuko.evaluation.emoji import DATASET, protocol
from kivuko.evaluation.examples import AttackedExample
from kivuko.evaluation.intervals import Interval
from kivuko.evaluation.robustness import accuracy_radius_area, resource_gap
from kivuko.evaluation.robustness_records import robustness_records
from kivuko.languages import resource_groups
from kivuko.studies.attack.outcome import Attacked
from kivuko.studies.attack.victim import QuerySet, Vectors, Victim

CALLS, TARGET_FIRST = "calls", "target_first"
AREA, GAP = "area of MAP", "robustness gap"
SUBSET = "headline"  # what shares and areas are taken of: queries that are no copies of English
LOW, HIGH = "low-resource", "high-resource"
_PICTURES_KEPT = 2  # examples per attack and language that carry their pictures


@dataclass(eq=False)
class Results:
    """What was measured so far."""

    victim: Victim
    languages: tuple[str, ...]
    records: list[Record] = field(default_factory=list)
    per_query: list[PerQueryScores] = field(default_factory=list)
    examples: list[AttackedExample] = field(default_factory=list)
    specs: list[AttackSpec] = field(default_factory=list)

    @property
    def groups(self) -> dict[str, list[str]]:
        """Groups of the languages measured, those without a language left out."""
        return {str(name): list(codes) for name, codes in resource_groups(self.languages).items() if codes}

    def condition(self, spec: AttackSpec | None = None) -> Condition:
        """Return what is measured under an attack; None: clean."""
        about = self.victim.about
        clean = Condition(
            dataset=DATASET, split=self.victim.split, model=self.victim.name, objective=about.recipe,
            bitext_size=about.pairs_per_language, seed=about.seed,
        )  # fmt: skip
        return replace(clean, attack=spec.label, budget=spec.budget) if spec else clean

    def add_clean(self, sets: Sequence[QuerySet]) -> None:
        """Measure the queries as they are, one set per language."""
        self._add([self._scores(one, one.scores) for one in sets], self.condition())

    def add_attacked(self, outcomes: Sequence[Attacked]) -> None:
        """Measure what one attack left, one outcome per language. The clean queries must have been added."""
        spec = outcomes[0].spec
        condition, scores = self.condition(spec), []
        for one in outcomes:
            more = {CALLS: one.calls.astype(np.float64)}
            first = one.target_first()
            scores.append(
                self._scores(one.queries, one.scores, more if first is None else more | {TARGET_FIRST: first})
            )
            self.examples += _examples(one, condition, self.victim.world.image_sequences)
        self._add(scores, condition)
        self.specs.append(spec)
        before, after = self._blocks(self.condition()), self._blocks(condition)
        self.records += robustness_records(before, after, self._whole_groups(after))
        self.records += self._gap(condition, before, after)

    def add_areas(self) -> None:
        """Measure the area under MAP against budget, of attacks that were run at two budgets or more above zero."""
        clean = self._blocks(self.condition())
        for label in dict.fromkeys(spec.label for spec in self.specs):
            budgets = sorted({spec.budget for spec in self.specs if spec.label == label and spec.budget > 0})
            if len(budgets) < 2:
                continue
            under = [replace(self.condition(), attack=label, budget=budget) for budget in budgets]
            blocks = {one.budget or 0.0: self._blocks(one) for one in under}
            for group, codes in self._whole_groups(clean).items():
                area = accuracy_radius_area(clean, blocks, codes)
                self.records.append(_record(under[-1], group, AREA, area, _queries(clean, codes)))

    def header(self, command: str) -> Header:
        """Return the header that says how these records came to be."""
        victim = self.victim
        told: dict[str, Any] = {
            **protocol(victim.world, victim.split),
            "languages": list(self.languages),
            "attacks": {spec.label: _told(spec) for spec in self.specs},
            "attacked": "all queries" if victim.most is None
            else f"up to {victim.most} queries of each language that are no copies of English, drawn by concept",
            "perturbed pictures": "of each query one picture is perturbed, all others in the gallery stay clean",
            "attack seed": victim.seed,
        }  # fmt: skip
        return Header(command=command, protocol=told, seeds=sorted({victim.about.seed, victim.seed}))

    def _scores(
        self, queries: QuerySet, scores: Vectors, more: Mapping[str, NDArray[np.float64]] | None = None
    ) -> LanguageScores:
        documents, ids = self.victim.world.image_sequences, [query.id for query in queries.queries]
        qrels = {query.id: {documents[query.image]} for query in queries.queries}
        copied = np.array([query.copied for query in queries.queries], dtype=np.bool_)
        return LanguageScores(
            language=queries.language, query_ids=ids,
            values={**per_query(scores, ids, documents, qrels), **(more or {})},
            subsets={"copied": copied}, clusters=[query.concept for query in queries.queries],
        )  # fmt: skip

    def _add(self, scores: Sequence[LanguageScores], condition: Condition) -> None:
        self.records += summarise(scores, condition, groups=self.groups).records
        self.per_query += laid_out(scores, condition)

    def _blocks(self, condition: Condition) -> list[PerQueryScores]:
        """Return the MAP of each language on headline queries."""
        return [
            block
            for block in self.per_query
            if (block.condition, block.subset, block.measure) == (condition, SUBSET, "MAP")
        ]

    def _whole_groups(self, blocks: Sequence[PerQueryScores]) -> dict[str, list[str]]:
        """Return each language as a group of its own and the groups, as far as they have headline queries."""
        there = [block.language for block in blocks]
        wanted = {**{code: [code] for code in self.languages}, **self.groups}
        return {name: codes for name, codes in wanted.items() if set(codes) <= set(there)}

    def _gap(
        self, condition: Condition, before: Sequence[PerQueryScores], after: Sequence[PerQueryScores]
    ) -> Iterator[Record]:
        groups = self._whole_groups(after)
        if LOW in groups and HIGH in groups:
            gap = resource_gap(before, after, groups[LOW], groups[HIGH])
            if gap is not None:
                codes = [*groups[LOW], *groups[HIGH]]
                yield _record(condition, f"{HIGH} less {LOW}", GAP, gap, _queries(after, codes))


def png(pixels: Tensor) -> bytes:
    """Return one picture, float [3, h, w] in 0-1, as a PNG file."""
    levels = (pixels * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "PNG")
    return file.getvalue()


def _examples(one: Attacked, condition: Condition, documents: Sequence[str]) -> Iterator[AttackedExample]:
    before, after = one.ranks_before().tolist(), one.ranks_after().tolist()
    pictures, kept = one.pictures, 0
    linf, l2 = (pictures.linf(), pictures.l2()) if pictures else ([], [])
    for n, query in enumerate(one.queries.queries):
        text, shown = one.texts[n], False
        if pictures is not None and after[n] > before[n] and kept < _PICTURES_KEPT:
            shown, kept = True, kept + 1
        yield AttackedExample(
            condition=condition, language=query.language, query_id=query.id, query=query.text,
            perturbed=text.text, edits=text.edits, image_id=documents[query.image],
            linf=linf[n] if pictures else None, l2=l2[n] if pictures else None,
            rank_before=before[n], rank_after=after[n], calls=int(one.calls[n]),
            image_before=png(pictures.original[n]) if pictures and shown else None,
            image_after=png(pictures.pixels[n]) if pictures and shown else None,
        )  # fmt: skip


def _told(spec: AttackSpec) -> dict[str, Any]:
    """Say what an attack of the records is, its usual parameters too."""
    attack = spec.attack
    parameters = {
        one.name: one.written(value)
        for one, value in zip(attack.parameters, spec.values, strict=True)
        if one.name != attack.budget
    }
    return {
        "kind": attack.family, "unit": attack.unit, "description": attack.description, "needs": attack.needs,
        "parameters": parameters,
    }  # fmt: skip


def _record(condition: Condition, group: str, measure: str, interval: Interval, queries: int) -> Record:
    return Record(
        **vars(condition), subset=SUBSET, language=group, measure=measure, value=interval.mean, low=interval.low,
        high=interval.high, queries=queries,
    )  # fmt: skip


def _queries(blocks: Sequence[PerQueryScores], codes: Sequence[str]) -> int:
    return sum(len(block.values) for block in blocks if block.language in codes)
