"""Records on disk: what is written is read again, and what is damaged is refused by line."""

from __future__ import annotations

import errno
import json
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kivuko.errors import CorruptFileError, DataError, KivukoError
from kivuko.evaluation.records import (
    Condition,
    Header,
    PerQueryScores,
    Record,
    per_query_path,
    read_per_query,
    read_records,
    write_records,
)

CONDITION = Condition(dataset="emoji", split="test", model="static", objective="transport", bitext_size=374, seed=1)
RECORD = Record(
    **vars(CONDITION), subset="all", language="sw", measure="MAP", value=0.25, low=0.2, high=0.3, queries=300
)
HEADER = Header(command="kivuko evaluate", protocol={"gallery": 1868, "ties": "pessimistic"}, seeds=(1, 2))


def scores(values=(0.5, 1.0), **changes):
    fields = {
        "condition": CONDITION,
        "language": "sw",
        "subset": "all",
        "measure": "MAP",
        "query_ids": ["a", "😀"],
    }
    return PerQueryScores(**{**fields, "values": np.array(values), **changes})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "results" / "records.jsonl"


def test_round_trip(path):
    attacked = replace(RECORD, language="low-resource", attack="typos", budget=2 / 255, seed=None, bitext_size=None)
    write_records(path, HEADER, [RECORD, attacked])
    assert read_records(path) == (HEADER, [RECORD, attacked])
    first, *others = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert (first["kind"], first["format"]) == ("header", 2)
    assert {line["kind"] for line in others} == {"record"}
    assert list(path.parent.iterdir()) == [path]


def test_no_record_is_a_file_too(path):
    write_records(path, HEADER, [])
    assert read_records(path) == (HEADER, [])


finite = st.floats(allow_nan=False, allow_infinity=False)


@given(text=st.text(), value=finite, budget=st.none() | finite.map(abs), seed=st.none() | st.integers(min_value=0))
def test_any_text_and_any_finite_number_survive(tmp_path_factory, text, value, budget, seed):
    path = tmp_path_factory.mktemp("records") / "records.jsonl"
    text = text.encode("utf-8", "replace").decode()  # lone surrogates are not text
    attack = None if budget is None else text
    record = replace(RECORD, model=text, measure="own", value=value, low=value, high=value, attack=attack,
                     budget=budget, seed=seed)  # fmt: skip
    write_records(path, HEADER, [record])
    assert read_records(path)[1] == [record]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"value": 1.5, "high": 2.0}, "'value' is 1.5; MAP is from 0 to 1"),
        ({"value": -0.1, "low": -0.2}, "'value' is -0.1; MAP is from 0 to 1"),
        ({"measure": "nDCG@10", "value": 1.01, "high": 1.1}, "nDCG@10 is from 0 to 1"),
        ({"measure": "P(rel=2)@5", "value": 3.0, "high": 3.0}, "from 0 to 1"),
        ({"measure": "parity", "value": -1.0, "low": -2.0}, "parity is at least 0"),
        ({"measure": "accuracy_drop", "value": -1.5, "low": -2.0}, "from -1 to 1"),
        ({"low": 0.26}, "outside its interval [0.26, 0.3]"),
        ({"high": 0.2}, "outside its interval"),
        ({"low": 0.4, "high": 0.1}, "outside its interval"),
        ({"queries": 0}, "'queries' is 0; it must be at least 1"),
        ({"queries": -300}, "at least 1"),
        ({"bitext_size": -1}, "'bitext_size' is -1"),
        ({"seed": -1}, "'seed' is -1"),
        ({"budget": 2.0}, "without an attack"),
        ({"attack": "typo", "budget": -2.0}, "'budget' is -2.0"),
    ],
)  # fmt: skip
def test_a_record_that_no_measurement_gives_is_refused_with_its_line(path, changes, problem):
    write_records(path, HEADER, [RECORD, replace(RECORD, language="mr", **changes)])
    with pytest.raises(CorruptFileError, match=r"records.jsonl:3: ") as caught:
        read_records(path)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"measure": "parity", "value": 1.2, "high": 1.3},
        {"measure": "calls", "value": 65.0, "high": 70.0},
        {"measure": "accuracy_drop", "value": -0.1, "low": -0.2},
        {"measure": "robustness gap", "value": -0.1, "low": -0.2},
        {"measure": "my_cost", "value": 1000.0, "high": 1000.0},
        {"value": 1.0, "low": 0.9, "high": 1.0 - 1e-12},  # rounding
        {"value": 0.0, "low": 0.0},
    ],
)  # fmt: skip
def test_a_record_that_a_measurement_can_give_is_read(path, changes):
    record = replace(RECORD, **changes)
    write_records(path, HEADER, [record])
    assert read_records(path)[1] == [record]


def test_a_line_that_is_there_twice_is_refused_whether_or_not_the_figures_agree(path):
    for second, problem in ((RECORD, "the same record as line 3"), (replace(RECORD, value=0.21), "contradicts line 3")):
        write_records(path, HEADER, [replace(RECORD, language="mr"), RECORD, second])
        with pytest.raises(CorruptFileError, match=f"records.jsonl:4: {problem}"):
            read_records(path)


def test_a_line_without_end_is_not_read_into_memory(path):
    write_records(path, HEADER, [RECORD])
    with path.open("ab") as stream:
        stream.write(b"x" * (4 << 20))
    tracemalloc.start()
    with pytest.raises(CorruptFileError, match=r"records.jsonl:3: not a line of JSON"):
        read_records(path)
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_names_that_repeat_are_kept_once(path):
    write_records(path, HEADER, [RECORD, replace(RECORD, language="mr")])
    first, second = read_records(path)[1]
    assert first.model is second.model
    assert first.measure is second.measure


def test_the_header_knows_the_versions():
    assert {"python", "kivuko", "torch", "transformers", "sentence-transformers"} <= set(HEADER.versions)
    assert HEADER.created.endswith("+00:00")


@pytest.mark.parametrize("changes", [{"value": float("nan")}, {"high": float("inf")}, {"queries": 2.5}, {"seed": True}])
def test_a_record_holds_finite_numbers_of_the_right_kind(changes):
    with pytest.raises(DataError, match=next(iter(changes))):
        replace(RECORD, **changes)


def test_a_header_json_cannot_hold_leaves_the_old_file(path):
    write_records(path, HEADER, [RECORD])
    with pytest.raises(DataError, match="header cannot be written"):
        write_records(path, replace(HEADER, protocol={"size": float("nan")}), [])
    assert read_records(path)[1] == [RECORD]


def test_every_truncation_is_noticed(path):
    write_records(path, HEADER, [RECORD, RECORD])
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(CorruptFileError, match=rf"{path}:\d"):
            read_records(path)


@pytest.mark.parametrize(
    ("line", "garbled", "place"),
    [
        (1, b"\xff\xfe\n", 2),
        (1, b"{}\n", 2),
        (1, b"[" * 100_000 + b"\n", 2),
        (1, b'{"kind": "record", "value": NaN}\n', 2),
        (2, b'{"kind": "record"}\n', 3),
        (2, b"\n", 3),
        (0, b"garbage\n", 1),
        (0, b'{"kind": "header", "format": 2}\n', 1),
        (0, b'{"kind": "header", "format": 2, "records": 2}\n', 1),
    ],
)
def test_a_garbled_line_is_named(path, line, garbled, place):
    write_records(path, HEADER, [RECORD, RECORD])
    lines = path.read_bytes().splitlines(keepends=True)
    lines[line] = garbled
    path.write_bytes(b"".join(lines))
    with pytest.raises(CorruptFileError, match=f"{path}:{place}:") as caught:
        read_records(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("change", [{"value": "0.25"}, {"value": None}, {"queries": 1.5}, {"surprise": 1}])
def test_a_field_that_is_wrong_is_named(path, change):
    write_records(path, HEADER, [RECORD])
    header, record = path.read_text("utf-8").splitlines()
    path.write_text(header + "\n" + json.dumps({**json.loads(record), **change}) + "\n", "utf-8")
    with pytest.raises(CorruptFileError, match=rf"{path}:2: field '{next(iter(change))}'"):
        read_records(path)


def test_another_format_is_not_called_damage(path):
    write_records(path, HEADER, [RECORD])
    path.write_text(path.read_text("utf-8").replace('"format": 2', '"format": 3'), "utf-8")
    with pytest.raises(DataError, match="format 3, but this Kivuko reads formats 1 and 2"):
        read_records(path)


def test_records_of_the_format_before_are_read_with_what_they_meant(path):
    write_records(path, HEADER, [RECORD], [scores()])
    header, record = (json.loads(line) for line in path.read_text("utf-8").splitlines())
    del record["scoring"]
    lines = [json.dumps(line) + "\n" for line in (header | {"format": 1}, record)]
    path.write_text("".join(lines), "utf-8")
    table = pq.read_table(per_query_path(path))
    pq.write_table(table.drop_columns(["scoring", "cluster"]), per_query_path(path))
    assert read_records(path)[1] == [RECORD]
    assert RECORD.scoring == "cosine"
    (block,) = read_per_query(path)
    assert (block.condition, block.clusters, list(block.query_ids)) == (CONDITION, None, ["a", "😀"])


def test_missing_files_are_named(path):
    with pytest.raises(DataError, match=str(path)):
        read_records(path)
    with pytest.raises(DataError, match=str(per_query_path(path))):
        read_per_query(path)


def test_per_query_scores_round_trip(path):
    attacked = replace(CONDITION, attack="typos", budget=1.0, seed=None)
    blocks = [
        scores(clusters=["🐈", "😀"]), scores((0.25, 0.0), measure="MRR"), scores(condition=attacked),
        scores(condition=replace(CONDITION, scoring="maxsim"), clusters=["x", "x"]),
    ]  # fmt: skip
    write_records(path, HEADER, [RECORD], blocks)
    assert per_query_path(path).name == "records.per_query.parquet"
    for written, read in zip(blocks, read_per_query(path), strict=True):
        assert (written.condition, written.measure) == (read.condition, read.measure)
        assert (list(read.query_ids), read.clusters) == (written.query_ids, written.clusters)
        np.testing.assert_array_equal(read.values, written.values)


def test_no_per_query_scores_can_be_written_and_older_ones_go(path):
    write_records(path, HEADER, [RECORD], [])
    assert read_per_query(path) == []
    write_records(path, HEADER, [RECORD])
    assert not per_query_path(path).exists()


def test_per_query_scores_are_refused_when_they_do_not_fit():
    with pytest.raises(DataError, match="2 query ids for 1 values"):
        scores((1.0,))
    with pytest.raises(DataError, match="finite"):
        scores((1.0, float("nan")))
    with pytest.raises(DataError, match="one cluster per value"):
        scores(clusters=["🐈"])


def test_a_damaged_parquet_file_is_named(path):
    write_records(path, HEADER, [RECORD], [scores()])
    parquet = per_query_path(path)
    whole = parquet.read_bytes()
    for damaged in [b"", whole[:-20], b"not parquet"]:
        parquet.write_bytes(damaged)
        with pytest.raises(CorruptFileError, match=str(parquet)):
            read_per_query(path)


@pytest.mark.parametrize("problem", [KeyboardInterrupt(), RuntimeError("killed"), OSError(errno.ENOSPC, "full")])
def test_a_write_that_dies_leaves_both_old_files_and_nothing_else(path, monkeypatch, problem):
    write_records(path, HEADER, [RECORD], [scores()])
    before = {file: file.read_bytes() for file in path.parent.iterdir()}

    def dies(temporary, blocks):
        Path(temporary).write_bytes(b"half")
        raise problem

    monkeypatch.setattr("kivuko.evaluation.records.write_per_query_table", dies)
    with pytest.raises((KeyboardInterrupt, RuntimeError, KivukoError)):
        write_records(path, HEADER, [RECORD, RECORD], [scores()])
    assert {file: file.read_bytes() for file in path.parent.iterdir()} == before


def test_a_full_disk_is_one_clear_line(path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("kivuko.evaluation.records.open_compressed", full)
    with pytest.raises(KivukoError, match=rf"{path}: the disk is full") as caught:
        write_records(path, HEADER, [RECORD])
    assert "\n" not in str(caught.value)
    assert list(path.parent.iterdir()) == []


def test_a_place_that_cannot_be_written_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("in the way", "utf-8")
    (tmp_path / "folder").mkdir()
    for place in [tmp_path / "file" / "records.jsonl", tmp_path / "folder"]:
        with pytest.raises(KivukoError, match=str(place)):
            write_records(place, HEADER, [RECORD])
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.parametrize("suffix", [".gz", ".xz"])
def test_compressed_records_read_as_plain_ones(tmp_path, suffix):
    place = tmp_path / f"records.jsonl{suffix}"
    write_records(place, HEADER, [RECORD])
    assert read_records(place) == (HEADER, [RECORD])
    assert per_query_path(place) == tmp_path / "records.per_query.parquet"
    place.write_bytes(place.read_bytes()[:-12])
    with pytest.raises(DataError, match="damaged or cut short"):
        read_records(place)
