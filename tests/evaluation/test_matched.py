"""Objectives compared at the same clean accuracy: the weight, the bracket, and what a difference then means."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kivuko.errors import DataError, UsageError
from kivuko.evaluation.comparison import seed_means
from kivuko.evaluation.records import Condition, PerQueryScores
from kivuko.evaluation.robustness import Point, matched, mixture

CODES = ["sw", "mr"]
HARD = {code: np.random.default_rng([7, *code.encode()]).uniform(0.6, 1.4, 30) for code in CODES}


def point(objective, size, clean, robust, queries=30, seeds=(0, 1)):
    """An objective whose scores are about ``clean`` and ``robust``, with the same hard concepts for everyone."""

    def blocks(level, attack):
        result = []
        for seed in seeds:
            for code in CODES:
                luck = np.random.default_rng([size, seed, *f"{objective}{attack}{code}".encode()])
                values = level * HARD[code] + luck.normal(0, 0.01, 30)
                condition = Condition(
                    dataset="emoji", split="test", model="m", objective=objective, bitext_size=size, seed=seed,
                    attack=attack,
                )  # fmt: skip
                names = [f"concept {row}" for row in range(30)][:queries]
                result.append(
                    PerQueryScores(
                        condition=condition, language=code, subset="headline", measure="MAP",
                        query_ids=[f"{code} {name}" for name in names], values=values[:queries], clusters=names,
                    )
                )  # fmt: skip
        return result

    return Point(size, blocks(clean, None), blocks(robust, "typo"))


def mean(blocks):
    return float(np.mean(list(seed_means(blocks, CODES).values())))


def test_a_better_model_that_keeps_the_same_share_is_not_more_robust():
    better = [point("better", 300, 0.3, 0.15), point("better", 1400, 0.5, 0.25)]
    worse = [point("worse", 1400, 0.4, 0.2)]
    result = matched(better, worse, CODES, 1400)
    assert abs(result.comparison.difference.mean) < 0.01
    assert result.comparison.test.p_value > 0.01
    assert result.mixed == "better"
    assert result.sizes == (300, 1400)
    assert result.target == pytest.approx(mean(worse[0].clean))
    weak, strong = (mean(one.clean) for one in better)
    assert result.weight == pytest.approx((result.target - weak) / (strong - weak))


def test_a_truly_more_robust_model_shows_on_either_side():
    better = [point("better", 300, 0.3, 0.25), point("better", 1400, 0.5, 0.42)]
    worse = [point("worse", 300, 0.2, 0.05), point("worse", 1400, 0.4, 0.2)]
    result, turned = matched(better, worse, CODES, 1400), matched(worse, better, CODES, 1400)
    assert result.comparison.difference.mean > 0.1
    assert result.comparison.test.p_value < 0.001
    assert (result.comparison.first, turned.comparison.first) == ("better", "worse")
    assert turned.comparison.difference.mean == pytest.approx(-result.comparison.difference.mean)
    assert (turned.mixed, turned.weight, turned.target) == (result.mixed, result.weight, result.target)


@settings(max_examples=25, deadline=None)
@given(st.floats(0.25, 0.55), st.floats(0.05, 0.95))
def test_the_mixture_is_exactly_at_the_target(strong, share):
    weak = strong - 0.15
    better = [point("better", 300, weak, 0.1), point("better", 1400, strong, 0.2)]
    worse = [point("worse", 1400, weak + share * 0.15, 0.1)]
    result = matched(better, worse, CODES, 1400)
    if result.mixed != "better" or result.comparison is None:  # luck moved the other out of the bracket
        return
    blend = mixture([(result.weight, better[1].clean), (1 - result.weight, better[0].clean)])
    assert mean(blend) == pytest.approx(result.target)
    robust = mixture([(result.weight, better[1].robust), (1 - result.weight, better[0].robust)])
    assert result.comparison.means == pytest.approx((mean(robust), mean(worse[0].robust)))
    assert 0 <= result.weight <= 1


def test_of_several_sizes_the_neighbors_of_the_target_are_mixed():
    better = [point("better", size, clean, clean / 2) for size, clean in ((100, 0.1), (300, 0.3), (1400, 0.5))]
    result = matched(better, [point("worse", 1400, 0.2, 0.1)], CODES, 1400)
    assert result.sizes == (100, 300)


def test_a_model_that_is_better_even_at_its_weakest_cannot_be_matched():
    better = [point("better", 300, 0.5, 0.2), point("better", 1400, 0.6, 0.3)]
    result = matched(better, [point("worse", 300, 0.1, 0.1), point("worse", 1400, 0.2, 0.1)], CODES, 1400)
    assert result.comparison is None
    assert result.reason.startswith("not bracketed at 1,400 pairs: better has a clean mean of 0.5")
    assert "even at its weakest (300 pairs)" in result.reason
    assert "at its best (1,400 pairs)" in result.reason


def test_at_the_smallest_size_the_worse_one_is_brought_up():
    better = [point("better", 300, 0.3, 0.2), point("better", 1400, 0.5, 0.3)]
    worse = [point("worse", 300, 0.2, 0.1), point("worse", 1400, 0.4, 0.2)]
    result = matched(better, worse, CODES, 300)
    assert (result.mixed, result.sizes) == ("worse", (300, 1400))
    assert result.target == pytest.approx(mean(better[0].clean))
    assert result.weight == pytest.approx(0.5, abs=0.05)
    assert result.comparison.means == pytest.approx((0.2, 0.15), abs=0.02)


def test_equals_are_compared_as_they_are():
    one = point("one", 300, 0.3, 0.2)
    result = matched([one], [one], CODES, 300)
    assert (result.mixed, result.weight, result.sizes) == (None, None, None)
    assert result.comparison.difference.mean == 0
    assert result.comparison.test.p_value == 1


def test_clean_means_are_over_the_attacked_queries():
    whole = point("worse", 1400, 0.4, 0.2)
    some = point("worse", 1400, 0.4, 0.2, queries=10)
    better = [point("better", s, c, c / 2, queries=10) for s, c in ((300, 0.3), (1400, 0.6))]
    mixed = matched(better, [Point(1400, whole.clean, some.robust)], CODES, 1400)
    assert mixed.target == pytest.approx(mean(some.clean))
    assert mixed.comparison.difference.n == 10


def test_bad_input_is_refused():
    one, other = point("one", 300, 0.3, 0.2), point("other", 300, 0.2, 0.1)
    with pytest.raises(UsageError, match="size 1400 is needed once"):
        matched([one], [other], CODES, 1400)
    with pytest.raises(UsageError, match="sizes 300, 300"):
        matched([one, one], [other], CODES, 300)
    fewer_seeds = point("one", 100, 0.1, 0.05, seeds=(0,))
    with pytest.raises(DataError, match="seed 1"):
        matched([fewer_seeds, one], [other], CODES, 300)
