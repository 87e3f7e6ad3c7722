"""Subword vectors from counts: translations are alike from the start."""

from __future__ import annotations

import torch

from kivuko.translation.marian import (
    initialize_from_counts,
    marian_model,
    marian_tokenizer,
    number_pairs,
    sentence_vectors,
)

# Words 0 to 5 of one side are words 10 to 15 of the other, in other combinations every time.
SOURCES = [[a, b] for a in range(6) for b in range(6) if a != b]
TARGETS = [[10 + b, 10 + a] for a, b in SOURCES]


def test_a_words_nearest_vector_on_the_other_side_is_its_translation():
    vectors = sentence_vectors(SOURCES, TARGETS, 20, width=8, seed=0)
    assert vectors.shape == (20, 8)
    nearest = (vectors[:6] @ vectors[10:16].T).argmax(1)
    assert nearest.tolist() == [0, 1, 2, 3, 4, 5]
    torch.testing.assert_close(vectors[[*range(6), *range(10, 16)]].norm(dim=1), torch.ones(12))


def test_subwords_that_never_occur_get_zero_and_the_seed_decides():
    vectors = sentence_vectors(SOURCES, TARGETS, 20, width=40, seed=0)
    assert not vectors[[6, 9, 16, 19]].any()
    torch.manual_seed(99)
    assert torch.equal(vectors, sentence_vectors(SOURCES, TARGETS, 20, width=40, seed=0))


def test_a_model_starts_with_them_and_keeps_the_rest(toy, small_settings):
    tokenizer = marian_tokenizer(toy[0], small_settings)
    model = marian_model(tokenizer, ("sw", "so"), small_settings, seed=0)
    before = model.get_input_embeddings().weight.detach().clone()
    pairs = number_pairs(toy[0].pairs, tokenizer, True, 48)
    initialize_from_counts(model, pairs, seed=0)
    after = model.get_input_embeddings().weight
    used = torch.zeros(len(before), dtype=torch.bool)
    used[[number for row in pairs.source + pairs.target for number in row]] = True
    assert torch.equal(after[~used], before[~used])
    assert not torch.equal(after[used], before[used])
    assert model.lm_head.weight is after or torch.equal(model.lm_head.weight, after), "the output shares the vectors"
