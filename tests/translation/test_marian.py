"""Batches for training, and subword vectors from counts."""

from __future__ import annotations

import pytest
import torch

from kivuko.translation.marian import (
    NO_LABEL,
    Numbered,
    batches,
    initialize_from_counts,
    marian_model,
    marian_tokenizer,
    number_pairs,
    sentence_vectors,
    to_batch,
)


@pytest.fixture(scope="module")
def numbered():
    lengths = [(1 + i % 7, 1 + i % 4) for i in range(40)]
    return Numbered([[5] * n for n, _ in lengths], [[6] * m for _, m in lengths], pad=0, unknown=1, tagged=True)


def flow(numbered, tokens, seed, steps=200):
    return [rows for _, rows in batches(numbered, tokens, steps, seed)]


@pytest.mark.parametrize("tokens", [1, 30, 10_000])
def test_each_pair_comes_once_an_epoch_and_no_batch_is_too_large(numbered, tokens):
    found = flow(numbered, tokens, seed=3)
    assert len(found) == 200
    for rows in found:
        source, target = max(len(numbered.source[r]) for r in rows), max(len(numbered.target[r]) for r in rows)
        assert len(rows) == 1 or len(rows) * (source + target) <= tokens
    rows = [row for batch in found for row in batch]
    epochs = [rows[start : start + 40] for start in range(0, len(rows) - 39, 40)]
    assert len(epochs) >= 5
    assert all(sorted(epoch) == list(range(40)) for epoch in epochs)


def test_the_seed_gives_the_order(numbered):
    assert flow(numbered, 30, seed=1) == flow(numbered, 30, seed=1) != flow(numbered, 30, seed=2)


def test_the_decoder_is_given_what_came_before():
    pairs = Numbered([[7, 8, 9], [7]], [[4, 5, 6], [4]], pad=0, unknown=1, tagged=False)
    batch = to_batch(pairs, [0, 1])
    assert batch.source.tolist() == [[7, 8, 9], [7, 0, 0]]
    assert batch.attended.tolist() == [[True] * 3, [True, False, False]]
    assert batch.wanted.tolist() == [[4, 5, 6], [4, NO_LABEL, NO_LABEL]]
    assert batch.given.tolist() == [[0, 4, 5], [0, 4, 0]]


@pytest.mark.parametrize("tagged", [True, False])
def test_word_dropout_spares_the_tag_the_end_and_the_padding(tagged):
    torch.manual_seed(0)
    pairs = Numbered([[50, *range(10, 20), 51], [50, 10, 51]], [[4, 51]] * 2, pad=0, unknown=1, tagged=tagged)
    source = to_batch(pairs, [0, 1], word_dropout=0.9).source
    assert source[0, -1] == source[1, 2] == 51
    assert (source[1, 3:] == 0).all()
    assert (source[0, 1:-1] == 1).sum() >= 5
    tags = {int(to_batch(pairs, [0], word_dropout=0.9).source[0, 0]) for _ in range(20)}
    assert tags == ({50} if tagged else {50, 1})


def test_pairs_are_numbered_with_tag_and_end(toy, small_settings):
    tokenizer = marian_tokenizer(toy[0], small_settings)
    pairs = number_pairs(toy[0].pairs, tokenizer, True, 48)
    end, tag = tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids(">>sw<<")
    assert {source[0] for source in pairs.source[:24]} == {tag}
    assert {row[-1] for row in pairs.source + pairs.target} == {end}
    assert tokenizer.decode(pairs.target[0], skip_special_tokens=True) == toy[0].pairs[0].english
    assert tokenizer.unk_token_id not in {number for row in pairs.source for number in row}
    cut = number_pairs(toy[0].pairs, tokenizer, True, 3)
    assert {len(row) for row in cut.source} == {3}
    assert {row[-1] for row in cut.source} == {end}


def test_long_pairs_can_be_left_out(numbered):
    kept = numbered.no_longer_than(3)
    assert 0 < len(kept) < len(numbered)
    assert max(map(len, kept.source + kept.target)) == 3
    assert numbered.no_longer_than(0) is numbered


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
