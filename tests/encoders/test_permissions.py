"""A file that may not be read is named, and is not taken for damage: there is no advice to delete it."""

import os
import shutil

import pytest
from safetensors import SafetensorError

import kivuko
from kivuko.encoders import known_words, model
from kivuko.encoders.known_words import WORDS_FILE, WordCounts
from kivuko.encoders.model import read_about, read_token_mean
from kivuko.encoders.teacher import load_teacher
from kivuko.errors import KivukoError, ModelError, wrap_errors


@pytest.fixture
def folder(tiny_sentence_transformer, tmp_path):
    return shutil.copytree(tiny_sentence_transformer, tmp_path / "model")


@pytest.fixture
def denied(monkeypatch):
    """Let one path be closed, as it is to another user than root."""

    def close(closed):
        real = os.access
        monkeypatch.setattr(os, "access", lambda path, mode: str(path) != str(closed) and real(path, mode))

    return close


def refused(call, path):
    with pytest.raises(KivukoError) as caught:
        call()
    message = str(caught.value)
    assert message.startswith(f"{path}: no permission to read it")
    assert not {"delete", "corrupted", "damaged"} & set(message.lower().split())


@pytest.mark.parametrize("name", ["", "config.json", "modules.json", "model.safetensors", "1_Pooling/config.json"])
@pytest.mark.parametrize("load", [kivuko.load_model, load_teacher])
def test_a_closed_file_of_a_model_is_named(folder, denied, load, name):
    place = folder / name if name else folder
    assert place.exists()
    denied(place)
    refused(lambda: load(folder), place)


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("kivuko.json", lambda file: read_about(file.parent)),
        ("token_mean.safetensors", lambda file: read_token_mean(file.parent)),
        (WORDS_FILE, WordCounts.load),
    ],
)
@pytest.mark.parametrize("problem", [PermissionError(13, "Permission denied"), SafetensorError("No such file")])
def test_a_closed_file_that_kivuko_wrote_is_named(tmp_path, monkeypatch, denied, name, read, problem):
    file = tmp_path / name
    file.write_text("{}")

    def fail(*_, **__):
        raise problem

    if isinstance(problem, SafetensorError):
        denied(file)
    monkeypatch.setattr(model.json, "loads", fail if isinstance(problem, OSError) else lambda _: [])
    monkeypatch.setattr(known_words.json, "loads", fail if isinstance(problem, OSError) else lambda _: [])
    monkeypatch.setattr(model, "safe_open", fail)
    refused(lambda: read(file), file)


def test_a_lack_of_permission_inside_a_library_is_named():
    for problem, place in (
        (PermissionError(13, "Permission denied", "/m/config.json"), "/m/config.json"),
        (RuntimeError("Permission denied (os error 13)"), "/m"),
    ):
        with (
            pytest.raises(ModelError, match=f"^{place}: no permission to read it"),
            wrap_errors(lambda reason: ModelError(f"/m: does not load ({reason}). Delete the folder.")),
        ):
            raise problem
