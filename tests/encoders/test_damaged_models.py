"""A folder whose files are damaged in places where loading does not look: one line, when it is loaded."""

from __future__ import annotations

import contextlib
import copy
import json
import shutil

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel

from kivuko.encoders.model import About, load_encoder, save_model
from kivuko.encoders.student import StaticStudent
from kivuko.encoders.teacher import load_teacher
from kivuko.errors import KivukoError, ModelError
from tiny_bert import save_teacher

JUNK = st.sampled_from([None, -1, 0, "", "x", [], {}, [[]], {"type": "Sequence"}, "BPE", "WordPiece", "Unigram", True])


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    tokenizer = Tokenizer(WordLevel({"[PAD]": 0, "[UNK]": 1, "paka": 2}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model") / "model"
    save_model(folder, StaticStudent(tokenizer, 4), None, About("t", "t", "static", "optical", 0, {"sw": 5}), "card")
    return folder


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return save_teacher(tmp_path_factory.mktemp("teacher"), ["cat", "dog", "ferry"], 8)


def use(folder):
    """Load a model and encode two texts, as whoever searches or distills does."""
    if (folder / "kivuko.json").is_file():
        load_encoder(folder).encode(["paka", "ndege mweusi"])
    else:
        load_teacher(folder).encode_tokens(["a cat", "sky"])


def damaged(folder, place, name, change):
    """Copy a model and change the JSON of one of its files."""
    shutil.copytree(folder, place)
    (file,) = place.rglob(name)
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    return place


def test_a_vocabulary_without_the_unknown_token_is_named(model, tmp_path):
    copy = damaged(model, tmp_path / "copy", "tokenizer.json", lambda content: content["model"]["vocab"].pop("[UNK]"))
    with pytest.raises(ModelError, match=r"copy: does not load as a model \(.*UNK.*make it again"):
        load_encoder(copy)


def test_a_padding_token_beyond_the_table_is_named(teacher, tmp_path):
    copy = damaged(teacher, tmp_path / "copy", "tokenizer_config.json", lambda content: content.update(pad_token="new"))
    with pytest.raises(ModelError, match="copy"):
        load_teacher(copy)


@pytest.mark.parametrize("kind", ["model", "teacher"])
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_damaged_no_other_error_comes(kind, request, tmp_path_factory, data):
    folder = request.getfixturevalue(kind)
    names = sorted(file.name for file in folder.rglob("*.json") if file.name.startswith(("tok", "modules", "router")))
    name = data.draw(st.sampled_from(names))

    def change(content):
        for _ in range(data.draw(st.integers(1, 2))):
            place = content
            while isinstance(place, dict | list) and len(place):
                key = data.draw(st.sampled_from(list(place) if isinstance(place, dict) else range(len(place))))
                if data.draw(st.booleans()) or not isinstance(place[key], dict | list):
                    place[key] = copy.deepcopy(data.draw(JUNK))  # or it would become a part of itself
                    break
                place = place[key]

    place = damaged(folder, tmp_path_factory.mktemp("damaged") / "copy", name, change)
    with contextlib.suppress(KivukoError):
        use(place)
    shutil.rmtree(place)
