"""Records and attacked examples of one model, clean and under attacks."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.table import Table
from torch import Tensor

from kivuko.evaluation import Condition, Header, LanguageScores, PerQueryScores, Record, per_query, summarize
from kivuko.evaluation import per_query_scores as laid_out
from kivuko.evaluation.attack.victim import QuerySet, Vectors, Victim
from kivuko.evaluation.emoji import DATASET, protocol
from kivuko.evaluation.robustness import (
    ACCURACY_DROP,
    RATIO,
    SUCCESS_OF_CORRECT,
    AttackedExample,
    accuracy_radius_area,
    resource_gap,
    robustness_records,
)
from kivuko.evaluation.statistics import Interval
from kivuko.evaluation.tables import GROUPS, compact_table, label
from kivuko.languages import resource_groups
from kivuko.perturbations import Perturbed
from kivuko.perturbations.image import Threat
from kivuko.perturbations.image.images import Norm
from kivuko.perturbations.spec import AttackSpec


@dataclass(frozen=True, eq=False)
class PerturbedImages:
    """Perturbed images, one for each query.

    Attributes:
        rows: which image was perturbed, int64 [n]: the right one, or of a targeted attack the one that is to win.
        original, pixels: before and after, float32 [n, 3, h, w] in 0-1.
        targeted: whether that image should win, where else it should lose.
    """

    rows: NDArray[np.int64]
    original: Tensor
    pixels: Tensor
    targeted: bool = False

    def linf(self) -> list[float]:
        """Largest change of any value, per image."""
        found: list[float] = (self.pixels - self.original).abs().flatten(1).amax(1).tolist()
        return found

    def l2(self) -> list[float]:
        """Length of the change, per image."""
        found: list[float] = (self.pixels - self.original).flatten(1).norm(dim=1).tolist()
        return found


@dataclass(frozen=True, eq=False)
class Attacked:
    """One language's queries under one attack.

    Attributes:
        scores: cosines of the perturbed queries with all images, the perturbed one in its place, float32 [n, images].
        texts: the queries before and after.
        images: None where none was touched.
        calls: how often the model was asked, int64 [n].
    """

    spec: AttackSpec
    queries: QuerySet
    scores: Vectors
    texts: Sequence[Perturbed]
    images: PerturbedImages | None
    calls: NDArray[np.int64]

    def ranks_before(self) -> NDArray[np.int64]:
        """Rank of the right image, from 1; ties count against it."""
        return ranks_of(self.queries.scores, self.queries.own)

    def ranks_after(self) -> NDArray[np.int64]:
        """Rank of the right image after the attack."""
        return ranks_of(self.scores, self.queries.own)

    def target_first(self) -> NDArray[np.float64] | None:
        """Where a targeted attack brought its image to the first place; None if the attack is not targeted."""
        if self.images is None or not self.images.targeted:
            return None
        found: NDArray[np.float64] = (ranks_of(self.scores, self.images.rows) == 1).astype(np.float64)
        return found


def attacked(
    victim: Victim,
    spec: AttackSpec,
    queries: QuerySet,
    calls: NDArray[np.int64],
    texts: Sequence[Perturbed] | None = None,
    images: PerturbedImages | None = None,
) -> Attacked:
    """Score what an attack made; what it left as it was keeps its clean scores to the last bit."""
    texts = [Perturbed(text, text) for text in queries.texts] if texts is None else texts
    vectors, scores = queries.vectors.copy(), queries.scores.copy()
    edited = [n for n, text in enumerate(texts) if text.text != text.original]
    if edited:
        vectors[edited] = victim.encode([texts[n].text for n in edited])
        scores[edited] = vectors[edited] @ victim.gallery.T
    if images is not None:
        moved = (images.pixels != images.original).flatten(1).any(1).numpy().nonzero()[0]
        if len(moved):
            seen = victim.tower.encode(images.pixels[torch.from_numpy(moved)]).numpy()
            scores[moved, images.rows[moved]] = (seen * vectors[moved]).sum(1)
    return Attacked(spec, queries, scores, texts, images, calls)


def threat_of(spec: AttackSpec) -> Threat:
    """Return the ball that an attack's images stay in."""
    return Threat(cast(Norm, spec["norm"]), spec.budget)


def ranks_of(scores: Vectors, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rank of one image for each query, from 1, int64 [n], from scores [n, images]; ties count against it."""
    found: NDArray[np.int64] = (scores >= scores[np.arange(len(rows)), rows][:, None]).sum(1)
    return found


CALLS, TARGET_FIRST = "calls", "target_first"
AREA, GAP = "area of MAP", "robustness gap"
SUBSET = "headline"  # what shares and areas are taken of: queries that are no copies of English
LOW, HIGH = "low-resource", "high-resource"
_IMAGES_KEPT = 2  # examples per attack and language that carry their images


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
        for attack in dict.fromkeys(spec.label for spec in self.specs):
            budgets = sorted({spec.budget for spec in self.specs if spec.label == attack and spec.budget > 0})
            if len(budgets) < 2:
                continue
            under = [replace(self.condition(), attack=attack, budget=budget) for budget in budgets]
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
            "perturbed images": "of each query one image is perturbed, all others in the gallery stay clean",
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
        self.records += summarize(scores, condition, groups=self.groups).records
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
    """Return one image, float [3, h, w] in 0-1, as a PNG file."""
    levels = (pixels * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "PNG")
    return file.getvalue()


def _examples(one: Attacked, condition: Condition, documents: Sequence[str]) -> Iterator[AttackedExample]:
    before, after = one.ranks_before().tolist(), one.ranks_after().tolist()
    images, kept = one.images, 0
    linf, l2 = (images.linf(), images.l2()) if images else ([], [])
    for n, query in enumerate(one.queries.queries):
        text, shown = one.texts[n], False
        if images is not None and after[n] > before[n] and kept < _IMAGES_KEPT:
            shown, kept = True, kept + 1
        yield AttackedExample(
            condition=condition, language=query.language, query_id=query.id, query=query.text,
            perturbed=text.text, edits=text.edits, image_id=documents[query.image],
            linf=linf[n] if images else None, l2=l2[n] if images else None,
            rank_before=before[n], rank_after=after[n], calls=int(one.calls[n]),
            image_before=png(images.original[n]) if images and shown else None,
            image_after=png(images.pixels[n]) if images and shown else None,
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


Key = tuple[str | None, float | None, str, str]  # attack, budget, language, measure
LEGEND = (
    "Queries equal to the English name are left out. lost: clean less attacked R@1 (attack success as a drop in "
    "accuracy); broken: of the queries answered first before, the share that is not after (attack success on correct "
    "queries); kept: MAP after over MAP before (robustness ratio); calls: how often the model was asked, per query; "
    "aimed: share of queries for which the chosen image came first; gap: what is kept in high-resource languages "
    "less what is kept in low-resource ones; area: mean MAP over all budgets up to the largest."
)


def attack_table(records: Sequence[Record], spec: AttackSpec) -> Table:
    """Return what one attack did, a row per language and group."""
    found = _indexed(records)
    codes = list(dict.fromkeys(r.language for r in records if r.attack is None and r.subset == SUBSET))
    aimed = any((spec.label, spec.budget, code, TARGET_FIRST) in found for code in codes)
    table = compact_table(spec.text)
    table.add_column("language", no_wrap=True)
    headings = ["n", "R@1", "attacked", "MAP", "attacked", "lost", "broken", "kept", "calls"]
    for heading in [*headings, "aimed"] if aimed else headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for code in sorted(codes, key=lambda code: (code in GROUPS, codes.index(code))):
        clean = [found.get((None, None, code, measure)) for measure in ("R@1", "MAP")]
        measures = ("R@1", "MAP", ACCURACY_DROP, SUCCESS_OF_CORRECT, RATIO, CALLS, TARGET_FIRST)
        after = [found.get((spec.label, spec.budget, code, measure)) for measure in measures]
        cells = [_share(clean[0]), _share(after[0]), _share(clean[1]), *(_share(one) for one in after[1:5])]
        told = [f"{clean[0].queries:,}" if clean[0] else "–", *cells, _count(after[5])]
        table.add_row(label(code), *told, *([_share(after[6])] if aimed else []))
    return table


def overview_table(records: Sequence[Record], specs: Sequence[AttackSpec]) -> Table:
    """Return all attacks side by side: MAP of the groups, the share of it that is kept, the gap, the area."""
    found = _indexed(records)
    groups = [group for group in GROUPS if (None, None, group, "MAP") in found]
    table = compact_table("side by side: MAP under attack (share kept), means of languages")
    table.add_column("attack", no_wrap=True)
    headings = [*(group.split("-")[0] for group in groups), "gap", *(f"area {group.split('-')[0]}" for group in groups)]
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    blank = ["–"] * (1 + len(groups))
    table.add_row("clean", *(_share(found.get((None, None, group, "MAP"))) for group in groups), *blank)
    for spec in specs:
        key = (spec.label, spec.budget)
        kept = [
            f"{_share(found.get((*key, g, 'MAP')))} ({_share(found.get((*key, g, RATIO)), 2)})" for g in groups
        ]  # fmt: skip
        gap = found.get((*key, f"{HIGH} less {LOW}", GAP))
        areas = [_share(found.get((*key, group, AREA))) for group in groups]
        table.add_row(spec.text, *kept, "–" if gap is None else f"{gap.value:+.2f}", *areas)
    return table


def _indexed(records: Sequence[Record]) -> dict[Key, Record]:
    return {(r.attack, r.budget, r.language, r.measure): r for r in records if r.subset == SUBSET}


def _share(record: Record | None, places: int = 3) -> str:
    return "–" if record is None else f"{record.value:.{places}f}"


def _count(record: Record | None) -> str:
    return "–" if record is None else f"{record.value:,.0f}"
