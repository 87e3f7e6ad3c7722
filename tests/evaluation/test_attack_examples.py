"""Attacked examples on disk: what is written comes back, and what was damaged is noticed."""

from __future__ import annotations

import io
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from kivuko.errors import CorruptFileError, DataError
from kivuko.evaluation.attack.examples import AttackedExample, examples_path, read_examples, write_examples
from kivuko.evaluation.records import Condition
from kivuko.perturbations.edits import Edit


def png(color):
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), color).save(buffer, "PNG")
    return buffer.getvalue()


TEXT = AttackedExample(
    condition=Condition(
        dataset="emoji", split="test", model="static+emoji", objective="optical", bitext_size=300, seed=1,
        attack="greedy", budget=2.0,
    ),
    language="mr", query_id="mr/1f408", query="मांजर", perturbed="मंरज",
    edits=(Edit("delete", 0, 2, "म"), Edit("swap", 2, 4, "रज")),
    image_id="1f408", rank_before=1, rank_after=17, calls=128,
)  # fmt: skip
IMAGE = replace(
    TEXT, condition=replace(TEXT.condition, attack="apgd-own", budget=2 / 255), perturbed=TEXT.query, edits=(),
    linf=2 / 255, l2=0.7, seconds=0.25, image_before=png("red"), image_after=png("blue"),
)  # fmt: skip


def test_examples_come_back_as_they_were(tmp_path):
    records = tmp_path / "robustness.jsonl"
    write_examples(examples_path(records), [TEXT, IMAGE])
    assert examples_path(records) == tmp_path / "robustness.examples.parquet"
    assert read_examples(records) == [TEXT, IMAGE]
    table = pq.read_table(examples_path(records))
    assert table["reciprocal_rank_after"].to_pylist() == [1 / 17, 1 / 17]
    assert table["edits"][0].as_py().startswith('[{"kind": "delete", "start": 0, "end": 2, "replacement": "म"}')


def test_none_is_a_file_too_and_no_file_is_none(tmp_path):
    assert read_examples(tmp_path / "x.jsonl") == []
    write_examples(examples_path(tmp_path / "x.jsonl"), [])
    assert read_examples(tmp_path / "x.jsonl") == []
    assert pq.read_table(tmp_path / "x.examples.parquet").num_rows == 0


@given(st.text(), st.text(), st.integers(1, 10**6), st.floats(0, 1) | st.none())
def test_any_text_and_rank_survives(tmp_path_factory, query, replacement, rank, linf):
    whole = AttackedExample(
        condition=Condition(dataset="emoji", split="test", model="m", objective="o"), language="sw", query_id="q",
        query=query, perturbed=replacement, edits=(Edit("any", 0, len(query), replacement),), image_id="i",
        rank_before=1, rank_after=rank, linf=linf,
    )  # fmt: skip
    records = tmp_path_factory.mktemp("examples") / "r.jsonl"
    write_examples(examples_path(records), [whole])
    assert read_examples(records) == [whole]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rank_after": 0}, "they count from 1"),
        ({"linf": -0.1}, "linf is -0.1"),
        ({"seconds": float("nan")}, "seconds is nan"),
        ({"image_after": b"GIF89a"}, "not a PNG file"),
        ({"perturbed": "paka"}, "do not lead from the query"),
    ],
)
def test_nonsense_is_refused_at_once(change, words):
    with pytest.raises(DataError, match=words):
        replace(TEXT, **change)


def damaged(column, value):
    def change(path):
        table = pq.read_table(path)
        place = table.column_names.index(column)
        array = pa.array([value, *table[column].to_pylist()[1:]], type=table.schema.field(column).type)
        pq.write_table(table.set_column(place, column, array), path)

    return change


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-20]),
        lambda path: path.write_bytes(b""),
        lambda path: pq.write_table(pq.read_table(path).drop_columns(["rank_after"]), path),
        damaged("rank_after", None),
        damaged("rank_after", -3),
        damaged("rank_after", 18),
        damaged("edits", "[{]"),
        damaged("edits", '[{"kind": "delete"}]'),
        damaged("edits", '[{"kind": "delete", "start": "a", "end": 2, "replacement": "म"}]'),
        damaged("edits", "3"),
        damaged("perturbed", "something else"),
        damaged("image_before", b"not an image"),
        damaged("language", None),
    ],
)
def test_damage_is_noticed(tmp_path, damage):
    records = tmp_path / "r.jsonl"
    write_examples(examples_path(records), [TEXT, IMAGE])
    damage(examples_path(records))
    with pytest.raises(CorruptFileError, match=r"r.examples.parquet: the attacked examples are damaged"):
        read_examples(records)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    records = tmp_path / "r.jsonl"
    write_examples(examples_path(records), [TEXT])

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pyarrow.parquet.write_table", full)
    with pytest.raises(Exception, match="disk is full"):
        write_examples(examples_path(records), [IMAGE])
    assert read_examples(records) == [TEXT]
    assert [file.name for file in tmp_path.iterdir()] == ["r.examples.parquet"]
