"""The answer is computed, and says plainly when transport does not help, also when it harms."""

from __future__ import annotations

from dataclasses import replace

import pytest
from study_records import QUALITY, RECIPES, Plan, findings_of, made_up

from kivuko.evaluation.comparison import PairedComparison
from kivuko.evaluation.statistics import Interval, RandomizationTest
from kivuko.report.comparisons import RECIPE_CONTRAST, TRANSPORT_CONTRAST, Family, PairedTest
from kivuko.report.low_resource import (
    WANTED_OVER_TRANSLATION,
    Verdict,
    answer,
    claim_at_every_size,
    gain_claim,
    judge,
)
from kivuko.report.results import Setting
from kivuko.report.study_page import nearest

EMOJI = Setting("emoji", "cosine")
WITHOUT = "best without transport"


def result(first: float, second: float, p: float, roles: tuple[str, ...] = (WITHOUT,), size: int = 300) -> PairedTest:
    """A comparison with these means and p after Holm; its intervals are of no account."""
    difference = Interval(first - second, first - second - 0.01, first - second + 0.01, 320)
    relative = Interval(first / second - 1, first / second - 1.1, first / second - 0.9, 320) if second else None
    seeds = Interval(first - second, first - second - 0.001, first - second + 0.001, 5)
    test = RandomizationTest(first - second, p, 320, 10_000)
    comparison = PairedComparison("greedy", "sentence", (first, second), difference, relative, seeds, test)
    return PairedTest(EMOJI, size, comparison, p, roles=roles, family_size=24)


@pytest.mark.parametrize(
    ("gain", "p", "verdict"),
    [
        (0.10, 0.049, Verdict.HELPS),
        (0.50, 0.001, Verdict.HELPS),
        (float("inf"), 0.001, Verdict.HELPS),
        (0.0999, 0.001, Verdict.HELPS_LITTLE),
        (0.50, 0.05, Verdict.UNMEASURABLE),
        (0.001, 1.0, Verdict.UNMEASURABLE),
        (0.0, 1.0, Verdict.NO_HELP),
        (-0.20, 0.05, Verdict.NO_HELP),
        (-0.001, 0.01, Verdict.HARMS),
    ],
)
def test_verdict(gain, p, verdict):
    assert judge(gain, p) is verdict


@pytest.mark.parametrize(
    ("first", "second", "p", "begins", "holds"),
    [
        (0.12, 0.10, 0.002, "Optimal transport helps: with 300 sentence pairs", "20.0 % more than"),
        (0.105, 0.10, 0.002, "Optimal transport helps, but by less than the required 10 %:", "5.0 % more than"),
        (0.12, 0.10, 0.3, "Optimal transport brings no measurable gain:", "20.0 % more than"),
        (0.09, 0.10, 0.3, "Optimal transport does not help:", "10.0 % less than"),
        (0.10, 0.10, 1.0, "Optimal transport does not help:", "exactly as much as"),
        (0.09, 0.10, 0.0005, "Optimal transport harms:", "p < 0.001"),
        (0.09, 0.0, 0.0005, "Optimal transport helps:", "0.090 more than"),
    ],
)
def test_sentence_says_it_plainly(first, second, p, begins, holds):
    message = answer(result(first, second, p), TRANSPORT_CONTRAST, languages=4)
    assert message.sentence.startswith(begins)
    assert holds in message.sentence
    assert "“greedy”" in message.sentence
    assert "“sentence”" in message.sentence
    assert "over 4 low-resource languages" in message.sentence
    assert " after Holm, over 24 tests." in message.sentence
    assert message.sentence.count(". ") == 0  # one sentence


def test_without_a_comparison_there_is_no_answer():
    message = answer(None, TRANSPORT_CONTRAST, "nobody measured it")
    assert message.kind == "unanswered"
    assert message.sentence == "These records do not say whether optimal transport helps: nobody measured it."


def test_an_interval_over_seeds_that_includes_zero_is_pointed_out():
    sure = result(0.12, 0.10, 0.001)
    unsure = replace(sure, comparison=replace(sure.comparison, over_seeds=Interval(0.02, -0.01, 0.05, 5)))
    once = replace(sure, comparison=replace(sure.comparison, over_seeds=Interval(0.02, 0.02, 0.02, 1)))
    assert "includes zero" not in " ".join(answer(sure, TRANSPORT_CONTRAST).support)
    assert "includes zero" in " ".join(answer(unsure, TRANSPORT_CONTRAST).support)
    assert "One training seed only" in " ".join(answer(once, TRANSPORT_CONTRAST).support)


@pytest.mark.parametrize(
    ("gain", "p", "state"),
    [(0.11, 0.01, "met"), (0.09, 0.01, "missed"), (0.11, 0.06, "missed"), (-0.2, 0.01, "missed")],
)
def test_gain_bar(gain, p, state):
    assert gain_claim(Family((result(0.1 * (1 + gain), 0.1, p),), ()), EMOJI, 300).state == state
    assert gain_claim(Family((), ()), EMOJI, 300).state == "not measured"


def test_translation_bar_must_hold_at_every_size():
    role = ("translate-test",)

    def claim(family, setting, sizes):
        return claim_at_every_size(family, setting, sizes, "translate-test", WANTED_OVER_TRANSLATION, False)

    above = result(0.1 * (1.001 + WANTED_OVER_TRANSLATION), 0.1, 0.01, role, 300)
    below = result(0.1 * (0.999 + WANTED_OVER_TRANSLATION), 0.1, 0.01, role, 1000)
    assert claim(Family((above,), ()), EMOJI, [300]).state == "met"
    assert claim(Family((above, below), ()), EMOJI, [300, 1000]).state == "missed"
    assert claim(Family((above,), ()), EMOJI, [300, 1000]).state == "not measured"
    assert claim(Family((below,), ()), EMOJI, [300, 1000]).state == "missed"
    assert claim(Family((), ()), EMOJI, []).state == "not measured"


@pytest.mark.parametrize(
    ("optical", "greedy", "verdict"),
    [
        (0.30, 0.29, Verdict.HELPS),
        (0.25, 0.20, Verdict.HELPS_LITTLE),
        (0.15, 0.14, Verdict.HARMS),
    ],
)
def test_answer_follows_the_records(optical, greedy, verdict):
    """`sentence`, the best without transport, has 0.24 in every case."""
    quality = {**QUALITY, "optical": optical, "greedy": greedy}
    findings = findings_of(*made_up(Plan(quality=quality, noise=0.005)))
    assert findings.answer.kind == verdict.name.lower()
    assert findings.size == 300


def test_equal_recipes_are_not_found_different():
    findings = findings_of(*made_up(Plan(quality={**QUALITY, "optical": 0.24, "greedy": 0.1}, noise=0.05)))
    assert findings.answer.kind in ("unmeasurable", "no_help")


@pytest.mark.parametrize(
    ("sizes", "size"), [((100, 300, 1000), 300), ((100, 1000), 100), ((200, 1000), 200), ((1431,), 1431), ((), None)]
)
def test_headline_is_at_the_size_nearest_to_300(sizes, size):
    assert nearest(sizes, 300) == size


def test_records_that_say_nothing_of_transport_compare_the_best_recipe_with_the_second_best():
    unmarked = {name: {"kind": message["kind"]} for name, message in RECIPES.items()}
    for protocol in ({}, {"recipes": unmarked}, {"recipes": "lost"}, {"recipes": {"optical": 3}}):
        findings = findings_of(*made_up(Plan(protocol=protocol, noise=0.005, quality={**QUALITY, "greedy": 0.27})))
        assert findings.contrast is RECIPE_CONTRAST
        assert findings.answer.sentence.startswith("“optical” is better than “greedy”: with 300 sentence pairs")
        assert "than the second best, “greedy” (" in findings.answer.sentence


@pytest.mark.parametrize("transport", [True, False])
def test_recipes_that_all_use_transport_or_none_of_them_are_compared_with_each_other(transport):
    recipes = {name: {"transport": transport} for name in ("mine", "contrastive", "mse")}
    plan = Plan(quality={"mine": 0.3, "contrastive": 0.2, "mse": 0.1}, protocol={"recipes": recipes}, noise=0.005)
    findings = findings_of(*made_up(plan))
    assert findings.answer.kind == "helps"
    assert findings.answer.sentence.startswith("“mine” is better than “contrastive”: ")
    assert {one.comparison.second for one in findings.family.tests} == {"contrastive", "mse"}
    assert findings.missing == []


def test_a_single_recipe_has_nothing_to_be_compared_with():
    findings = findings_of(*made_up(Plan(quality={"mine": 0.3}, protocol={})))
    assert findings.answer.kind == "unanswered"
    assert "with transport" in findings.answer.sentence


def test_a_quick_study_says_in_its_answer_that_it_is_one():
    header, records, per_query = made_up(Plan(seeds=(0,)))
    assert findings_of(header, records, per_query).answer.sentence.startswith("Optimal transport")
    for quick in (
        replace(header, protocol={**header.protocol, "quick": True}),
        replace(header, command="kivuko study low-resource --quick"),
    ):
        assert findings_of(quick, records, per_query).answer.sentence.startswith("Quick study, which proves nothing: ")
