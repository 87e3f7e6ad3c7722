"""Two objectives compared: means over languages, paired by cluster and by seed."""

from __future__ import annotations

import numpy as np
import pytest

from kivuko.errors import DataError
from kivuko.evaluation.comparison import compare_scores, seed_means
from kivuko.evaluation.records import Condition, PerQueryScores

RNG = np.random.default_rng(0)
CONCEPTS = [f"c{number}" for number in range(60)]
SIZES = {"sw": 60, "mr": 30}  # queries; languages weigh alike however many queries they have
DIFFICULTY = dict(zip(CONCEPTS, RNG.uniform(0.2, 0.6, len(CONCEPTS)), strict=True))


def blocks(objective, gain=0.0, seeds=(0, 1, 2), languages=("sw", "mr"), noise=0.02):
    scores = []
    for seed in seeds:
        for language in languages:
            clusters = CONCEPTS[: SIZES.get(language, 10)]
            values = np.array([DIFFICULTY[c] + gain for c in clusters]) + RNG.normal(0, noise, len(clusters))
            scores.append(
                PerQueryScores(
                    condition=Condition(dataset="emoji", split="test", model="m", objective=objective, seed=seed),
                    language=language, subset="headline", measure="MAP",
                    query_ids=[f"{language}:{c}" for c in clusters], values=values, clusters=clusters,
                )
            )  # fmt: skip
    return scores


def plain_mean(scores, languages=("sw", "mr")):
    return np.mean([np.mean([b.values.mean() for b in scores if b.language == code]) for code in languages])


def test_means_are_over_languages_first_and_the_difference_is_theirs():
    better, worse = blocks("a", 0.05), blocks("b")
    result = compare_scores(better, worse, ["sw", "mr"])
    assert (result.first, result.second) == ("a", "b")
    assert result.means == pytest.approx((plain_mean(better), plain_mean(worse)))
    assert result.difference.mean == pytest.approx(result.means[0] - result.means[1])
    assert result.over_seeds.mean == pytest.approx(result.difference.mean)
    assert result.relative.mean == pytest.approx(result.means[0] / result.means[1] - 1)
    assert result.difference.low > 0.03
    assert result.over_seeds.low > 0.03
    assert result.test.p_value < 0.001
    assert result.test.n == len(CONCEPTS)


def test_no_difference_is_not_significant():
    result = compare_scores(blocks("a"), blocks("b"), ["sw", "mr"])
    assert result.test.p_value > 0.05
    assert result.difference.low < 0 < result.difference.high
    assert result.relative.low < 0 < result.relative.high


def test_queries_of_one_concept_are_one_unit():
    # Twice the languages with the very same values is no more evidence than one of them.
    sides = [blocks(name, gain, seeds=[0], languages=["sw"], noise=0.05) for name, gain in (("a", 0.01), ("b", 0.0))]
    doubled = [[*side, PerQueryScores(**{**_fields(side[0]), "language": "so"})] for side in sides]
    same, single = compare_scores(*doubled, ["sw", "so"]), compare_scores(*sides, ["sw"])
    assert same.difference == single.difference
    assert same.test == single.test
    assert single.test.n == 60


def _fields(block):
    names = ("condition", "language", "subset", "measure", "query_ids", "values", "clusters")
    return {name: getattr(block, name) for name in names}


def test_seeds_are_paired_and_a_system_without_seeds_is_paired_with_each():
    result = compare_scores(blocks("a", seeds=[0, 1, 7]), blocks("b", seeds=[1, 0, 9]), ["sw", "mr"])
    assert result.over_seeds.n == 2
    against_table = compare_scores(blocks("a", seeds=[0, 1, 2]), blocks("table", seeds=[None]), ["sw", "mr"])
    assert against_table.over_seeds.n == 3
    with pytest.raises(DataError, match="share no seed"):
        compare_scores(blocks("a", seeds=[0]), blocks("b", seeds=[1]), ["sw", "mr"])


def test_seed_means():
    scores = blocks("a", seeds=[3])
    assert seed_means(scores, ["sw", "mr"]) == {3: pytest.approx(plain_mean(scores))}


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(DataError, match="no scores in fi"):
        compare_scores(blocks("a"), blocks("b"), ["fi"])
    with pytest.raises(DataError, match="a, seed 0: has scores in sw, but mr, sw are compared"):
        compare_scores(blocks("a", languages=["sw"]), blocks("b"), ["sw", "mr"])
    with pytest.raises(DataError, match="each once"):
        compare_scores(blocks("a") + blocks("a"), blocks("b"), ["sw", "mr"])
    fewer = blocks("b", languages=["mr"])
    with pytest.raises(DataError, match="not measured on the same queries"):
        compare_scores(
            blocks("a", languages=["sw"]), [PerQueryScores(**{**_fields(b), "language": "sw"}) for b in fewer], ["sw"]
        )


def test_a_baseline_of_zero_has_no_relative_difference():
    zero = [PerQueryScores(**{**_fields(b), "values": np.zeros(len(b.values))}) for b in blocks("b")]
    assert compare_scores(blocks("a"), zero, ["sw", "mr"]).relative is None
