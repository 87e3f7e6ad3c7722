"""Per-query values into records: means, groups, subsets, parity."""

from __future__ import annotations

import numpy as np
import pytest

from kivuko.errors import DataError, UsageError
from kivuko.evaluation.group_means import LanguageScores, per_query_scores, summarize
from kivuko.evaluation.records import Condition
from kivuko.evaluation.statistics import bootstrap_interval

CONDITION = Condition(dataset="emoji", split="test", model="static", objective="transport", seed=1)


def language(code, values, **subsets):
    column = np.asarray(values, dtype=float)
    masks = {name: np.asarray(mask, dtype=bool) for name, mask in subsets.items()}
    ids = [f"{code}{index}" for index in range(len(column))]
    return LanguageScores(language=code, query_ids=ids, values={"MAP": column, "R@1": column > 0.9}, subsets=masks)


def by_key(records):
    return {(record.language, record.subset, record.measure): record for record in records}


def test_language_group_and_parity_values():
    scores = [language("en", [0.8, 0.8]), language("sw", [0.2, 0.4]), language("so", [0.1, 0.1, 0.1, 0.1])]
    records = by_key(summarize(scores, CONDITION, groups={"low-resource": ["sw", "so"]}))
    assert records["sw", "all", "MAP"].value == pytest.approx(0.3)
    group = records["low-resource", "all", "MAP"]
    assert group.value == pytest.approx(0.2)  # each language counts once, not each query
    assert group.queries == 6
    assert records["sw", "all", "parity"].value == pytest.approx(0.375)
    assert records["low-resource", "all", "parity"].value == pytest.approx(0.25)
    assert ("en", "all", "parity") not in records
    assert group.model == "static"
    assert group.seed == 1


def test_intervals_bracket_and_match_the_plain_bootstrap():
    rng = np.random.default_rng(0)
    scores = [
        language("en", rng.uniform(0.5, 1, 300)),
        language("sw", rng.random(300)),
        language("so", rng.random(300)),
    ]
    records = by_key(summarize(scores, CONDITION, groups={"low-resource": ["sw", "so"]}))
    for record in records.values():
        assert record.low <= record.value <= record.high
    one, group = records["sw", "all", "MAP"], records["low-resource", "all", "MAP"]
    plain = bootstrap_interval(scores[1].values["MAP"])
    assert one.high - one.low == pytest.approx(plain.high - plain.low, rel=0.1)
    # Two independent languages of equal spread: the group's interval is narrower by the root of two.
    assert group.high - group.low == pytest.approx((one.high - one.low) / np.sqrt(2), rel=0.15)


def test_a_language_keeps_its_interval_next_to_any_other():
    values = np.random.default_rng(0).random(50)
    alone = by_key(summarize([language("sw", values)], CONDITION))
    other = by_key(summarize([language("de", [0.5]), language("sw", values)], CONDITION))
    assert alone["sw", "all", "MAP"] == other["sw", "all", "MAP"]


def test_subsets_and_the_headline_that_leaves_copies_out():
    fil = language("fil", [1.0, 0.2, 0.4], copied=[1, 0, 0], lexical=[1, 1, 0], compositional=[0, 0, 1])
    records = by_key(summarize([language("en", [1.0, 1.0], copied=[0, 0]), fil], CONDITION))
    values = {subset: records["fil", subset, "MAP"].value for subset in ["all", "headline", "copied", "lexical"]}
    assert values == pytest.approx({"all": 1.6 / 3, "headline": 0.3, "copied": 1.0, "lexical": 0.6})
    assert records["fil", "headline", "MAP"].queries == 2
    assert records["fil", "headline", "parity"].value == pytest.approx(0.3)


def test_what_cannot_be_computed_has_no_record():
    sw = language("sw", [0.5, 0.5], copied=[0, 0])
    fil = language("fil", [0.5, 0.5], copied=[1, 0])
    records = by_key(summarize([sw, fil], CONDITION, groups={"low-resource": ["sw", "fil"]}))
    assert ("fil", "copied", "MAP") in records
    assert ("sw", "copied", "MAP") not in records
    assert ("low-resource", "copied", "MAP") not in records
    assert not [key for key in records if key[2] == "parity"]  # English was not measured


def test_no_parity_over_an_english_map_that_may_be_zero():
    records = summarize([language("en", [0.0, 0.5]), language("sw", [0.5, 0.5])], CONDITION)
    assert ("sw", "all", "parity") not in by_key(records)


def test_per_query_scores_hold_every_subset():
    sw = language("sw", [0.1, 0.2, 0.3], copied=[0, 1, 0])
    blocks = {(block.subset, block.measure): block for block in per_query_scores([sw], CONDITION)}
    assert blocks["headline", "MAP"].query_ids == ["sw0", "sw2"]
    np.testing.assert_array_equal(blocks["copied", "MAP"].values, [0.2])
    assert len(blocks) == 6


def test_what_is_refused():
    with pytest.raises(DataError, match="no language"):
        summarize([], CONDITION)
    with pytest.raises(DataError, match="'sw' is given twice"):
        summarize([language("sw", [1]), language("sw", [1])], CONDITION)
    for groups in [{"low-resource": []}, {"low-resource": ["so"]}, {"sw": ["sw"]}]:
        with pytest.raises(UsageError, match="group"):
            summarize([language("sw", [1])], CONDITION, groups=groups)
    for subsets in [{"all": [1]}, {"copied": [1, 0]}]:
        with pytest.raises(DataError):
            language("sw", [1], **subsets)
    with pytest.raises(DataError, match="no value"):
        language("sw", [])
    with pytest.raises(DataError, match="no measure"):
        LanguageScores(language="sw", query_ids=["a"], values={})
