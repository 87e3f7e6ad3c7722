"""``kivuko index``: indexes are made and kept up to date; what cannot be is refused in one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from command_checks import help_without_heavy_imports, refused
from PIL import Image

import kivuko
from kivuko.encoders.image_tower import SmallImageTower
from kivuko.encoders.model import About, save_model
from kivuko.encoders.student import StaticStudent
from kivuko.encoders.vocabulary import train_vocabulary
from kivuko.search.store import IndexStore, writing


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two models with unlike image towers and one of text only; read only."""
    place = tmp_path_factory.mktemp("models")
    student = StaticStudent(train_vocabulary(["paka mbwa nyumba", "paka", "mbwa"] * 5, size=60), 12)
    about = About("t", "t", "static", "optical", 0, {"sw": 3}, run="abc")
    for seed in (0, 1):
        torch.manual_seed(seed)
        tower = SmallImageTower(12, size=32).eval().to_sentence_transformer()
        save_model(place / f"model{seed}", student, tower, about, "card")
    save_model(place / "text", student, None, about, "card")
    return place


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(6):
        Image.fromarray(random.integers(0, 256, (40, 30, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    (folder / "copy.png").write_bytes((folder / "0.png").read_bytes())
    (folder / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    return folder


def test_help_is_quick_and_has_examples():
    told = help_without_heavy_imports("index")
    assert "kivuko index kivuko-demo/model photos/ --out my.index" in told


def test_a_folder_is_indexed_and_kept_up_to_date(run_here, models, photos, tmp_path):
    out = tmp_path / "my.index"
    words = ("index", str(models / "model0"), str(photos), "--out", str(out), "--workers", "1")
    status, told, err = run_here(*words)
    assert status == 0, err
    assert "6 images (6 new" in told
    assert "1 files have the same bytes" in told
    assert "1 broken image" in told or "1 not an image" in told
    assert f"kivuko index --skipped {out}" in told
    assert f"kivuko search {out}" in told
    assert f"kivuko serve {out}" in told
    status, told, _ = run_here("index", "--skipped", str(out))
    assert (status, told.split("\t")[0]) == (0, "cut.jpg")
    (photos / "1.png").unlink()
    status, told, err = run_here(*words, "--json", "--list-skipped", str(tmp_path / "skipped.tsv"))
    assert status == 0, err
    summary = json.loads(told)
    assert (summary["images"], summary["new"], summary["vanished"], summary["generation"]) == (5, 0, 1, 2)
    assert (tmp_path / "skipped.tsv").read_text().startswith("cut.jpg\t")
    # With another model the space is another.
    other = ("index", str(models / "model1"), *words[2:])
    refused(run_here(*other), "another model", "--out", "--rebuild")
    assert run_here(*other, "--rebuild")[0] == 0
    assert IndexStore.open(out).generation == 3


def test_the_emoji_world_is_indexed(run_here, models, tiny_world, tmp_path, monkeypatch):
    monkeypatch.setattr("kivuko.datasets.emoji.world.emoji_world", lambda *_, **__: tiny_world)
    out = tmp_path / "emoji.index"
    status, _, err = run_here(
        "index", str(models / "model0"), "--dataset", "emoji", "--out", str(out), "--workers", "1"
    )
    assert status == 0, err
    with IndexStore.open(out) as store:
        found = {item.key: item.caption for item in store.items(store.ids())}
    assert len(found) == len(tiny_world.images)
    assert found["🐈"] == "cat"


def test_the_command_and_the_call_build_the_same_index(run_here, models, photos, tmp_path):
    by_command, by_call = tmp_path / "command.index", tmp_path / "call.index"
    model = str(models / "model0")
    options = ("--workers", "1", "--batch-size", "4", "--storage", "float32", "--device", "cpu")
    status, _, err = run_here("index", model, str(photos), "--out", str(by_command), *options)
    assert status == 0, err
    with (
        kivuko.build_index(
            model, photos, by_call, workers=1, batch_size=4, storage="float32", device="cpu", progress=False
        ) as built,
        IndexStore.open(by_command) as other,
    ):
        assert built.store.items(built.store.ids()) == other.items(other.ids())
        np.testing.assert_array_equal(next(built.store.vectors())[1], next(other.vectors())[1])
        assert built.summary.skipped == {reason: 1 for _, reason, _ in other.skipped()}


def test_bad_input_is_refused_in_one_line(run_here, models, photos, tmp_path):
    model, out = str(models / "model0"), str(tmp_path / "g.index")
    refused(run_here("index"), "photos/ --out my.index")
    refused(run_here("index", model, str(photos)), "--out")
    refused(run_here("index", model, "--out", out), "what to index")
    refused(run_here("index", model, str(photos), "--dataset", "emoji", "--out", out), "--dataset")
    refused(run_here("index", model, str(tmp_path / "gone"), "--out", out), "no such folder or file")
    refused(run_here("index", str(tmp_path / "gone"), str(photos), "--out", out), "no such model")
    refused(run_here("index", str(models / "text"), str(photos), "--out", out), "text only")
    refused(run_here("index", model, str(photos), "--out", str(photos)), "not an index")
    refused(run_here("index", "--skipped", str(photos)), "not an index")
    (tmp_path / "g.index").mkdir()
    with writing(tmp_path / "g.index"):
        refused(run_here("index", model, str(photos), "--out", out), "at work")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_place_that_cannot_be_written(run_here, models, photos, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    out = str(tmp_path / "locked" / "g.index")
    refused(run_here("index", str(models / "model0"), str(photos), "--out", out), "cannot be written")


def test_no_process_outlives_the_message_of_a_mistyped_model(photos, tmp_path):
    command = [sys.executable, "-m", "kivuko", "index", "nope", str(photos), "--out", str(tmp_path / "x.index")]
    # A process that stays would hold the pipe open, and so keep this call waiting.
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path) as run:
        printed = run.stdout.readline()
        began = time.monotonic()
        printed += run.stdout.read()
        assert run.wait() == 2
    assert "nope" in printed
    assert time.monotonic() - began < 3
