"""Which recipe carries further with little bitext: recipes at one bitext size, over several seeds.

The student, the budget of steps and the selection are the same for all recipes; a seed decides the sample of bitext,
the student's first weights and the order of pairs, and is shared by the recipes, so they can be compared in pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from kivuko.bitext import take_fraction
from kivuko.datasets.emoji import EmojiWorld, shipped_image_tower
from kivuko.distill.recipe import load_recipe
from kivuko.distill.run import Watch, train_student
from kivuko.encoders.bundle import assemble, quiet
from kivuko.encoders.image_tower import load_image_tower
from kivuko.encoders.teacher import TextTeacher
from kivuko.evaluation import (
    RandomisationTest,
    holm,
    paired_difference,
    randomisation_test,
    seed_interval,
    write_records,
)
from kivuko.evaluation.intervals import Interval
from kivuko.gallery import emoji_gallery
from kivuko.studies.demo import emoji_job
from kivuko.studies.evaluation import Results

LOW, MEASURE, SUBSET = "low-resource", "MAP", "headline"


@dataclass(frozen=True)
class Comparison:
    """A recipe against the first, on the low-resource mean MAP of headline queries.

    ``over_seeds``: the difference of each seed's mean, with a t interval. ``over_concepts``: the difference per
    concept, averaged over seeds, with a bootstrap interval. ``test``: a paired randomisation test on the same
    differences; ``adjusted``: its p value after Holm.
    """

    recipe: str
    means: tuple[float, ...]
    over_seeds: Interval
    over_concepts: Interval
    test: RandomisationTest
    adjusted: float


def compare_recipes(
    world: EmojiWorld,
    languages: Sequence[str],
    teacher: TextTeacher,
    recipes: Sequence[str],
    *,
    fraction: float,
    seeds: Sequence[int],
    records: Path,
    command: str,
    watch: Callable[[str, int], Watch | None],
    split: str = "test",
    steps: int | None = None,
) -> tuple[tuple[float, ...], list[Comparison]]:
    """Train every recipe with every seed on a ``fraction`` of the bitext, score, and write the records.

    Returns:
        The first recipe's low-resource MAP per seed, and every other recipe compared with it.
    """
    with quiet():
        tower = load_image_tower(shipped_image_tower(), teacher.dim)
    results = Results(emoji_gallery(tower, world), tuple(languages), split)
    results.add_teacher(teacher)
    for seed in seeds:
        for name in recipes:
            job = emoji_job(world, languages, name, seed, steps)
            if fraction < 1:
                job = replace(job, bitext=take_fraction(job.bitext, fraction, seed))
            trained = train_student(job, teacher, watch=watch(name, seed))
            results.add_model(assemble(trained.student, None), trained.about.student, trained.about)
    write_records(records, results.header(command), results.records, results.per_query)
    objectives = {name: load_recipe(name).name for name in recipes}  # a recipe's file may lie anywhere
    means = {name: _seed_means(results, objectives[name]) for name in recipes}
    tables = {name: _concept_scores(results, objectives[name]) for name in recipes}
    first, *others = recipes
    tests = {name: randomisation_test(tables[first], tables[name]) for name in others}
    adjusted = holm({name: test.p_value for name, test in tests.items()})
    return means[first], [
        Comparison(
            name, means[name],
            seed_interval(np.subtract(means[first], means[name])),
            paired_difference(tables[first], tables[name]),
            tests[name], adjusted[name],
        )
        for name in others
    ]  # fmt: skip


def _seed_means(results: Results, recipe: str) -> tuple[float, ...]:
    """The recipe's low-resource mean MAP, one per seed."""
    return tuple(
        record.value
        for record in results.records
        if (record.objective, record.language, record.subset, record.measure) == (recipe, LOW, SUBSET, MEASURE)
    )


def _concept_scores(results: Results, recipe: str) -> np.ndarray:
    """Each concept's share of the low-resource mean MAP, averaged over seeds: float64 [concepts].

    Times the number of concepts, so that the mean over concepts is the mean over languages of their MAP. Queries of one
    concept, in whatever language, are one unit: they stand or fall together.
    """
    world, shares = results.gallery.world, dict[str, float]()
    for language in results.low_resource:
        concept_of = {query.id: query.concept for query in world.queries(language, results.split)}
        blocks = [
            block
            for block in results.per_query
            if (block.condition.objective, block.language, block.subset, block.measure)
            == (recipe, language, SUBSET, MEASURE)
        ]
        mean = np.mean(np.stack([block.values for block in blocks]), axis=0)
        for query, value in zip(blocks[0].query_ids, mean, strict=True):
            shares[concept_of[query]] = shares.get(concept_of[query], 0.0) + value / len(mean) / len(
                results.low_resource
            )
    return np.array([shares[concept] for concept in sorted(shares)]) * len(shares)
