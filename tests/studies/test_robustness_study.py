"""The robustness study on the tiny world: every system attacked, resumed, and recorded in one file."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

from kivuko.errors import UsageError
from kivuko.evaluation.attack.examples import read_examples
from kivuko.evaluation.records import read_per_query, read_records
from kivuko.report.writing import write_report
from kivuko.studies.data import EmojiData
from kivuko.studies.engine import Place, perform_study, run_study
from kivuko.studies.grid import Variant
from kivuko.studies.robustness import ROBUSTNESS, STUDY, robustness_header, robustness_study
from kivuko.studies.robustness_inputs import (
    RECIPES,
    STANDARD_PLAN,
    Plan,
    PlannedAttack,
    RobustnessGrid,
    robustness_grid,
    robustness_inputs,
)
from kivuko.training.image_tower import TRAINING_FILE
from kivuko.training.recipe import load_recipe, parse_recipe

ENGLISH = "warm_start=true,crafted=english"
OWN = '[[objective]]\nkind = "own_parts:Cosine"\npower = 2.0\n'
SEP = "image=apgd,crafted=english,warm_start=true"
PLAN = Plan((
    PlannedAttack("typo:edits=1|2", translators=True),
    PlannedAttack("code-switch"),
    PlannedAttack("greedy:edits=1|2,candidates=4", concepts=12),
    PlannedAttack("hotflip", concepts=8),
    PlannedAttack("gaussian-noise:severity=3"),
    PlannedAttack(f"apgd:eps=2/255|8/255,steps=2,{ENGLISH}", concepts=12),
    PlannedAttack("apgd:eps=8/255,steps=1", concepts=8),
    PlannedAttack(f"sep-attack:eps=2/255,edits=1,steps=2,candidates=4,{SEP}", concepts=12),
)).plus(["own_parts:DropFirstLetter"])  # fmt: skip


class Watch:
    """Counts runs."""

    def __init__(self):
        self.finished, self.waiting = [], []

    def planned(self, finished, waiting, workers):
        self.finished, self.waiting = list(finished), list(waiting)

    def began(self, run):
        pass

    def ended(self, run, seconds):
        pass

    def ticked(self):
        pass


@pytest.fixture(scope="module")
def robustness_data(tiny_world):
    from kivuko.encoders.teacher import load_teacher

    return robustness_inputs(EmojiData(tiny_world, ("sw", "mr")), load_teacher(), PLAN, words=False)


@pytest.fixture(scope="module")
def study(robustness_data, tmp_path_factory):
    """The records of two recipes, two sizes and one seed, and a lexical translator; made in this process."""
    from kivuko.studies.robustness import perform
    from kivuko.studies.runs import save_run

    def here(todo, inputs, prepare, scratch, workers, watch):
        for file in todo:
            save_run(file, perform(file, inputs))

    place = Place(tmp_path_factory.mktemp("robustness") / "r.jsonl", STUDY)
    grid = RobustnessGrid(
        (load_recipe("mse"), parse_recipe(OWN, "own", "own.toml")), (10, 20), (0,), ("sw", "mr"),
        steps=3, translation=None, plan=PLAN,
    )  # fmt: skip
    watches = Watch(), Watch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kivuko.studies.engine.run_all", here)
        for watch in watches:
            perform_study(ROBUSTNESS, grid, robustness_data, place, command="test", workers=1, watch=watch)
    return place.records, watches


def test_a_second_run_makes_nothing_again(study):
    _, (first, second) = study
    assert len(first.waiting) == 1 + 4 + 2  # the teacher, four students, two word tables
    assert not second.waiting
    assert len(second.finished) == len(first.waiting)


def test_every_attack_and_budget_is_on_record_beside_the_clean_search(study):
    header, records = read_records(study[0])
    assert header.protocol["study"] == STUDY
    seen = {(one.attack, one.budget) for one in records if one.objective == "mse" and one.model == "static+emoji"}
    assert seen == {
        (None, None), ("typo", 1.0), ("typo", 2.0), ("code-switch", 1.0), ("greedy:candidates=4,kinds=typo", 1.0),
        ("greedy:candidates=4,kinds=typo", 2.0), ("hotflip:candidates=16", 1.0), ("gaussian-noise", 3.0),
        (f"apgd:steps=2,{ENGLISH}", 2 / 255), (f"apgd:steps=2,{ENGLISH}", 8 / 255), ("apgd:steps=1", 8 / 255),
        (f"sep-attack:edits=1,steps=2,candidates=4,kinds=typo,{SEP}", 2 / 255), ("own_parts:DropFirstLetter", 1.0),
    }  # fmt: skip
    assert {one.attack for one in records} - {None} <= set(header.protocol["attacks"])
    assert any(one.model == "static+emoji-robust" for one in records)
    assert {one.split for one in records if one.attack} == {"test"}
    assert any(one.split == "validation" and one.attack is None for one in records)


def test_a_custom_objective_is_measured_under_a_custom_attack(study):
    header, records = read_records(study[0])
    assert header.protocol["recipes"]["own"]["objectives"] == [
        {"kind": "own_parts:Cosine", "weight": 1.0, "power": 2.0}
    ]  # fmt: skip
    assert header.protocol["attacks"]["own_parts:DropFirstLetter"]["kind"] == "text adversarial"
    attacked = [one for one in records if (one.objective, one.attack) == ("own", "own_parts:DropFirstLetter")]
    assert {one.bitext_size for one in attacked} == {10, 20}
    assert all(one.language in ("sw", "mr", "low-resource") for one in attacked)


def test_searches_and_larger_radii_never_help(study):
    blocks = read_per_query(study[0])
    values = {
        (b.condition.objective, b.condition.bitext_size, b.condition.model, b.language, b.condition.attack,
         b.condition.budget): dict(zip(b.query_ids, b.values, strict=True))
        for b in blocks
    }  # fmt: skip
    compared = 0
    for (*key, attack, budget), own in values.items():
        if attack and attack.startswith(("greedy", "hotflip")):
            before = values[(*key, attack, budget - 1) if (*key, attack, budget - 1) in values else (*key, None, None)]
            compared += len(own)
            assert all(value <= before[query] + 1e-12 for query, value in own.items())
    assert compared


def test_the_noise_is_the_same_for_all_systems_of_a_seed(study):
    examples = read_examples(study[0])
    drawn = {}
    for one in examples:
        if one.condition.attack == "typo":
            key = (one.language, one.query_id, one.condition.budget)
            drawn.setdefault(key, set()).add(one.perturbed)
    assert drawn
    assert all(len(texts) == 1 for texts in drawn.values())


def test_examples_show_what_was_changed_inside_the_radius(study):
    examples = read_examples(study[0])
    moved = [one for one in examples if (one.condition.attack or "").startswith("apgd")]
    assert moved
    for one in moved:
        assert one.image_before
        assert one.image_after
        assert one.linf <= one.condition.budget + 1e-6


def test_the_report_page_is_made_of_these_records(study):
    page = write_report(study[0]).read_text("utf-8")
    assert "<html" in page
    assert "typo" in page


def test_the_concepts_under_attack_are_test_concepts_in_every_language(robustness_data):
    for code in ("sw", "mr"):
        queried = {query.concept for query in robustness_data.queries(code)}
        assert set(robustness_data.concepts) <= queried


def test_the_fingerprint_changes_with_the_plan_and_the_images(robustness_data):
    other = replace(robustness_data, plan=Plan(PLAN.attacks[:-1]))
    assert other.fingerprint != robustness_data.fingerprint
    tower = robustness_data.towers[0]
    moved = replace(tower, gallery=(tower.gallery + np.float32(1e-3)))
    assert replace(robustness_data, towers=(moved, *robustness_data.towers[1:])).fingerprint != (
        robustness_data.fingerprint
    )


def test_grids():
    recipes = [load_recipe(name) for name in RECIPES]
    assert robustness_grid(recipes).standard
    assert not robustness_grid(recipes, Variant("quick")).standard
    assert not replace(robustness_grid(recipes), plan=Plan(STANDARD_PLAN.attacks[1:])).standard


def test_a_tower_that_has_not_seen_the_test_images_searches_in_place_of_those_that_ship(tiny_world, tmp_path):
    from kivuko.datasets.emoji.sources import shipped_image_tower
    from kivuko.encoders.teacher import load_teacher

    place = shutil.copytree(shipped_image_tower(), tmp_path / "unseen")
    (place / TRAINING_FILE).write_text('{"splits": ["train"]}')
    study = robustness_study(["apgd:eps=8/255,steps=1,restarts=2"], only=True, concepts=5)
    grid = replace(study.grid([load_recipe("mse")]), image_tower=place)
    assert [(one.text, one.concepts) for one in grid.plan.attacks] == [("apgd:eps=8/255,steps=1,restarts=2", 5)]
    assert not grid.standard
    data = EmojiData(tiny_world, ("sw", "mr"))
    inputs = robustness_inputs(data, load_teacher(), grid.plan, words=False, image_tower=place)
    assert [one.name for one in inputs.towers] == ["unseen"]
    assert set(inputs.towers[0].pixels) == {
        query.image for code in data.languages for query in data.queries(code, "test")
        if query.concept in inputs.concepts[:5]
    }  # fmt: skip
    limits = robustness_header(grid, inputs, data.bitext("train"), [], "test", 1).protocol["limits"]
    assert any("has not seen the images of the test split" in line for line in limits)
    assert not any("trained on images of the test split" in line for line in limits)


def test_a_tower_that_ships_has_seen_the_test_images(robustness_data):
    grid = RobustnessGrid((load_recipe("mse"),), (10,), (0,), ("sw", "mr"), plan=PLAN)
    header = robustness_header(grid, robustness_data, robustness_data.data.bitext("train"), [], "test", 1)
    assert any("trained on images of the test split too" in line for line in header.protocol["limits"])
    assert header.protocol["image towers"]["emoji"].endswith("train, validation, test")


@pytest.mark.parametrize("options", [{"only": True}, {"concepts": 3}])
def test_options_of_attacks_without_attacks_are_refused(options):
    with pytest.raises(UsageError, match="name one"):
        robustness_study(**options)


def test_sentences_take_no_image_tower(tmp_path):
    with pytest.raises(UsageError, match="tico19:x has no images"):
        run_study(ROBUSTNESS, tmp_path / "r.jsonl", dataset="tico19:x", image_tower=tmp_path)
