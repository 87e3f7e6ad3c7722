"""The indexing benchmark's own code on a few images: both files come out, and the answer says what the rows say."""

from __future__ import annotations

import json

import torch
from benchmarks.indexing import report, run
from benchmarks.indexing_images import write_images
from PIL import Image

from kivuko.encoders.image_tower import SmallImageTower


def test_a_small_run_writes_what_it_measured(tmp_path):
    torch.manual_seed(0)
    SmallImageTower(12, size=32).eval().to_sentence_transformer().save(str(tmp_path / "tower"))
    results = run(70, 1, [], 1, tmp_path / "tower", tmp_path / "results")
    (row,) = results["speed"]
    assert min(row["decoding"], row["forward"], row["indexing"]) > 0
    assert json.loads((tmp_path / "results" / "indexing.json").read_text())["images"] == 70
    assert "Median ratio" in (tmp_path / "results" / "indexing.md").read_text()


def test_the_verdict_follows_the_median():
    row = {"decoding": 1.0, "forward": 1.0, "interference": None}
    results = {
        "date": "d", "machine": {"processor": "p", "cores": 2}, "workers": 2, "images": 10, "size": [320, 240],
        "memory": [{"images": 10, "peak_mib": 5.0}],
    }  # fmt: skip
    met = report({**results, "speed": [{**row, "indexing": seconds} for seconds in (2.0, 2.4, 9.0)]})
    assert "**1.20**" in met
    assert "is met" in met
    assert "is not met" in report({**results, "speed": [{**row, "indexing": 2.6}]})


def test_images_are_unlike_each_other_and_can_be_read(tmp_path):
    write_images(tmp_path, 130, (64, 48))
    files = sorted(tmp_path.rglob("*.jpg"))
    assert len({file.read_bytes() for file in files}) == 130
    with Image.open(files[100]) as image:
        assert image.convert("RGB").size == (64, 48)
