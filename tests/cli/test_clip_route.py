"""The whole route with an engineer's own models: a CLIP, an XLM-R, a file of pairs; then model, gallery, search."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import tiny_clip
from tiny_xlm_roberta import save_xlm_roberta

PAIRS = {"paka": "cat", "mto": "river", "kivuko": "ferry", "mashua": "boat", "paka mtoni": "cat in the river",
         "kivuko kirefu": "long ferry", "mashua ndogo": "small boat", "paka mdogo": "small cat"}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("route")
    tiny_clip.save_clip(folder / "clip")
    save_xlm_roberta(folder / "xlmr", sorted({word for text in PAIRS for word in text.split()}))
    (folder / "sw.tsv").write_text("".join(f"{text}\t{english}\n" for text, english in PAIRS.items()), "utf-8")
    (folder / "photos").mkdir()
    random = np.random.default_rng(0)
    for number in range(4):
        Image.fromarray(random.integers(0, 256, (50, 40, 3), dtype=np.uint8)).save(folder / f"photos/{number}.png")
    return folder


def distilled(run_here, place, out, *more):
    return run_here(
        "distill", "--bitext", f"sw={place / 'sw.tsv'}", "--teacher", str(place / "clip"), "--student",
        str(place / "xlmr"), "--recipe", "mse", "--steps", "4", "--validation-share", "0.3", "--out", str(out), *more,
    )  # fmt: skip


@pytest.fixture
def model(run_here, place):
    status, _, err = distilled(run_here, place, place / "model")
    assert status == 0, err
    return place / "model"


def test_from_clip_and_bitext_to_a_search(run_here, place, model):
    gallery = place / "photos.index"
    status, told, err = run_here("index", str(model), str(place / "photos"), "--out", str(gallery), "--workers", "1")
    assert status == 0, err
    assert "4 images" in told
    status, told, err = run_here("search", str(gallery), "paka mtoni", "--json")
    assert status == 0, err
    assert {json.loads(line)["key"] for line in told.splitlines()} == {f"{number}.png" for number in range(4)}


def test_the_model_loads_where_kivuko_is_not_and_its_images_are_clips_own(place, model):
    program = f"""
import sys
sys.modules["kivuko"] = None  # whoever imports it fails
from sentence_transformers import SentenceTransformer
from transformers import AutoModel, AutoProcessor
from PIL import Image
import numpy as np, torch
images = [Image.open(r"{place}/photos/%d.png" % number) for number in range(4)]
model = SentenceTransformer(r"{model}", device="cpu")
clip, processor = AutoModel.from_pretrained(r"{place}/clip"), AutoProcessor.from_pretrained(r"{place}/clip")
with torch.no_grad():
    own = clip.eval().get_image_features(**processor(images=images, return_tensors="pt")).pooler_output
print(float(np.abs(model.encode(images) - own.numpy()).max()), *model.encode(["paka mtoni"]).shape)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
    farthest, rows, width = done.stdout.split()
    assert float(farthest) <= 1e-5
    assert (rows, width) == ("1", str(tiny_clip.DIM))


def test_an_image_tower_of_another_width_is_refused_before_training(run_here, place, tmp_path):
    status, _, err = distilled(run_here, place, tmp_path / "out", "--image-tower", "emoji")
    assert status == 2
    assert "384 wide, the teacher's 24" in err.replace("\n", " ")
    assert not (tmp_path / "out").exists()


def test_text_only_on_request(run_here, place, tmp_path):
    status, _, err = distilled(run_here, place, tmp_path / "text", "--image-tower", "none")
    assert status == 0, err
    assert not (tmp_path / "text" / "0_Router" / "image_0_Transformer").exists()
    status, _, err = run_here("index", str(tmp_path / "text"), str(place / "photos"), "--out", str(tmp_path / "g"))
    assert status == 2
    assert "encodes text only" in err
