"""Models that are named by hub id: told at once where the hub cannot be reached, fetched where it can."""

from __future__ import annotations

import huggingface_hub
import pytest
from huggingface_hub.errors import HfHubHTTPError

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
    """Stands in for the hub: answers what it is told to, and counts how often it is asked."""

    def __init__(self, answer):
        self.answer, self.asked = answer, 0

    def model_info(self, _api, name, timeout):
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def answering(monkeypatch):
    def make(answer):
        found = Hub(answer)
        monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *told, **more: found.model_info(*told, **more))
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        return found

    return make


@pytest.mark.parametrize(
    "load", [load_teacher, lambda name: load_transformer_student(name, 8), load_translator, local_folder]
)
def test_no_network_is_told_after_one_question(answering, load):
    found = answering(ConnectionError("Name or service not known"))
    with pytest.raises(
        ModelError, match=rf"{ID}: no such model folder here, .* cannot be reached \(Name .*name its folder"
    ):
        load(ID)
    assert found.asked == 1


def test_a_hub_that_answers_leaves_the_rest_to_the_library(answering):
    for answer in (object(), RefusedError()):
        found = answering(answer)
        require_hub(ID)
        assert found.asked == 1


def test_what_is_at_hand_is_not_asked_for(answering, tmp_path, monkeypatch):
    found = answering(ConnectionError())
    require_hub(str(tmp_path))
    require_hub("open_clip:ViT-B-32/laion2b")
    monkeypatch.setattr(hub, "_is_cached", lambda _: True)
    require_hub(ID)
    assert found.asked == 0


def test_a_folder_is_taken_as_it_is_named_and_an_id_is_fetched(answering, tmp_path, monkeypatch):
    answering(object())
    asked = []

    def fetched(name, allow_patterns):
        asked.append((name, allow_patterns))
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetched)
    for own in (tmp_path, tmp_path / "none", "./none", "a/b/c"):
        assert str(local_folder(str(own))) == str(own).removeprefix("./")
    assert asked == []
    assert local_folder(ID) == tmp_path
    assert [name for name, _ in asked] == [ID, ID]  # no safetensors in it: then the older file of weights
    assert "pytorch_model*.bin" in asked[1][1]
    assert "*.safetensors" in asked[0][1]
