"""Recipes are chosen on validation; every test of the page is one family."""

from __future__ import annotations

from dataclasses import replace

import pytest
from study_records import QUALITY, RECIPES, Plan, findings_of, made_up, page_of

from kivuko.errors import DataError
from kivuko.evaluation.statistics import holm
from kivuko.report.comparisons import TRANSPORT_CONTRAST, choose
from kivuko.report.results import Results, Setting, Source, Spot, System

EMOJI = Setting("emoji", "cosine")
WITHOUT = "best without transport"
# On validation greedy and mse are ahead; on test optical and sentence would be.
CONTRARY = Plan(validation={"greedy": 0.35, "optical": 0.20, "mse": 0.30, "sentence": 0.10})


def test_validation_decides_even_where_test_disagrees():
    results = Results(Source(*made_up(CONTRARY)))
    names = ("greedy", "optical", "mse", "sentence")
    test = {name: results.over_seeds(Spot(System(EMOJI, name, 300))).mean for name in names}
    assert test["optical"] > test["greedy"]
    assert test["sentence"] > test["mse"]
    choice = choose(results, TRANSPORT_CONTRAST, EMOJI, 300)
    assert (choice.first.objective, choice.second.objective) == ("greedy", "mse")
    findings = findings_of(*made_up(CONTRARY))
    assert all(one.comparison.first == "greedy" for one in findings.family.tests)
    # What is compared is the test split: the means are those of the test records.
    headline = findings.family.against(EMOJI, 300, WITHOUT)
    assert headline.comparison.means == pytest.approx((test["greedy"], test["mse"]))


def test_translation_and_references_are_never_chosen():
    best = {**QUALITY, "translate-test": 0.5, "lexical": 0.6}
    choice = choose(Results(Source(*made_up(Plan(quality=best)))), TRANSPORT_CONTRAST, EMOJI, 300)
    assert (choice.first.objective, choice.second.objective) == ("optical", "sentence")
    assert {system.objective for system in choice.validation} == {"mse", "sentence", "optical", "greedy"}


def test_without_validation_nothing_is_chosen_and_the_page_says_so():
    findings = findings_of(*made_up(Plan(splits=("test",))))
    assert findings.choices[0].first is None
    assert not findings.family.tests
    assert any("no validation scores" in line for line in findings.missing)
    assert "validation" in findings.answer.sentence


@pytest.mark.parametrize(
    ("plan", "tests"),
    [
        (Plan(), 2 * 4),
        (Plan(settings=[("emoji", "cosine"), ("emoji", "maxsim")], sizes=(100, 300, 1000)), 2 * 3 * 4),
        (CONTRARY, 2 * 3),  # mse is also the best without transport: requested once, not twice
        (Plan(quality={n: q for n, q in QUALITY.items() if n != "lexical"}), 2 * 3),
    ],
)
def test_family_is_every_comparison_of_the_page(plan, tests):
    family = findings_of(*made_up(plan)).family
    assert len(family.tests) == tests
    assert [one.adjusted for one in family.tests] == holm([one.comparison.test.p_value for one in family.tests])


def test_a_recipe_in_two_roles_is_found_by_either():
    family = findings_of(*made_up(CONTRARY)).family
    assert family.against(EMOJI, 300, WITHOUT) is family.against(EMOJI, 300, "mse") is not None


def test_opponents_that_were_not_measured_are_named():
    findings = findings_of(*made_up(Plan(quality={"mse": 0.2, "optical": 0.3})))
    assert any("no translate-test was measured" in line for line in findings.missing)
    assert any("no lexical was measured" in line for line in findings.missing)


def test_missing_per_query_scores_leave_a_line_not_a_crash():
    header, records, per_query = made_up()
    kept = [block for block in per_query if (block.condition.objective, block.language) != ("sentence", "so")]
    findings = findings_of(header, records, kept)
    assert findings.family.against(EMOJI, 300, WITHOUT) is None
    assert any("optical against sentence was not tested" in line for line in findings.missing)
    assert "could not be compared" in findings.answer.sentence


def test_fewer_seeds_than_the_others_are_pointed_out():
    header, records, per_query = made_up()
    kept = [record for record in records if (record.objective, record.seed) != ("greedy", 2)]
    assert any("greedy has 2 of 3 seeds" in line for line in findings_of(header, kept, per_query).missing)


def test_two_models_under_one_condition_are_refused():
    header, records, per_query = made_up(Plan(seeds=(0,)))
    twice = [replace(record, model="another") for record in records if record.objective == "mse"]
    with pytest.raises(DataError, match="'static' and 'another'"):
        findings_of(header, records + twice, per_query)


def test_attacked_records_are_left_out():
    header, records, per_query = made_up(Plan(seeds=(0, 1)))
    attacked = [replace(record, attack="typo", budget=1.0, value=0.99, low=0.9, high=1.0) for record in records]
    plain, mixed = findings_of(header, records, per_query), findings_of(header, records + attacked, per_query)
    assert plain.answer == mixed.answer
    with pytest.raises(DataError, match="nothing to report"):
        findings_of(header, attacked, [])


def test_controls_are_compared_by_name_in_a_family_of_their_own_and_never_chosen():
    recipes = RECIPES | {"ibm1": {"transport": False, "kind": "distillation", "control": True}}
    protocol = {"study": "low-resource", "recipes": recipes, "contrasts": ["ibm1"]}
    findings = findings_of(*made_up(Plan(quality=QUALITY | {"ibm1": 0.295}, protocol=protocol)))
    choice = findings.headline
    assert choice.second.objective == "sentence"
    tests = {role: test for test in findings.family.tests if test.size == 300 for role in test.roles}
    assert tests["ibm1"].family == tests["best without transport"].family == "emoji/cosine: the question"
    assert tests["ibm1"].family_size == 4  # two contrasts at two sizes
    assert tests["translate-test"].family == "emoji/cosine: baselines"
    text = page_of(*made_up(Plan(quality=QUALITY | {"ibm1": 0.295}, protocol=protocol)))
    assert "emoji/cosine: the question: 4 tests" in text
