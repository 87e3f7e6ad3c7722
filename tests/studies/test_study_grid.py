"""What a study covers: its runs, their budgets, and the samples that objectives share."""

from __future__ import annotations

from dataclasses import replace

import pytest
from killed_study import tiny_grid, tiny_recipes

from kivuko.bitext.pairs import Bitext, Pair
from kivuko.errors import MissingDependencyError, UsageError
from kivuko.studies import grid as grids
from kivuko.studies.grid import Grid, Variant, low_resource_grid, steps_for
from kivuko.studies.low_resource import job_of, sample
from kivuko.studies.runs import run_files
from kivuko.training.recipe import load_recipe


def pairs(count: int) -> Bitext:
    """So many pairs in each of two languages."""
    return Bitext(
        tuple(Pair(code, f"{code} {i}", f"english {i}", f"{code}:{i}") for code in "ab" for i in range(count))
    )


def recipes(*names: str):
    return tuple(load_recipe(name) for name in names)


def test_runs_are_the_whole_grid_once_with_one_budget_per_size():
    grid = Grid(recipes("mse", "optical"))
    runs = grid.runs(pairs(1200))
    distilled = [run for run in runs if run.kind == grids.DISTILLATION]
    assert [run.objective for run in runs[:2]] == ["teacher", "untrained"]
    cells = [(name, size, seed) for name in ("mse", "optical") for size in (100, 300, 1000, 1200) for seed in range(5)]
    assert [(run.objective, run.size, run.seed) for run in distilled] == cells
    for size in (100, 300, 1000, 1200):
        budgets = {(r.recipe.schedule.steps, r.recipe.schedule.batch_size, r.recipe.schedule.validate_every)
                   for r in distilled if r.size == size}  # fmt: skip
        assert budgets == {(steps_for(size), grids.BATCH, grids.VALIDATE_EVERY)}
    assert sum(run.kind == grids.TRANSLATE_TEST for run in runs) == 20
    assert sum(run.kind == grids.LEXICAL for run in runs) == 20
    assert [run.whole for run in distilled if run.seed == 0] == [False, False, False, True] * 2
    rising = [steps_for(size) for size in (30, 100, 101, 300, 1000, 5000)]
    assert rising == sorted(rising)
    assert rising[0] == rising[1] < rising[2] == rising[3] < rising[4] < rising[5]


def test_a_pretrained_student_on_sentences_has_its_own_space_and_the_linear_map_beside_it():
    variant = Variant(sentences=True, student="multilingual-e5-small")
    grid = low_resource_grid(recipes(*grids.usual_recipes(variant)), variant)
    runs = grid.runs(pairs(1200))
    assert [(run.size, run.seed) for run in runs if run.objective == grids.ZERO_SHOT] == [(None, None)]
    assert sum(run.objective == grids.SHIFT for run in runs) == 20
    assert {run.student for run in runs if run.kind in (grids.OWN_SPACE, grids.DISTILLATION)} == {variant.student}
    assert {run.recipe.schedule.steps for run in runs if run.objective == "m2m"} == {0}
    with pytest.raises(UsageError, match="'shift' is the name of another row"):
        Grid(tuple(replace(one, name="shift") for one in recipes("mse")))


def test_a_study_with_fast_align_is_refused_at_once_without_its_package(monkeypatch):
    monkeypatch.setattr("kivuko.bitext.word_alignment.has_fast_align", lambda: False)
    with pytest.raises(MissingDependencyError, match="pip install"):
        Grid(recipes("mse", "fast-align"))
    monkeypatch.setattr("kivuko.studies.grid.has_fast_align", lambda: False)
    variant = Variant("larger", sentences=True)
    assert "fast-align" not in grids.usual_recipes(variant)
    assert low_resource_grid(recipes("mse"), variant).tables == ("transport", "ibm1")


def test_the_larger_grid_of_sentences_has_a_word_table_by_every_aligner(monkeypatch):
    monkeypatch.setattr("kivuko.bitext.word_alignment.has_fast_align", lambda: True)
    monkeypatch.setattr("kivuko.studies.grid.has_fast_align", lambda: True)
    variant = Variant("larger", sentences=True)
    runs = low_resource_grid(recipes("mse"), variant).runs(pairs(1200))
    tables = {(run.objective, run.aligner) for run in runs if run.kind == grids.LEXICAL}
    assert tables == {("lexical", "transport"), ("lexical-ibm1", "ibm1"), ("lexical-fast_align", "fast_align")}
    assert not any(run.kind == grids.OWN_SPACE for run in runs)


def test_the_first_runs_on_sentences_are_the_controls_by_word_alignment():
    variant = Variant(sentences=True)
    names = grids.usual_recipes(variant)
    grid = low_resource_grid(recipes(*(name for name in names if name != "fast-align")), variant)
    runs = [run for run in grid.runs(pairs(1200)) if run.kind == grids.DISTILLATION]
    assert runs[0].objective == "ibm1"
    assert runs[0].size == 100
    assert {run.size for run in runs} == {100, 300, 1000, 1200}
    assert grids.contrasts(grid) == ["ibm1", "ibm2"]
    assert grid.standard is False  # without fast_align


def test_a_pretrained_translator_is_one_run_without_size_and_seed():
    runs = Grid(recipes("mse"), translator="some/model", lexical=False).runs(pairs(1200))
    translated = [run for run in runs if run.objective == grids.TRANSLATE_TEST]
    assert [(run.kind, run.size, run.seed) for run in translated] == [(grids.PRETRAINED, None, None)]


def test_the_quick_grid_has_transport_translation_and_both_groups_and_is_not_the_standard_one():
    grid = low_resource_grid(recipes(*grids.QUICK_RECIPES), Variant("quick"))
    assert any(recipe.uses_transport for recipe in grid.recipes)
    assert not all(recipe.uses_transport for recipe in grid.recipes)
    assert (grid.sizes, grid.seeds, grid.languages) == ((100, 300), (0, 1), ("sw", "mr", "fi", "de"))
    assert grid.translation.steps(10**6) <= 20
    assert grid.lexical
    assert not grid.standard


def test_standard_is_what_covers_the_standard_study_with_its_budgets():
    standard = recipes(*grids.RECIPES)
    assert Grid(standard).standard
    assert grids.low_resource_grid(standard, Variant("larger")).standard
    for change in ({"steps": 10}, {"seeds": (0, 1)}, {"sizes": (100,)}, {"languages": ("sw",)}, {"translation": None},
                   {"translator": "x"}, {"recipes": standard[:2]}):  # fmt: skip
        assert not Grid(**({"recipes": standard} | change)).standard


def test_every_objective_learns_from_the_same_sample_and_seeds_differ(inputs):
    grid = tiny_grid(translation=grids.QUICK_TRANSLATION, lexical=True)
    runs = [run for run in grid.runs(inputs.data.bitext("train")) if run.seed is not None]
    by_seed = {seed: {sample(run, inputs).pairs for run in runs if run.seed == seed} for seed in (0, 1)}
    assert len(by_seed[0]) == len(by_seed[1]) == 1
    assert by_seed[0] != by_seed[1]
    assert {len(own) for own in Bitext(next(iter(by_seed[0]))).by_language().values()} == {8}


def test_training_sees_nothing_of_the_test_split(inputs):
    run = next(r for r in tiny_grid().runs(inputs.data.bitext("train")) if r.recipe is not None)
    job = job_of(run, inputs)
    split_of = {f"emoji:{one.sequence}": one.split for one in inputs.data.world.emoji}
    for given, split in ((job.bitext, "train"), (job.held_out, "validation")):
        assert {split_of[pair.origin.rpartition(":")[0]] for pair in given} == {split}


def test_a_fingerprint_changes_with_all_that_decides_and_with_nothing_else(inputs, tmp_path):
    def names(**changes):
        grid = tiny_grid(**changes)
        files = run_files(grid.runs(inputs.data.bitext("train")), inputs.fingerprint, tmp_path)
        return {file.path.name for file in files if file.run.objective == "optical"}

    optical = tiny_recipes()[1]
    assert names() == names(recipes=(optical,))
    assert len(names() | names(steps=3)) == 4
    assert len(names() | names(recipes=(optical.with_schedule(learning_rate=1e-3),))) == 4
    assert len(names() | names(sizes=(9,))) == 4
    assert len(names() | names(seeds=(0, 1, 2))) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"recipes": recipes("mse", "mse")}, "of one name"),
        ({"recipes": ()}, "no recipe"),
        ({"seeds": ()}, "no seed"),
        ({"sizes": ()}, "no size"),
    ],
)
def test_a_grid_that_says_two_things_of_one_condition_is_refused(change, message):
    with pytest.raises(UsageError, match=message):
        Grid(**({"recipes": recipes("mse")} | change))


def test_sizes_that_a_language_does_not_have_or_that_are_the_same_are_refused():
    with pytest.raises(UsageError, match="a has 50 training pairs"):
        Grid(recipes("mse"), sizes=(60,)).runs(pairs(50))
    with pytest.raises(UsageError, match="same here"):
        Grid(recipes("mse"), sizes=(50, None)).runs(pairs(50))
