"""``kivuko.compare``: per language and group, on the same queries, with a paired test."""

from __future__ import annotations

import numpy as np
import pytest

import kivuko
from kivuko.errors import DataError, UsageError
from kivuko.evaluation.comparison import compare_scores
from kivuko.evaluation.evaluate import Evaluation
from kivuko.evaluation.records import Condition, Header, PerQueryScores, write_records
from kivuko.evaluation.statistics import holm
from kivuko.evaluation.tables import p_value

CONCEPTS = [f"c{number}" for number in range(40)]
HEADER = Header(command="kivuko evaluate", protocol={})


def blocks(objective, gain, languages=("sw", "so", "de"), subset="headline", measure="MAP", seed=0, **condition):
    condition = {"dataset": "emoji", "split": "test", **condition}
    noise = np.random.default_rng(1)  # the same for both systems
    return [
        PerQueryScores(
            condition=Condition(model=f"{objective}-model", objective=objective, seed=seed, **condition),
            language=code, subset=subset, measure=measure, query_ids=[f"{code}:{c}" for c in CONCEPTS],
            values=noise.uniform(0.2, 0.6, len(CONCEPTS)) + np.linspace(0, 2 * gain, len(CONCEPTS)), clusters=CONCEPTS,
        )
        for code in languages
    ]  # fmt: skip


def evaluation(*parts):
    return Evaluation([], HEADER, [block for part in parts for block in part])


def test_a_row_per_language_and_group_with_intervals_and_tests():
    a, b = evaluation(blocks("optical", 0.1)), evaluation(blocks("mse", 0.0))
    comparison = kivuko.compare(a, b)
    assert [row.language for row in comparison.rows] == ["sw", "so", "de", "low-resource", "high-resource"]
    assert (comparison.a, comparison.b, comparison.subset) == ("optical", "mse", "headline")
    for row in comparison.rows:
        assert row.difference.mean == pytest.approx(row.a - row.b) == pytest.approx(0.1)
        assert row.difference.low > 0.05
        assert row.p_value < 0.001
    assert [row.queries for row in comparison.rows] == [40, 40, 40, 80, 40]
    assert [row.p_holm for row in comparison.rows] == holm([row.p_value for row in comparison.rows])


def test_it_is_the_comparison_of_the_studies():
    first, second = blocks("optical", 0.02), blocks("mse", 0.0)
    (low,) = (
        row for row in kivuko.compare(evaluation(first), evaluation(second)).rows if row.language == "low-resource"
    )
    theirs = compare_scores(first, second, ["sw", "so"])
    assert (low.a, low.b) == theirs.means
    assert (low.difference, low.relative) == (theirs.difference, theirs.relative)
    assert low.p_value == theirs.test.p_value


def test_what_is_printed_fits_and_names_everything():
    a, b = evaluation(blocks("optical", 0.1)), evaluation(blocks("mse", 0.0))
    text = str(kivuko.compare(a, b, languages=["sw", "so"]))
    *table, footnote = text.splitlines()
    assert max(map(len, table)) <= 80
    assert table[0] == "MAP of optical (a) and mse (b): emoji, test; headline queries"
    assert "sw Swahili" in text
    assert "+0.100 [+0." in text
    assert text.count("≤ 0.001") == 6, "no trial reached any of the three differences: both p values are bounds"
    assert "3 tests" in footnote
    assert "≤: none reached the difference" in footnote


def test_p_values_at_their_floor_are_written_as_bounds_and_others_are_not():
    sure = kivuko.compare(evaluation(blocks("optical", 0.1)), evaluation(blocks("mse", 0.0)), trials=100)
    assert all(row.at_floor for row in sure.rows)
    assert "≤ 0.010" in str(sure)  # 1 / 101, rounded up
    assert "≤ 0.050" in str(sure)  # times five tests
    same = kivuko.compare(evaluation(blocks("optical", 0.0)), evaluation(blocks("mse", 0.0)))
    assert not any(row.at_floor for row in same.rows)
    assert "≤" not in str(same).splitlines()[2]
    assert p_value(0.00052) == "< 0.001"
    assert p_value(0.0104, at_floor=True) == "≤ 0.011", "a bound is never rounded below itself"
    assert [p_value(p, p < 0.001, 4) for p in (1 / 10_001, 0.0301)] == ["≤ 0.0001", "0.0301"]


def test_records_files_and_two_systems_of_one_file(tmp_path):
    path = tmp_path / "records.jsonl"
    write_records(path, HEADER, [], [*blocks("teacher", 0), *blocks("optical", 0.1), *blocks("mse", 0)])
    comparison = kivuko.compare(path, str(path), objectives=("optical", "mse"))
    assert comparison.rows[0].difference.mean == pytest.approx(0.1)
    with pytest.raises(UsageError, match=r"records\.jsonl: holds teacher, optical, mse; name one for each result"):
        kivuko.compare(path, path)
    (one,) = {evaluation(blocks("teacher", 0), blocks("optical", 0))}
    assert [row.p_value for row in kivuko.compare(one, one).rows] == [1.0] * 5, "a system against itself"


def test_models_of_one_objective_are_distinguished_by_name():
    other = [
        PerQueryScores(**{**vars(block), "condition": Condition(**{**vars(block.condition), "model": "larger"})})
        for block in blocks("optical", 0.0, seed=7)
    ]
    comparison = kivuko.compare(evaluation(blocks("optical", 0.1)), evaluation(other))
    assert (comparison.a, comparison.b) == ("optical, optical-model", "optical, larger")


def test_both_directions_and_attacks_are_compared_apart():
    sides = [
        evaluation(
            blocks(name, gain, dataset="xm/text-to-image", subset="all"),
            blocks(name, -gain, dataset="xm/image-to-text", subset="all"),
            blocks(name, gain, dataset="xm/text-to-image", subset="all", attack="typo", budget=2.0),
        )
        for name, gain in (("optical", 0.1), ("mse", 0.0))
    ]
    comparison = kivuko.compare(*sides, languages=["sw"])
    differences = {(row.dataset, row.attack, row.language): row.difference.mean for row in comparison.rows}
    assert differences["xm/text-to-image", None, "sw"] == pytest.approx(0.1)
    assert differences["xm/image-to-text", None, "sw"] == pytest.approx(-0.1)
    assert differences["xm/text-to-image", "typo", "low-resource"] == pytest.approx(0.1)
    assert "under typo 2" in " ".join(str(comparison).split())


def test_seeds_are_averaged_and_bitext_sizes_must_be_named():
    a = evaluation(*(blocks("optical", gain, seed=seed, bitext_size=100) for seed, gain in enumerate((0.1, 0.2))))
    b = evaluation(blocks("table", 0.0, seed=None))
    assert kivuko.compare(a, b).rows[0].difference.mean == pytest.approx(0.15)
    assert kivuko.compare(a, b).rows[0].queries == 40
    a.per_query += blocks("optical", 0.3, bitext_size=300)
    with pytest.raises(UsageError, match="bitext sizes 100, 300; name one"):
        kivuko.compare(a, b)
    assert kivuko.compare(a, b, bitext_size=300).rows[0].difference.mean == pytest.approx(0.3)


def test_as_a_data_frame():
    pytest.importorskip("pandas")
    frame = kivuko.compare(evaluation(blocks("optical", 0.1)), evaluation(blocks("mse", 0))).to_pandas()
    assert frame["language"].tolist() == ["sw", "so", "de", "low-resource", "high-resource"]
    assert (frame["low"] < frame["difference"]).all()


def test_what_cannot_be_compared_is_one_line():
    a = evaluation(blocks("optical", 0.1))
    with pytest.raises(UsageError, match="parity is no measure of single queries"):
        kivuko.compare(a, a, measure="parity")
    with pytest.raises(UsageError, match="optical: no measure 'nDCG@10'; it has MAP"):
        kivuko.compare(a, a, measure="nDCG@10")
    with pytest.raises(UsageError, match="mr was not measured in both; both have sw, so, de"):
        kivuko.compare(a, a, languages=["mr"])
    with pytest.raises(DataError, match="no data set, split and attack in common"):
        kivuko.compare(a, evaluation(blocks("mse", 0, dataset="xm")))
    with pytest.raises(DataError, match="holds no per-query scores"):
        kivuko.compare(a, evaluation())
    fewer = [
        PerQueryScores(**{**vars(b), "query_ids": b.query_ids[1:], "values": b.values[1:], "clusters": CONCEPTS[1:]})
        for b in blocks("mse", 0)
    ]
    with pytest.raises(DataError, match="not measured on the same queries"):
        kivuko.compare(a, evaluation(fewer))
