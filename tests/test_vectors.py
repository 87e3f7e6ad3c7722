"""Cosines of vectors of extreme lengths, wherever one is taken."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from kivuko.encoders.token_batch import TokenBatch
from kivuko.losses.objectives import RelationalObjective, SentenceContrastive, SentenceCosine
from kivuko.transport.alignment import TokenLists, align_lists
from kivuko.transport.cost import centered_cosine_cost, cosine_cost
from kivuko.vectors import powers_apart, rescaled, unit_rows

LENGTHS = [1e-38, 1e-30, 1e-20, 1e-9, 1.0, 1e9, 1e19, 1e20, 1e30, 1e37]


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("other", [1e-30, 1.0, 1e20])
def test_the_cosine_cost_does_not_depend_on_lengths(length, other):
    x, y = drawn(2, 3, 5), drawn(2, 4, 5, seed=1)
    expected = cosine_cost(x.double(), y.double())
    assert torch.allclose(cosine_cost(x * length, y * other).double(), expected, atol=2e-6)
    assert torch.allclose(cosine_cost(x * length, x * length).diagonal(dim1=1, dim2=2), torch.zeros(2, 3), atol=1e-6)
    zero = torch.zeros(5)
    assert torch.allclose(centered_cosine_cost(x * length, y * other, zero, zero).double(), expected, atol=2e-6)


def test_one_extreme_vector_leaves_the_others_alone_to_the_last_bit():
    x, y = drawn(1, 6, 5), drawn(1, 4, 5, seed=1)
    mixed = torch.cat([x, 1e25 * x[:, :1], 1e-25 * x[:, :1], torch.zeros(1, 1, 5)], dim=1)
    cost = cosine_cost(mixed, y)
    assert torch.equal(cost[:, :6], cosine_cost(x, y))
    assert torch.allclose(cost[:, 6:8], cost[:, :1].expand(-1, 2, -1), atol=1e-6)
    assert torch.equal(cost[:, 8], torch.ones(1, 4)), "a zero vector is at cost 1 from everything"


@pytest.mark.parametrize("length", [1e-30, 1e-12, 1e-8, 1.0, 1e20])
def test_gradients_are_right_or_bounded(length):
    x = (drawn(1, 1, 5).double() * length).float().requires_grad_()
    y = drawn(1, 1, 5, seed=1)
    (gradient,) = torch.autograd.grad(cosine_cost(x, y).sum(), x)
    usual = drawn(1, 1, 5).requires_grad_()
    (expected,) = torch.autograd.grad(cosine_cost(usual, y).sum(), usual)
    assert torch.isfinite(gradient).all()
    assert F.cosine_similarity(rescaled(gradient), expected, dim=-1).item() == pytest.approx(1, abs=1e-5)
    if length >= 1e-8:
        assert torch.allclose(rescaled(gradient) / powers_apart(gradient)[1] * length, expected, rtol=1e-4)
    assert length >= 1e-8 or gradient.abs().max() < 100


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_half_precision_neither_overflows_nor_vanishes(dtype):
    largest, least = (6e4, 1e-7) if dtype == torch.float16 else (1e20, 1e-30)
    signs = torch.sign(drawn(1, 3, 64))
    for length in (largest, least):
        x = (signs * length).to(dtype)
        assert torch.allclose(cosine_cost(x, x), cosine_cost(signs, signs).to(cosine_cost(x, x)), atol=1e-6)
        unit = F.normalize(rescaled(x), dim=-1).float()
        assert torch.allclose(unit.norm(dim=-1), torch.ones(1, 3), atol=1e-2)


@pytest.mark.parametrize("length", [1e-30, 1e20])
def test_sentence_objectives_do_not_depend_on_lengths(length):
    def batch(pooled):
        return TokenBatch(pooled[:, None], torch.ones(len(pooled), 1, dtype=torch.bool), pooled)

    student, teacher = drawn(6, 8), drawn(6, 8, seed=1)
    for objective in (SentenceCosine(), SentenceContrastive(), RelationalObjective()):
        expected = objective(batch(student), batch(teacher)).total
        assert torch.allclose(objective(batch(student * length), batch(teacher)).total, expected, rtol=1e-4)
        assert torch.allclose(objective(batch(student), batch(teacher * length)).total, expected, rtol=1e-4)


@pytest.mark.parametrize("length", [1e-30, 1e-9, 1e20])
@pytest.mark.parametrize("compiled", [True, False])
def test_aligned_lists_do_not_depend_on_lengths(length, compiled, monkeypatch):
    monkeypatch.setattr("kivuko.transport.alignment.is_installed", lambda _name: compiled)
    lengths = torch.tensor([4, 6])
    x, y = drawn(10, 8), drawn(10, 8, seed=1)
    expected = align_lists(TokenLists(x, lengths), TokenLists(y, lengths))
    extreme = align_lists(TokenLists(x * length, lengths), TokenLists(y * length, lengths))
    assert torch.allclose(extreme.transport_cost, expected.transport_cost, atol=1e-5)
    assert torch.isfinite(extreme.gradient).all()
    if length > 1:
        assert torch.allclose(extreme.gradient * length, expected.gradient, atol=1e-4)


def test_rows_of_arrays_come_to_length_one_whatever_they_were():
    rows = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    expected = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    for length in (1e-30, 1.0, 1e25):
        assert np.allclose(unit_rows(rows * np.float32(length)), expected, atol=1e-6)
    assert np.array_equal(unit_rows(rows), expected)
    assert np.allclose(np.linalg.norm(unit_rows((rows * 3e4).clip(-6e4, 6e4).astype(np.float16)), axis=1), 1)
    assert not unit_rows(np.zeros((2, 3), dtype=np.float32)).any()
    assert unit_rows(np.zeros((0, 3), dtype=np.float32)).shape == (0, 3)


def test_usual_vectors_are_returned_as_they_are():
    x = drawn(3, 4)
    assert rescaled(x) is x
    padded = torch.cat([x, torch.zeros(2, 4)])
    assert rescaled(padded) is padded
    assert rescaled(torch.zeros(0, 4)).shape == (0, 4)
    assert torch.isnan(rescaled(torch.tensor([[float("nan"), 1.0]]))).any()
