"""Students that are models of sentence-transformers: they pool as the model pools, and learn through all of it."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from kivuko.encoders.model import assemble, encode_texts
from kivuko.encoders.student import SentenceStudent, load_transformer_student
from kivuko.errors import ModelError

TEXTS = ["paka anakula samaki", "cat"]


@pytest.fixture(scope="module")
def labse(tiny_bert, tmp_path_factory):
    """As LaBSE is built: the first token, a dense layer with tanh, unit length."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    torch.manual_seed(0)
    modules = [Transformer(str(tiny_bert)), Pooling(32, pooling_mode="cls"), Dense(32, 28), Normalize()]
    folder = tmp_path_factory.mktemp("models") / "labse"
    SentenceTransformer(modules=modules, device="cpu").save(str(folder))
    return folder


def student(folder, dim):
    torch.manual_seed(0)
    return load_transformer_student(folder, dim).eval()


@torch.no_grad()
def test_without_training_it_is_the_model(labse):
    from sentence_transformers import SentenceTransformer

    own = student(labse, 28)
    assert isinstance(own, SentenceStudent)
    assert isinstance(own.projection, nn.Identity)
    expected = SentenceTransformer(str(labse), device="cpu").encode(TEXTS, convert_to_tensor=True)
    torch.testing.assert_close(own.encode_tokens(TEXTS).pooled, expected, atol=1e-6, rtol=0)


@torch.no_grad()
def test_tokens_are_as_wide_as_the_sentence_and_content_only(labse):
    batch = student(labse, 20).encode_tokens(TEXTS)
    assert batch.tokens.shape == (2, 5, 20)
    assert batch.pooled.shape == (2, 20)
    assert batch.mask.int().tolist() == [[0, 1, 1, 1, 0], [0, 1, 0, 0, 0]]


def test_all_of_it_learns(labse):
    own = student(labse, 20).train()
    own.encode_tokens(TEXTS).pooled.square().sum().backward()
    assert all(
        one.grad is not None and one.grad.abs().max() > 0 for one in (own.projection.weight, own.route[2].linear.weight)
    )
    assert own.model.embeddings.word_embeddings.weight.grad.abs().max() > 0


@torch.no_grad()
def test_the_model_gives_the_same_unit_vectors(labse):
    own = student(labse, 20)
    result = torch.from_numpy(encode_texts(assemble(own, None), TEXTS))
    torch.testing.assert_close(result, F.normalize(own.encode_tokens(TEXTS).pooled, dim=-1), atol=1e-5, rtol=0)


def test_a_model_of_words_without_a_transformer_is_refused(tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    from kivuko.encoders.vocabulary import train_vocabulary

    static = StaticEmbedding(train_vocabulary(TEXTS * 3, 60), embedding_dim=8)
    SentenceTransformer(modules=[static], device="cpu").save(str(tmp_path / "static"))
    with pytest.raises(ModelError, match="StaticEmbedding; a student must be a transformer"):
        load_transformer_student(tmp_path / "static", 20)
