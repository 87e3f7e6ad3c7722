"""From ranks under attack to records, per-query scores and examples."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from kivuko.datasets.emoji.world import Query
from kivuko.evaluation.attack.examples import AttackedExample, examples_path, png, write_examples
from kivuko.evaluation.group_means import LanguageScores, summarize
from kivuko.evaluation.image_tasks import DATASET
from kivuko.evaluation.records import Condition, Record
from kivuko.languages import resource_groups
from kivuko.ranks import right_ranks
from kivuko.studies.grid import Run
from kivuko.studies.inputs import ENGLISH, HEADLINE, MAP, MEASURES, TEST, VALIDATION, headline_map, map_only, unit
from kivuko.studies.robustness.inputs import RobustnessInputs
from kivuko.studies.robustness.systems import SearchResult, System, attacked, make_system
from kivuko.studies.runs import Measured, RunFile

_EXAMPLES = 3  # kept of each attack and language
Key = tuple[str, str | None, float | None]  # tower, attack, budget


def prepare(inputs: RobustnessInputs) -> Callable[[RunFile], Measured]:
    return lambda file: perform(file, inputs)


def perform(file: RunFile, inputs: RobustnessInputs) -> Measured:
    """Make the system of a run and attack it; of seed 0 some examples are written next to the run's file."""
    started, run = time.monotonic(), file.run
    system = make_system(run, inputs.plain)
    built = time.monotonic()
    gathered: dict[Key, list[SearchResult]] = {}
    for code in system.languages:
        for result in attacked(system, code, inputs, run.seed or 0):
            gathered.setdefault(result.condition, []).append(result)
    measured, examples = Measured([], []), list[AttackedExample]()
    for key, results in gathered.items():
        condition = _condition(run, system, *key)
        scores = [_of_ranks(one.language, one.queries, one.ranks) for one in results]
        measured.records.extend(_records(scores, condition))
        measured.per_query.extend(headline_map(scores, condition))
        if run.seed in (0, None) and key[1] is not None:
            clean = {one.language: one for one in gathered[key[0], None, None]}
            examples += [one for result in results for one in _examples(result, clean[result.language], condition)]
    measured.records.extend(_validation(system, run, inputs))
    if examples:
        write_examples(examples_path(file.path), examples)
    notes = {
        **system.notes,
        "making_seconds": round(built - started, 1),
        "seconds": round(time.monotonic() - started, 1),
    }
    return replace(measured, notes=notes)


def _condition(run: Run, system: System, tower: str, attack: str | None, budget: float | None) -> Condition:
    return Condition(
        dataset=DATASET, split=TEST, model=f"{system.name}+{tower}", objective=run.objective, bitext_size=run.size,
        seed=run.seed, attack=attack, budget=budget,
    )  # fmt: skip


def _of_ranks(language: str, queries: Sequence[Query], ranks: NDArray[np.int64]) -> LanguageScores:
    """Return the measures of one language: with one right image per query, functions of its rank."""
    values = {"R@1": (ranks <= 1).astype(np.float64), "R@10": (ranks <= 10).astype(np.float64), MAP: 1 / ranks}
    return LanguageScores(
        language=language, query_ids=[query.id for query in queries], values=values,
        subsets={"copied": np.zeros(len(ranks), dtype=bool)}, clusters=[query.concept for query in queries],
    )  # fmt: skip


def _records(scores: Sequence[LanguageScores], condition: Condition) -> list[Record]:
    codes = [one.language for one in scores]
    groups = {} if codes == [ENGLISH] else {str(name): own for name, own in resource_groups(codes).items() if own}
    records = summarize(scores, condition, groups=groups)
    return [one for one in records if one.subset == HEADLINE and one.measure in MEASURES]


def _validation(system: System, run: Run, inputs: RobustnessInputs) -> list[Record]:
    """Return the clean MAP on the validation split, by which recipes are chosen."""
    if system.languages == (ENGLISH,):
        return []
    tower, scores = inputs.towers[0], []
    for code in system.languages:
        queries = inputs.queries(code, VALIDATION)
        vectors = system.encoder(code)([query.text for query in queries])
        ranks = right_ranks(unit(vectors) @ tower.gallery.T, np.array([query.image for query in queries]))
        scores.append(map_only(_of_ranks(code, queries, ranks)))
    condition = replace(_condition(run, system, tower.name, None, None), split=VALIDATION)
    return [record for record in _records(scores, condition) if record.measure == MAP]


def _examples(result: SearchResult, clean: SearchResult, condition: Condition) -> list[AttackedExample]:
    """Return a few queries that were answered well, the best answered first, before and after the attack."""
    assert result.attacked is not None
    before = {query.id: int(rank) for query, rank in zip(clean.queries, clean.ranks, strict=True)}
    shown, texts = result.shown, result.attacked.texts
    edited = result.attacked.spec.attack.kind != "image"
    rows = [
        row
        for row, query in enumerate(result.queries)
        if (not edited or texts[row].edits) and (not shown or query.image in shown)
    ]
    rows.sort(key=lambda row: (before[result.queries[row].id] > 3, -int(result.ranks[row])))
    return [_example(result, row, before, condition, shown) for row in rows[:_EXAMPLES]]


def _example(
    result: SearchResult, row: int, before: dict[str, int], condition: Condition,
    shown: Mapping[int, NDArray[np.uint8]],
) -> AttackedExample:  # fmt: skip
    assert result.attacked is not None
    query, text = result.queries[row], result.attacked.texts[row]
    was, now = result.tower.pixels.get(query.image), shown.get(query.image)
    moved = None if was is None or now is None else np.abs(now.astype(np.float64) - was) / 255
    return AttackedExample(
        condition=condition, language=result.language, query_id=query.id, query=query.text,
        perturbed=text.text, edits=text.edits, image_id=query.id.split(":", 1)[1],
        rank_before=before[query.id], rank_after=int(result.ranks[row]),
        linf=None if moved is None else float(moved.max()),
        l2=None if moved is None else float(np.linalg.norm(moved)),
        calls=int(result.attacked.calls[row]),
        image_before=None if moved is None or was is None else png(was),
        image_after=None if moved is None or now is None else png(now),
    )  # fmt: skip
