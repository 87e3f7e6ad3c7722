"""The static student: subword vectors and their mean."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from kivuko.encoders.student import StaticStudent
from kivuko.encoders.vocabulary import train_vocabulary

TEXTS = ["paka anakula samaki mtoni", "mbwa", "मांजर मासा खाते", ""]


@pytest.fixture(scope="module")
def vocabulary():
    return train_vocabulary(TEXTS * 3, size=80)


@pytest.fixture
def student(vocabulary):
    torch.manual_seed(0)
    return StaticStudent(vocabulary, 16, token_dropout=0.5).eval()


def test_shapes_and_mask(student, vocabulary):
    batch = student.encode_tokens(TEXTS)
    lengths = [len(vocabulary.encode(text).ids) for text in TEXTS]
    assert batch.tokens.shape == (4, max(lengths), 16)
    assert batch.mask.shape == (4, max(lengths))
    assert batch.mask.dtype == torch.bool
    assert batch.pooled.shape == (4, 16)
    assert batch.mask.sum(1).tolist() == lengths
    assert batch.tokens[~batch.mask].abs().max() == 0


def test_the_sentence_vector_is_the_mean_of_its_subwords(student, vocabulary):
    ids = vocabulary.encode(TEXTS[0]).ids
    expected = student.embedding.weight[ids].mean(0)
    torch.testing.assert_close(student.encode_tokens(TEXTS).pooled[0], expected)
    torch.testing.assert_close(student(TEXTS[:1]).pooled[0], expected)


def test_a_text_does_not_depend_on_its_neighbors(student):
    torch.testing.assert_close(student.encode_tokens(TEXTS).pooled[1], student.encode_tokens([TEXTS[1]]).pooled[0])


@pytest.mark.parametrize("texts", [[""], [" ", ""]])
def test_a_text_without_subwords_has_a_zero_vector(student, texts):
    batch = student.encode_tokens(texts)
    assert not batch.mask.any()
    assert batch.tokens.shape == (len(texts), 1, 16)
    assert batch.pooled.abs().max() == 0


def test_no_texts_give_an_empty_batch(student):
    assert student.encode_tokens([]).pooled.shape == (0, 16)


def test_only_the_subwords_of_the_texts_learn(student, vocabulary):
    student.encode_tokens(["mbwa"]).pooled.sum().backward()
    touched = student.embedding.weight.grad.abs().sum(1).nonzero()[:, 0].tolist()
    assert touched == sorted(set(vocabulary.encode("mbwa").ids))


def test_dropout_hides_tokens_in_training_only(student):
    whole = student.encode_tokens(TEXTS).mask
    assert torch.equal(student.encode_tokens(TEXTS).mask, whole)
    student.train()
    masks = torch.stack([student.encode_tokens(TEXTS).mask for _ in range(200)])
    assert not (masks & ~whole).any(), "padding is never shown"
    assert (masks.sum(2)[:, :3] >= 1).all(), "no text loses all of its tokens"
    shown = masks[:, 0].sum(1).double().mean() / whole[0].sum()
    assert 0.4 < shown < 0.6


def test_dropout_of_nearly_all_keeps_something(vocabulary):
    student = StaticStudent(vocabulary, 4, token_dropout=0.999).train()
    batch = student.encode_tokens(TEXTS * 20)
    assert batch.mask.any(1).view(20, 4).tolist() == [[True, True, True, False]] * 20


def test_hidden_tokens_are_out_of_the_mean(student):
    student.train()
    torch.manual_seed(3)
    batch = student.encode_tokens(TEXTS[:1])
    assert 0 < batch.mask.sum() < batch.mask.numel()
    torch.testing.assert_close(batch.pooled[0], batch.tokens[0][batch.mask[0]].mean(0))
    assert batch.tokens[~batch.mask].abs().max() == 0


def test_dropout_follows_the_seed(student):
    student.train()
    masks = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        masks.append(student.encode_tokens(TEXTS * 5).mask)
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])


def test_tokenize_gives_the_subwords(student):
    assert "".join(student.tokenize("paka mbwa")).replace("▁", " ").strip() == "paka mbwa"


def test_the_modules_of_the_model_give_the_same_unit_vectors(student, tmp_path):
    from sentence_transformers import SentenceTransformer

    SentenceTransformer(modules=student.to_modules(), device="cpu").save(str(tmp_path / "model"))
    loaded = SentenceTransformer(str(tmp_path / "model"), device="cpu")
    with torch.no_grad():
        expected = F.normalize(student.encode_tokens(TEXTS).pooled, dim=-1)
    result = loaded.encode(TEXTS, convert_to_tensor=True)
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=0)
    assert result[:3].norm(dim=-1).allclose(torch.ones(3), atol=1e-5)


def test_the_model_does_not_change_when_the_student_learns_on(student):
    module = student.to_modules()[0]
    before = module.embedding.weight.detach().clone()
    with torch.no_grad():
        student.embedding.weight.zero_()
    assert torch.equal(module.embedding.weight, before)
