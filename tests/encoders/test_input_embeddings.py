"""Batches cut by length, and token vectors of which only those in use learn."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from kivuko.encoders.input_embeddings import UsedRows, by_length, used_rows
from kivuko.encoders.student import load_transformer_student, small_transformer
from kivuko.encoders.vocabulary import train_vocabulary

SHORT = ["paka", "mbwa samaki", "paka anakula", "samaki mtoni"]
TEXTS = [SHORT[n % 4] for n in range(40)] + ["paka anakula samaki mtoni " * 4, "mbwa " * 9]


@given(st.lists(st.integers(1, 60), max_size=40), st.integers(0, 100), st.integers(1, 300))
def test_every_text_is_in_one_part_and_no_part_is_too_large(lengths, cost, most):
    parts = by_length(lengths, cost=cost, most=most)
    assert sorted(row for rows in parts for row in rows) == list(range(len(lengths)))
    for rows in parts:
        longest = max(lengths[row] for row in rows)
        assert lengths[rows[-1]] == longest
        assert len(rows) == 1 or len(rows) * longest <= most


@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.integers(0, 50))
def test_no_split_by_length_costs_less(lengths, cost):
    def price(sizes):
        return sum(len(one) * max(one) + cost for one in sizes)

    ordered, best = sorted(lengths), []
    for cuts in range(2 ** (len(ordered) - 1)):
        parts, first = [], 0
        for end in range(1, len(ordered) + 1):
            if end == len(ordered) or cuts >> (end - 1) & 1:
                parts.append(ordered[first:end])
                first = end
        best.append(price(parts))
    split = [[lengths[row] for row in rows] for rows in by_length(lengths, cost=cost, most=10**6)]
    assert price(split) == min(best)


@pytest.fixture
def student():
    torch.manual_seed(0)
    return small_transformer(train_vocabulary(TEXTS, size=80), dim=20, layers=2, width=16)


def gradients(student, texts, budget):
    """The vectors of texts and the gradients of something that depends on all of them, tokens included."""
    student.zero_grad()
    student.token_budget = budget
    torch.manual_seed(1)
    batch = student.encode_tokens(texts)
    (batch.pooled @ batch.pooled.T).softmax(1).diag().sum().backward(retain_graph=True)
    batch.content().pow(3).sum().backward()
    return batch, {name: one.grad.clone() for name, one in student.named_parameters() if one.grad is not None}


@pytest.mark.parametrize("budget", [10**6, 60, 7])
def test_parts_change_neither_vectors_nor_gradients(student, budget):
    student.train()
    for module in student.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    parts = []
    student._encode, whole = (lambda texts: (parts.append(len(texts)), whole(texts))[1]), student._encode
    split, ours = gradients(student, TEXTS, budget)
    assert len(parts) > 1
    assert max(parts) < len(TEXTS)
    student.encode_tokens = whole
    padded, theirs = gradients(student, TEXTS, budget)
    assert torch.equal(split.mask, padded.mask)
    torch.testing.assert_close(split.pooled, padded.pooled, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(split.content(), padded.content(), atol=1e-5, rtol=1e-5)
    assert ours.keys() == theirs.keys()
    for name, gradient in ours.items():
        torch.testing.assert_close(gradient, theirs[name], atol=1e-4, rtol=1e-3)


def test_what_is_over_the_budget_is_computed_again_with_the_same_dropout(student):
    student.train()
    (_, once), (_, again) = gradients(student, TEXTS, 10**6), gradients(student, TEXTS, 10**6)
    assert all(torch.equal(once[name], again[name]) for name in once)
    kept = []
    student._encode, whole = (lambda texts: (kept.append(torch.is_grad_enabled()), whole(texts))[1]), student._encode
    gradients(student, TEXTS, 30)
    forward, back = len(by_length([len(ids) for ids in student.token_ids(TEXTS)], cost=64, most=30)), len(kept)
    assert back > forward, "parts are encoded again on the way back"


def test_the_rows_in_use_learn_as_in_the_whole_table():
    torch.manual_seed(0)
    whole = nn.Embedding(10, 4, padding_idx=1)
    before = whole.weight.detach().clone()
    some = UsedRows(copy.deepcopy(whole), torch.tensor([2, 5, 7]))
    ids = torch.tensor([[2, 5, 2], [7, 5, 7]])
    for layer in (whole, some):
        optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1, weight_decay=0.0)
        for _ in range(5):
            optimizer.zero_grad()
            layer(ids).pow(2).sum().backward()
            optimizer.step()
    assert [tuple(one.shape) for one in some.parameters()] == [(3, 4)]
    everything = torch.arange(10)
    assert torch.equal(some(everything), whole(everything))
    rebuilt = some.whole()
    assert torch.equal(rebuilt.weight, whole.weight)
    assert rebuilt.padding_idx == 1
    assert torch.equal(rebuilt.weight[[0, 3, 4, 6, 8, 9]], before[[0, 3, 4, 6, 8, 9]])


def test_no_row_learns_where_none_is_named():
    layer = UsedRows(nn.Embedding(10, 4), torch.tensor([], dtype=torch.long))
    assert [one.requires_grad for one in layer.parameters()] == [False]
    assert torch.equal(layer(torch.arange(10)), layer.whole().weight)


def test_the_rows_that_texts_use(tiny_bert):
    student = load_transformer_student(tiny_bert, 20)
    rows = used_rows(student, ["paka", "samaki paka"])
    tokenizer = student.tokenizer
    assert set(rows.tolist()) == set(tokenizer(["paka samaki"])["input_ids"][0])
    assert tokenizer.pad_token_id not in rows
    everything = tokenizer.decode(range(len(tokenizer)))
    assert used_rows(student, everything.split()) is None, "a vocabulary that is in use learns as a whole"
    student.requires_grad_(False)
    assert used_rows(student, ["paka"]) is None


def test_a_student_that_learned_in_part_saves_as_a_whole(tiny_bert):
    student = load_transformer_student(tiny_bert, 20).train()
    table = student.model.get_input_embeddings().weight.detach().clone()
    rows = torch.tensor(student.tokenizer(["paka"])["input_ids"][0])
    student.learn_rows(rows)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.5)
    student.encode_tokens(["paka", "samaki"]).pooled.pow(2).sum().backward()
    optimizer.step()
    student.learn_all()
    student.eval()
    after = student.model.get_input_embeddings().weight
    changed = (after != table).any(1).nonzero()[:, 0].tolist()
    assert changed == sorted(rows.tolist())
    assert any(key.endswith("word_embeddings.weight") for key in student.state_dict())
