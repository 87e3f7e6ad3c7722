"""Code that comes with a model is never run, and nobody is asked about it at the terminal."""

import json
import shutil

import pytest

import kivuko
from kivuko.encoders.image_tower import load_image_tower
from kivuko.encoders.student import load_transformer_student
from kivuko.encoders.teacher import load_teacher
from kivuko.errors import KivukoError
from kivuko.evaluation.collection import multi_vector_encoders
from kivuko.translation.seq2seq import load_translator
from tiny_clip import save_clip

CODE = """
open({ran!r}, "w").close()  # not beside this file, which is copied before it runs
class Model: pass
class Configuration: pass
"""
LOADERS = {
    "model": lambda folder: kivuko.load_model(folder, device="cpu"),
    "teacher": load_teacher,
    "student": lambda folder: load_transformer_student(folder, 8),
    "translator": lambda folder: load_translator(str(folder)),
    "image tower": lambda folder: load_image_tower(folder, 8),
    "collection": lambda folder: multi_vector_encoders(folder, "cpu", None),
}


@pytest.fixture
def with_code(tiny_bert, tmp_path):
    """A model of a type that needs its own code."""
    folder = shutil.copytree(tiny_bert, tmp_path / "model")
    (folder / "own.py").write_text(CODE.format(ran=str(folder / "ran")))
    settings = json.loads((folder / "config.json").read_text())
    settings |= {"model_type": "own", "auto_map": {
        "AutoConfig": "own.Configuration", "AutoModel": "own.Model", "AutoModelForSeq2SeqLM": "own.Model",
        "AutoTokenizer": ["own.Model", None], "AutoProcessor": "own.Model",
    }}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(settings))
    return folder


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("kind", ["plain", "weights", "clip", "sentence-transformers", "multi-vector"])
def test_code_of_a_model_is_not_run(with_code, monkeypatch, loader, kind):
    questions = []

    def question(*shown):
        questions.append(shown)
        raise EOFError  # which the library takes for a no

    monkeypatch.setattr("builtins.input", question)
    if kind in ("sentence-transformers", "multi-vector"):
        modules = [{"idx": 0, "name": "0", "path": "", "type": "own.Model"}]
        (with_code / "modules.json").write_text(json.dumps(modules))
    if kind == "multi-vector":
        (with_code / "config_sentence_transformers.json").write_text('{"model_type": "MultiVectorEncoder"}')
    settings = json.loads((with_code / "config.json").read_text())
    if kind == "clip":
        settings |= {"text_config": {}, "vision_config": {}}
    if kind == "weights":  # the tokenizer needs no code of its own
        del settings["auto_map"]["AutoTokenizer"]
    (with_code / "config.json").write_text(json.dumps(settings))
    with pytest.raises(KivukoError) as caught:
        LOADERS[loader](with_code)
    assert "\n" not in str(caught.value)
    assert not (with_code / "ran").exists()
    assert questions == []


def test_code_of_an_image_processor_is_not_run(tmp_path, monkeypatch):
    questions = []
    monkeypatch.setattr("builtins.input", lambda *shown: questions.append(shown) or "y")
    folder = save_clip(tmp_path / "clip")
    (folder / "own.py").write_text(CODE.format(ran=str(folder / "ran")))
    settings = json.loads((folder / "processor_config.json").read_text())
    settings |= {"processor_class": "Own", "auto_map": {"AutoProcessor": "own.Model"}}
    (folder / "processor_config.json").write_text(json.dumps(settings))
    with pytest.raises(KivukoError, match="custom code"):
        kivuko.load_model(folder, device="cpu")
    assert questions == []
    assert not (folder / "ran").exists()
