"""What an attack leaves: means, shares, areas and gaps, against plain arithmetic and in their limits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kivuko.errors import DataError, UsageError
from kivuko.evaluation.records import Condition, PerQueryScores
from kivuko.evaluation.robustness import (
    accuracy_radius_area,
    area_scores,
    compare_ratios,
    mixture,
    on_queries_of,
    resource_gap,
    robustness,
    robustness_records,
    trapezoid_weights,
)

LANGUAGES = {"sw": 40, "mr": 20, "fi": 30}


def scores(make, *, objective="mse", attack=None, budget=None, seeds=(0, 1), languages=LANGUAGES):
    """Blocks whose values are ``make(language, seed, rows)``."""
    return [
        PerQueryScores(
            condition=Condition(
                dataset="emoji", split="test", model="m", objective=objective, seed=seed, attack=attack, budget=budget
            ),
            language=code, subset="headline", measure="MAP",
            query_ids=[f"{code}-{row}" for row in range(languages[code])],
            values=np.asarray(make(code, seed, np.arange(languages[code])), dtype=float),
            clusters=[f"concept {row}" for row in range(languages[code])],
        )
        for seed in seeds
        for code in languages
    ]  # fmt: skip


def ranks(salt):
    """Random reciprocal ranks of 1 to 4."""
    return lambda code, seed, rows: (
        1 / np.random.default_rng([salt, seed or 0, *code.encode()]).integers(1, 5, len(rows))
    )


CLEAN, ATTACKED = scores(ranks(1)), scores(ranks(2), attack="typo", budget=2)


def plain(blocks, languages, of=lambda block: block.values.mean()):
    return np.mean([np.mean([of(b) for b in blocks if b.language == code]) for code in languages])


def test_every_measure_is_what_plain_arithmetic_gives():
    codes = ["sw", "mr"]
    result = robustness(CLEAN, ATTACKED, codes)
    clean, robust = plain(CLEAN, codes), plain(ATTACKED, codes)
    assert result.ratio.mean == pytest.approx(robust / clean)
    first = [plain(side, codes, lambda b: (b.values == 1).mean()) for side in (CLEAN, ATTACKED)]
    assert result.accuracy_drop.mean == pytest.approx(first[0] - first[1])
    lost = [
        PerQueryScores(**{**vars(b), "values": ((b.values == 1) & (a.values < 1)).astype(float)})
        for b, a in zip(CLEAN, ATTACKED, strict=True)
    ]
    assert result.success_of_correct.mean == pytest.approx(plain(lost, codes) / first[0])
    for interval in vars(result).values():
        assert interval.low < interval.mean < interval.high
        assert interval.n == 40


def test_the_two_rates_of_success_differ_where_the_attack_repairs():
    before = scores(lambda code, seed, rows: rows % 2)
    after = scores(lambda code, seed, rows: 1 - rows % 2, attack="typo")
    result = robustness(before, after, ["sw"])
    assert result.accuracy_drop.mean == 0
    assert result.success_of_correct.mean == 1


@pytest.mark.parametrize(("kept", "ratio", "success"), [(1.0, 1, 0), (0.0, 0, 1)])
def test_an_attack_that_does_nothing_and_one_that_takes_all(kept, ratio, success):
    after = scores(lambda code, seed, rows: kept * ranks(1)(code, seed, rows), attack="typo")
    result = robustness(CLEAN, after, list(LANGUAGES))
    assert (result.ratio.mean, result.ratio.low, result.ratio.high) == (ratio, ratio, ratio)
    assert result.success_of_correct.mean == success
    gap = resource_gap(CLEAN, after, ["sw", "mr"], ["fi"])
    assert (gap.mean, gap.low, gap.high) == (0, 0, 0)


def test_no_ratio_of_a_clean_mean_of_zero():
    nothing = scores(lambda code, seed, rows: 0 * rows)
    result = robustness(nothing, nothing, ["sw"])
    assert result.ratio is None
    assert result.success_of_correct is None
    assert resource_gap(nothing, nothing, ["sw"], ["fi"]) is None
    assert compare_ratios((nothing, nothing), (CLEAN, ATTACKED), ["sw"]) is None


def test_gap_is_the_high_ratio_less_the_low_one():
    after = scores(lambda code, seed, rows: ranks(1)(code, seed, rows) * (0.9 if code == "fi" else 0.5), attack="typo")
    gap = resource_gap(CLEAN, after, ["sw", "mr"], ["fi"])
    assert gap.mean == pytest.approx(0.4)
    assert gap.low == pytest.approx(0.4)
    assert gap.n == 40


def test_an_attack_on_some_queries_is_set_against_the_same_queries_clean():
    some = {"sw": 10}
    after = scores(ranks(2), attack="apgd", languages=some)
    result = robustness(CLEAN, after, ["sw"])
    kept = on_queries_of(CLEAN, after)
    means = [np.mean([block.values.mean() for block in side]) for side in (kept, after)]
    assert result.ratio.mean == pytest.approx(means[1] / means[0])
    assert result.ratio.n == 10
    assert [len(block.values) for block in kept] == [10, 10]
    with pytest.raises(DataError, match="has no query 'sw-10'"):
        robustness(after, CLEAN, ["sw"])


@pytest.mark.parametrize(
    ("clean", "attacked", "words"),
    [
        (CLEAN, scores(ranks(2), seeds=(0,)), "not measured in the same languages and seeds"),
        (CLEAN[:-1], ATTACKED, "not measured in the same languages and seeds"),
        (CLEAN[:1], ATTACKED[:1], "no scores in 'mr'"),
        ([*CLEAN, CLEAN[0]], ATTACKED, "given twice"),
        ([], [], "no scores in 'sw'"),
    ],
)
def test_blocks_that_do_not_fit_are_refused(clean, attacked, words):
    with pytest.raises(DataError, match=words):
        robustness(clean, attacked, list(LANGUAGES))


def test_without_a_language_there_is_no_mean():
    with pytest.raises(DataError, match="no language"):
        robustness(CLEAN, ATTACKED, [])


# --- the curve ---


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=6, unique=True))
def test_trapezoid_weights_are_those_of_numpy(widths):
    places = [0.0, *np.cumsum(widths)]
    values = np.random.default_rng(0).random(len(places))
    weights = trapezoid_weights(places)
    assert sum(weights) == pytest.approx(1)
    assert np.dot(weights, values) == pytest.approx(np.trapezoid(values, places) / places[-1])


def test_area_of_a_straight_fall_is_a_half_and_of_no_fall_the_clean_mean():
    def level(value):
        return scores(lambda code, seed, rows: np.full(len(rows), value))

    area = accuracy_radius_area(level(1.0), {2.0: level(0.5), 4.0: level(0.0)}, ["sw", "mr"])
    assert area.mean == pytest.approx(0.5)
    assert accuracy_radius_area(level(0.7), {1.0: level(0.7)}, ["sw"]).mean == pytest.approx(0.7)
    assert accuracy_radius_area(level(1.0), {1.0: level(0.0), 8.0: level(0.0)}, ["sw"]).mean == pytest.approx(1 / 16)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 100), st.sampled_from([(1,), (1, 2), (0.5, 2, 8)]))
def test_area_lies_in_the_unit_interval_and_grows_with_every_score(salt, budgets):
    attacked = {budget: scores(ranks(salt + place), budget=budget) for place, budget in enumerate(budgets)}
    area = accuracy_radius_area(CLEAN, attacked, ["sw", "fi"])
    assert 0 <= area.low <= area.mean <= area.high <= 1
    better = {
        budget: [PerQueryScores(**{**vars(b), "values": (1 + b.values) / 2}) for b in blocks]
        for budget, blocks in attacked.items()
    }
    assert accuracy_radius_area(CLEAN, better, ["sw", "fi"]).mean >= area.mean


def test_area_scores_say_what_they_are_and_refuse_bad_budgets():
    blocks = area_scores(CLEAN, {2.0: ATTACKED})
    assert {block.measure for block in blocks} == {"area of MAP"}
    assert {block.condition.attack for block in blocks} == {None}
    for budgets in ({}, {0.0: ATTACKED}, {-1.0: ATTACKED}, {float("nan"): ATTACKED}):
        with pytest.raises(UsageError, match="budgets are"):
            area_scores(CLEAN, budgets)


# --- sums of systems ---


def test_mixture_adds_up_query_by_query():
    result = mixture([(0.25, CLEAN), (0.75, ATTACKED)])
    for mixed, one, other in zip(result, CLEAN, ATTACKED, strict=True):
        assert mixed.values == pytest.approx(0.25 * one.values + 0.75 * other.values)
        assert mixed.condition == one.condition
    assert mixture([(0.5, CLEAN), (0.5, CLEAN)])[0].values == pytest.approx(CLEAN[0].values)


def test_a_mixture_holds_the_queries_that_all_parts_have():
    fewer = scores(ranks(2), languages={"sw": 10})
    only = [block for block in CLEAN if block.language == "sw"]
    assert [len(block.values) for block in mixture([(0.5, only), (0.5, fewer)])] == [10, 10]
    with pytest.raises(DataError, match="nothing was measured in 'mr'"):
        mixture([(0.5, CLEAN), (0.5, fewer)])
    with pytest.raises(DataError, match="nothing to sum"):
        mixture([])
    strangers = [PerQueryScores(**{**vars(b), "query_ids": [f"x{i}" for i in b.query_ids]}) for b in CLEAN]
    with pytest.raises(DataError, match="no query was measured under every condition"):
        mixture([(0.5, CLEAN), (0.5, strangers)])


# --- ratios compared ---


def scaled(factor, objective, salt=1, attack="typo", seeds=(0, 1)):
    """A system that keeps a share of each clean score, give or take a little."""

    def make(code, seed, rows):
        luck = np.random.default_rng([salt, seed or 0, *objective.encode()]).uniform(-0.1, 0.1, len(rows))
        return np.clip(ranks(1)(code, seed, rows) * (factor + luck), 0, 1)

    return scores(make, objective=objective, attack=attack, seeds=seeds)


def test_ratio_comparison_finds_a_difference_that_is_there_and_none_where_there_is_none():
    first = (scores(ranks(1), objective="a"), scaled(0.8, "a"))
    second = (scores(ranks(1), objective="b"), scaled(0.6, "b"))
    result = compare_ratios(first, second, ["sw", "mr"])
    ratios = [robustness(*side, ["sw", "mr"]).ratio.mean for side in (first, second)]
    assert result.means == pytest.approx(ratios)
    assert result.difference.mean == pytest.approx(ratios[0] - ratios[1])
    assert result.difference.low < result.difference.mean < result.difference.high
    assert result.relative.mean == pytest.approx(ratios[0] / ratios[1] - 1)
    assert (result.first, result.second) == ("a", "b")
    assert result.test.p_value < 0.001
    assert result.over_seeds.n == 2
    other_way = compare_ratios(second, first, ["sw", "mr"])
    assert other_way.difference.mean == pytest.approx(-result.difference.mean)
    assert other_way.test.p_value == result.test.p_value
    same = compare_ratios(first, (second[0], scaled(0.8, "b", salt=7)), ["sw", "mr"])
    assert same.test.p_value > 0.05
    assert compare_ratios(first, first, ["sw"]).test.p_value == 1


def test_ratio_comparison_is_not_fooled_by_a_better_model_that_falls_by_the_same_share():
    half = scores(lambda code, seed, rows: ranks(1)(code, seed, rows) / 2, objective="weak")
    quarter = scores(lambda code, seed, rows: ranks(1)(code, seed, rows) / 4, objective="weak", attack="typo")
    strong = (scores(ranks(1), objective="strong"), scaled(0.5, "strong"))
    result = compare_ratios(strong, (half, quarter), ["sw", "mr"])
    assert abs(result.difference.mean) < 0.05
    assert result.test.p_value > 0.05


def test_ratio_comparison_pairs_a_system_without_seeds_with_each_run():
    trained = (CLEAN, ATTACKED)
    teacher = (scores(ranks(3), seeds=(None,)), scores(ranks(4), seeds=(None,), attack="typo"))
    assert compare_ratios(trained, teacher, ["sw"], trials=100).over_seeds.n == 2
    later = (scores(ranks(3), seeds=(1, 2)), scores(ranks(4), seeds=(1, 2)))
    assert compare_ratios(trained, later, ["sw"], trials=100).over_seeds.n == 1
    others = (scores(ranks(3), seeds=(5,)), scores(ranks(4), seeds=(5,)))
    with pytest.raises(DataError, match="share no seed"):
        compare_ratios(trained, others, ["sw"])
    fewer = (CLEAN, scores(ranks(4), languages={"sw": 10}))
    with pytest.raises(DataError, match="not measured on the same queries"):
        compare_ratios(trained, fewer, ["sw"])


# --- records ---


def test_records_carry_the_attack_and_the_same_figures():
    clean, attacked = scores(ranks(1), seeds=(0,)), scores(ranks(2), seeds=(0,), attack="typo", budget=2)
    records = robustness_records(clean, attacked, {"low-resource": ["sw", "mr"], "sw": ["sw"]})
    assert [(r.language, r.measure) for r in records][:3] == [
        ("low-resource", "robustness ratio"), ("low-resource", "accuracy_drop"), ("low-resource", "success_of_correct")
    ]  # fmt: skip
    assert {(r.attack, r.budget, r.subset, r.seed) for r in records} == {("typo", 2, "headline", 0)}
    expected = robustness(clean, attacked, ["sw", "mr"])
    assert (records[0].value, records[0].low, records[0].queries) == (expected.ratio.mean, expected.ratio.low, 60)
    with pytest.raises(DataError, match="2 conditions"):
        robustness_records(CLEAN, ATTACKED, {"sw": ["sw"]})
