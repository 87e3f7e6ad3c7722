"""Intervals over concepts: dependent queries are drawn together."""

from __future__ import annotations

import numpy as np
import pytest

from kivuko.errors import DataError, UsageError
from kivuko.evaluation.group_means import LanguageScores, summarize
from kivuko.evaluation.records import Condition
from kivuko.evaluation.statistics import cluster_resampled_means, percentiles

CONDITION = Condition(dataset="emoji", split="test", model="static", objective="transport", seed=1)


def spread(means: np.ndarray) -> float:
    low, high = percentiles(means[:, 0])
    return high - low


def test_copies_of_a_query_in_one_cluster_add_no_certainty():
    values = np.random.default_rng(0).random((60, 1))
    names = [f"c{i}" for i in range(60)]
    once = cluster_resampled_means(values, names, 2000, seed=0)
    four_times = cluster_resampled_means(np.tile(values, (4, 1)), names * 4, 2000, seed=0)
    np.testing.assert_allclose(once, four_times)
    apart = cluster_resampled_means(np.tile(values, (4, 1)), [f"q{i}" for i in range(240)], 2000, seed=0)
    assert spread(apart) == pytest.approx(spread(once) / 2, rel=0.2)


def test_spread_is_that_of_the_mean_where_clusters_are_single():
    values = np.random.default_rng(1).normal(size=(400, 1))
    means = cluster_resampled_means(values, [str(i) for i in range(400)], 4000, seed=3)
    assert means.std() == pytest.approx(values.std() / 20, rel=0.1)
    assert means.mean() == pytest.approx(values.mean(), abs=0.01)


def test_a_cluster_is_drawn_alike_wherever_it_occurs():
    values = np.arange(6.0)[:, None]
    names = list("abcdef")
    whole = cluster_resampled_means(values, names, 500, seed=0)
    turned = cluster_resampled_means(values[::-1], names[::-1], 500, seed=0)
    np.testing.assert_allclose(whole, turned)
    assert not np.allclose(whole, cluster_resampled_means(values, names, 500, seed=1))


def test_a_sample_without_queries_takes_the_plain_mean():
    means = cluster_resampled_means(np.array([[0.25]]), ["only"], 200, seed=0)
    assert (means == 0.25).all()


def test_languages_that_share_concepts_do_not_halve_a_groups_interval():
    """Two languages with equal values on the same concepts hold no more evidence than one."""
    values = {"MAP": np.random.default_rng(2).random(100)}
    concepts = [f"c{i}" for i in range(100)]

    def entry(language: str, clusters: list[str] | None) -> LanguageScores:
        return LanguageScores(
            language=language, query_ids=[f"{language}{i}" for i in range(100)], values=values, clusters=clusters
        )

    def width(clusters: list[str] | None, language: str) -> float:
        records = summarize([entry("sw", clusters), entry("so", clusters)], CONDITION, groups={"low": ["sw", "so"]})
        record = next(r for r in records if (r.language, r.subset) == (language, "all"))
        return record.high - record.low

    assert width(concepts, "low") == pytest.approx(width(concepts, "sw"))
    assert width(None, "low") < 0.85 * width(None, "sw")


def test_refuses_a_cluster_list_of_another_length_and_no_resamples():
    with pytest.raises(DataError, match="clusters"):
        LanguageScores(language="sw", query_ids=["a", "b"], values={"MAP": np.zeros(2)}, clusters=["x"])
    with pytest.raises(UsageError, match="resamples"):
        cluster_resampled_means(np.zeros((1, 1)), ["x"], 0, seed=0)
