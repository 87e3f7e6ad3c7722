"""``kivuko export`` as a user meets it."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from command_checks import help_without_heavy_imports, refused

from kivuko.encoders.model import About, encode_texts, load_encoder, save_model
from kivuko.encoders.onnx_export import export_onnx
from kivuko.encoders.student import StaticStudent
from kivuko.encoders.vocabulary import train_vocabulary

for library in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(library)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model that knows a few words of Swahili; read only."""
    folder = tmp_path_factory.mktemp("exported") / "model"
    torch.manual_seed(0)
    student = StaticStudent(train_vocabulary(["paka mweusi anakula samaki", "mbwa mwekundu"] * 4, size=70), 16)
    save_model(folder, student, None, About("t", "t", "static", "optical", 0, {"sw": 2}), "card")
    return folder


def test_what_is_written_and_told(run_here, model, tmp_path, tiny_cldr):
    status, out, err = run_here(
        "export", str(model), "--onnx", "--int8", "--out", str(tmp_path / "out"), "--cldr", str(tiny_cldr)
    )
    assert status == 0, err
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        "model.onnx", "model.int8.onnx", "tokenizer.json", "export.json", "README.md",
    }  # fmt: skip
    for told in ("vectors of width 16", "model.onnx: ", "model.int8.onnx: ", "worst ", "README.md"):
        assert told in out
    assert [line.split(": ")[-1] for line in err.splitlines() if line.startswith(str(tmp_path))] == [
        "graph", "check", "int8", "check of int8",
    ]  # fmt: skip


def test_json_and_the_names_of_emoji_that_it_is_checked_on(run_here, model, tmp_path, tiny_cldr):
    from kivuko.encoders.onnx_text import OnnxTextEncoder

    words = ("export", str(model), "--onnx", "--json")
    status, out, err = run_here(*words, "--out", str(tmp_path / "one"), "--cldr", str(tiny_cldr))
    assert status == 0, err
    told = json.loads(out)
    assert told["int8"] is None
    assert told["float32"]["worst"] > 0.9999
    assert told["float32"]["texts"] > 40  # the texts that are always tried are fewer
    vectors = OnnxTextEncoder.open(tmp_path / "one").encode(["paka mweusi"])
    np.testing.assert_allclose(vectors, encode_texts(load_encoder(model), ["paka mweusi"]), atol=2e-5)


def test_the_call_gives_what_the_command_gives(run_here, model, tmp_path, tiny_cldr):
    words = ("export", str(model), "--onnx", "--json", "--int8", "--cldr", str(tiny_cldr))
    status, out, err = run_here(*words, "--out", str(tmp_path / "command"))
    assert status == 0, err
    called = export_onnx(model, tmp_path / "call", int8=True, cldr=tiny_cldr, progress=False)
    assert json.loads(out) == {**asdict(called), "folder": str(tmp_path / "command")}
    for file in ("tokenizer.json", "model.int8.onnx"):
        assert (tmp_path / "call" / file).read_bytes() == (tmp_path / "command" / file).read_bytes()


def test_a_warning_where_eight_bits_move_vectors_far(run_here, model, tmp_path, monkeypatch):
    monkeypatch.setattr("kivuko.encoders.onnx_export._POOR", 1.1)
    status, _, err = run_here("export", str(model), "--onnx", "--int8", "--out", str(tmp_path / "out"))
    assert status == 0
    assert "warning: eight bits move some vectors far" in err


def test_refusals(run_here, model, tmp_path):
    out = str(tmp_path / "out")
    refused(run_here("export", str(model), "--out", out), "--onnx")
    refused(run_here("export", str(tmp_path / "none"), "--onnx", "--out", out), "no such model folder")
    refused(run_here("export", str(tmp_path), "--onnx", "--out", out), "modules.json")
    refused(run_here("export", str(model), "--onnx", "--out", str(model)), "is not an exported model")
    refused(run_here("export", str(model), "--onnx", "--out", out, "--cldr", str(tmp_path)), "not a CLDR folder")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def tower(tmp_path_factory):
    """A model of images alone."""
    from kivuko.encoders.image_tower import SmallImageTower

    folder = tmp_path_factory.mktemp("images") / "tower"
    SmallImageTower(8, size=32).eval().to_sentence_transformer().save(str(folder))
    return folder


def test_a_model_of_images_alone_is_refused(run_here, tower, tmp_path):
    refused(run_here("export", str(tower), "--onnx", "--out", str(tmp_path / "out")), "encodes no text")


def test_help_has_an_example_and_is_quick():
    told = help_without_heavy_imports("export")
    assert "kivuko export my-model --onnx --int8" in told
