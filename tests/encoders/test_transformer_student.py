"""Students that are Hugging Face encoders."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from kivuko.encoders.student import load_transformer_student, small_transformer
from kivuko.encoders.token_batch import masked_mean
from kivuko.encoders.vocabulary import train_vocabulary
from kivuko.errors import ModelError

TEXTS = ["paka anakula samaki mtoni", "मांजर मासा खातो", "cat"]
SPECIAL = {"tiny_bert": 2, "tiny_xlm_roberta": 2}  # tokens that each adds to a text


@pytest.fixture(scope="module", params=SPECIAL)
def folder(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def student(folder):
    torch.manual_seed(0)
    return load_transformer_student(folder, 20).eval()


@torch.no_grad()
def encoded(student, texts):
    return student.encode_tokens(texts)


def test_shapes(student):
    batch = encoded(student, TEXTS)
    assert batch.tokens.shape == (3, 6, 20)
    assert batch.mask.shape == (3, 6)
    assert batch.pooled.shape == (3, 20)
    assert batch.tokens.dtype == batch.pooled.dtype == torch.float32


def test_special_tokens_and_padding_are_masked(student):
    # Each word is one subword; the specials stand at both ends and padding behind.
    assert encoded(student, TEXTS).mask.int().tolist() == [
        [0, 1, 1, 1, 1, 0],
        [0, 1, 1, 1, 0, 0],
        [0, 1, 0, 0, 0, 0],
    ]


def test_an_unknown_word_is_content(student):
    assert encoded(student, ["🐈 cat"]).mask.sum() >= 2


def test_the_sentence_vector_is_the_mean_of_all_attended_tokens(student):
    batch = encoded(student, TEXTS)
    attended = torch.tensor([[1] * 6, [1] * 5 + [0], [1] * 3 + [0] * 3]).bool()
    torch.testing.assert_close(batch.pooled, masked_mean(batch.tokens, attended))


def test_padding_does_not_change_a_text(student):
    torch.testing.assert_close(
        encoded(student, TEXTS).pooled[2], encoded(student, TEXTS[2:]).pooled[0], atol=1e-5, rtol=0
    )


def test_the_name_is_the_folders(student, folder):
    assert student.name == folder.name


def test_a_projection_only_where_the_widths_differ(folder):
    width = json.loads((folder / "config.json").read_text())["hidden_size"]
    other, same = load_transformer_student(folder, 20), load_transformer_student(folder, width)
    assert isinstance(other.projection, nn.Linear)
    assert (other.projection.in_features, other.projection.out_features) == (width, 20)
    assert isinstance(same.projection, nn.Identity)
    assert encoded(same, TEXTS).pooled.shape == (3, width)


def test_everything_learns_the_projection_included(student):
    student.train()
    student.encode_tokens(TEXTS).pooled.square().sum().backward()
    assert student.projection.weight.grad.abs().max() > 0
    assert next(student.model.parameters()).grad.abs().max() > 0


def test_a_long_text_is_cut_and_not_refused(student):
    batch = encoded(student, ["paka " * 500])
    assert batch.mask.sum() == student.max_length - 2
    assert batch.tokens.isfinite().all()


@pytest.mark.parametrize("dim", [20, "same"])
def test_the_modules_of_the_model_give_the_same_unit_vectors(folder, dim, tmp_path):
    from sentence_transformers import SentenceTransformer

    width = json.loads((folder / "config.json").read_text())["hidden_size"]
    torch.manual_seed(0)
    student = load_transformer_student(folder, width if dim == "same" else dim).eval()
    SentenceTransformer(modules=student.to_modules(), device="cpu").save(str(tmp_path / "model"))
    loaded = SentenceTransformer(str(tmp_path / "model"), device="cpu")
    texts = [*TEXTS, "paka samaki " * 40]  # the last is longer than the encoder takes
    result = loaded.encode(texts, convert_to_tensor=True)
    torch.testing.assert_close(result, F.normalize(encoded(student, texts).pooled, dim=-1), atol=1e-5, rtol=0)


def test_tokenize_leaves_special_tokens_out(student):
    assert [token.strip("▁") for token in student.tokenize("paka mtoni")] == ["paka", "mtoni"]


def test_weights_in_half_precision_are_trained_in_single(folder, tmp_path):
    from transformers import AutoModel

    shutil.copytree(folder, tmp_path / "half")
    AutoModel.from_pretrained(folder).half().save_pretrained(tmp_path / "half")
    student = load_transformer_student(tmp_path / "half", 20)
    assert {parameter.dtype for parameter in student.parameters()} == {torch.float32}


class TestSmallTransformer:
    """The one that is built on the spot."""

    @pytest.fixture
    def student(self):
        torch.manual_seed(0)
        return small_transformer(train_vocabulary(TEXTS * 3, size=80), dim=20, layers=1, width=16).eval()

    def test_every_token_but_the_first_is_content(self, student):
        batch = encoded(student, TEXTS)
        assert batch.mask.sum(1).tolist() == [len(student.tokenize(text)) for text in TEXTS]
        attended = batch.mask.clone()
        attended[:, 0] = True
        torch.testing.assert_close(batch.pooled, masked_mean(batch.tokens, attended))

    def test_the_model_encodes_an_empty_text(self, student):
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(modules=student.to_modules(), device="cpu")
        assert model.encode([""], convert_to_tensor=True).norm(dim=-1).tolist() == pytest.approx([1.0])

    @pytest.mark.parametrize("texts", [[""], ["", "cat"]])
    def test_an_empty_text_has_no_tokens(self, student, texts):
        batch = encoded(student, texts)
        assert not batch.mask[0].any()
        assert batch.pooled.shape == (len(texts), 20)
        assert batch.pooled.isfinite().all()

    def test_the_modules_of_the_model_give_the_same_unit_vectors(self, student, tmp_path):
        from sentence_transformers import SentenceTransformer

        SentenceTransformer(modules=student.to_modules(), device="cpu").save(str(tmp_path / "model"))
        result = SentenceTransformer(str(tmp_path / "model"), device="cpu").encode(TEXTS, convert_to_tensor=True)
        torch.testing.assert_close(result, F.normalize(encoded(student, TEXTS).pooled, dim=-1), atol=1e-5, rtol=0)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ModelError, match="no such model folder") as caught:
        load_transformer_student(tmp_path / "none", 20)
    assert str(caught.value).startswith(f"{tmp_path / 'none'}: ")
    with pytest.raises(ModelError, match=r"^\./none: no such model folder"):
        load_transformer_student("./none", 20)


@pytest.mark.parametrize("content", [None, "{", "[]", '{"model_type": "no-such-model"}'])
def test_a_folder_that_is_no_model_is_named(tmp_path, content):
    if content:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(ModelError, match="not a Hugging Face encoder that loads") as caught:
        load_transformer_student(tmp_path, 20)
    assert str(caught.value).startswith(f"{tmp_path}: ")
    assert "\n" not in str(caught.value)


def test_a_name_that_no_hub_answers_for_is_named():
    with pytest.raises(ModelError, match=r"^nobody/no-such-model: no such model folder, and the hub"):
        load_transformer_student("nobody/no-such-model", 20)


def test_damaged_weights_are_named(tiny_bert, tmp_path):
    shutil.copytree(tiny_bert, tmp_path / "bert")
    weights = tmp_path / "bert" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError, match="not a Hugging Face encoder that loads"):
        load_transformer_student(tmp_path / "bert", 20)


@pytest.mark.parametrize("with_tokenizer", [False, True])
def test_a_model_of_images_is_refused(tiny_bert, tmp_path, with_tokenizer):
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=8,
        patch_size=4,
    )
    if with_tokenizer:
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(tiny_bert / name, tmp_path / name)
    ViTModel(config).save_pretrained(tmp_path)
    with pytest.raises(ModelError) as caught:
        load_transformer_student(tmp_path, 20)
    assert str(caught.value).startswith(f"{tmp_path}: ")


def test_a_model_of_images_and_text_is_refused(tiny_bert, tmp_path):
    from transformers import CLIPConfig, CLIPModel

    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    vision = small | {"image_size": 8, "patch_size": 4}
    config = CLIPConfig(text_config=small | {"vocab_size": 30}, vision_config=vision, projection_dim=8)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_bert / name, tmp_path / name)
    CLIPModel(config).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="not a text encoder"):
        load_transformer_student(tmp_path, 20)
