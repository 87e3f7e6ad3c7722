"""Models that are named by hub id: one message where the hub cannot be reached, fetched where it can."""

from __future__ import annotations

import shutil
import subprocess
import sys

import huggingface_hub
import pytest
from huggingface_hub.errors import HfHubHTTPError

import kivuko
from kivuko.encoders import loading as hub
from kivuko.encoders.loading import local_folder, require_hub
from kivuko.encoders.student import load_transformer_student
from kivuko.encoders.teacher import load_teacher
from kivuko.errors import ModelError
from kivuko.translation.seq2seq import load_translator

ID = "nobody/has-this-model"


class RefusedError(HfHubHTTPError):
    """Stand in for an answer such as 404."""

    def __init__(self):
        Exception.__init__(self, "not there")


class Hub:
    """Stands in for the hub: gives one answer, and counts the requests."""

    def __init__(self, answer):
        self.answer, self.requested = answer, 0

    def model_info(self, _api, name, timeout):
        self.requested += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def answering(monkeypatch):
    def make(answer):
        result = Hub(answer)
        monkeypatch.setattr(
            huggingface_hub.HfApi, "model_info", lambda *content, **more: result.model_info(*content, **more)
        )
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        return result

    return make


@pytest.mark.parametrize(
    "load", [load_teacher, lambda name: load_transformer_student(name, 8), load_translator, local_folder]
)
def test_no_network_is_named_after_one_request(answering, load):
    result = answering(ConnectionError("Name or service not known"))
    with pytest.raises(
        ModelError, match=rf"{ID}: no such model folder here, .* cannot be reached \(Name .*name its folder"
    ):
        load(ID)
    assert result.requested == 1


def test_a_hub_that_answers_leaves_the_rest_to_the_library(answering):
    for answer in (object(), RefusedError()):
        result = answering(answer)
        require_hub(ID)
        assert result.requested == 1


def test_what_is_at_hand_is_not_requested(answering, tmp_path, monkeypatch):
    result = answering(ConnectionError())
    require_hub(str(tmp_path))
    require_hub("open_clip:ViT-B-32/laion2b")
    monkeypatch.setattr(hub, "_is_cached", lambda _: True)
    require_hub(ID)
    assert result.requested == 0


def test_a_folder_is_taken_as_it_is_named_and_an_id_is_fetched(answering, tmp_path, monkeypatch):
    answering(object())
    requested = []

    def fetched(name, allow_patterns):
        requested.append((name, allow_patterns))
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetched)
    for own in (tmp_path, tmp_path / "none", "./none", "a/b/c"):
        assert str(local_folder(str(own))) == str(own).removeprefix("./")
    assert requested == []
    assert local_folder(ID) == tmp_path
    assert [name for name, _ in requested] == [ID, ID]  # no safetensors in it: then the older file of weights
    assert "pytorch_model*.bin" in requested[1][1]
    assert "*.safetensors" in requested[0][1]


def test_a_model_that_a_killed_process_moved_aside_is_put_back(tiny_sentence_transformer, tmp_path):
    process = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    aside = tmp_path / f".model.{process.stdout.strip()}-abcdef.old"
    shutil.copytree(tiny_sentence_transformer, aside)
    for load in (kivuko.load_model, load_teacher):
        assert load(tmp_path / "model")
        assert [entry.name for entry in tmp_path.iterdir()] == ["model"]
        (tmp_path / "model").rename(aside)


@pytest.fixture
def no_network(monkeypatch):
    """Let every connection fail, and list what was looked up."""
    lookups = []

    def refuse(host, *_, **__):
        lookups.append(host)
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    return lookups


@pytest.mark.parametrize("load", [kivuko.load_model, load_teacher, lambda name: load_transformer_student(name, 32)])
def test_a_local_model_with_a_name_like_an_id_is_not_looked_up(no_network, load, tiny_sentence_transformer, tmp_path,
                                                              monkeypatch):  # fmt: skip
    shutil.copytree(tiny_sentence_transformer, tmp_path / "models" / "mine")
    monkeypatch.chdir(tmp_path)
    load("models/mine")
    assert no_network == []


def test_a_search_looks_nothing_up(no_network):
    with pytest.raises(
        ModelError, match=rf"^{ID}: not on this machine, and not fetched by a search\. Run: hf download"
    ):
        local_folder(ID, fetch=False)
    with pytest.raises(ModelError, match="not on this machine"):
        load_teacher(ID, fetch=False)
    assert no_network == []
