"""Training a translation model from scratch: batches, subword vectors from counts, selection, and chrF."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch

from kivuko.bitext.pairs import Bitext, Pair
from kivuko.errors import DataError, ModelError, UsageError
from kivuko.translation.marian import (
    NO_LABEL,
    Numbered,
    TranslationSettings,
    _cross_entropy,
    _Training,
    batches,
    chrf,
    initialize_from_counts,
    marian_model,
    marian_tokenizer,
    number_pairs,
    sentence_vectors,
    to_batch,
    train_translator,
)
from kivuko.translation.seq2seq import load_translator

READ = "model.encoder.embed_tokens.weight"


def weights(translator):
    return {key: value.detach().clone() for key, value in translator.model.state_dict().items()}


def short(settings, **changes):
    return dataclasses.replace(settings, **({"least_steps": 8, "most_steps": 8, "selections": 2} | changes))


def test_unseen_combinations_of_seen_words_are_translated(trained, toy):
    translator, _, _ = trained
    for language, pairs in toy[1].by_language().items():
        results = translator.translate([pair.text for pair in pairs], language)
        right = sum(one == pair.english for one, pair in zip(results, pairs, strict=True))
        assert right >= 0.8 * len(pairs), list(zip(results, (pair.english for pair in pairs), strict=True))


def test_what_was_trained_on_is_translated(trained, toy):
    translator, _, _ = trained
    pairs = toy[0].by_language()["so"]
    results = translator.translate([pair.text for pair in pairs], "so")
    assert sum(one == pair.english for one, pair in zip(results, pairs, strict=True)) >= 0.9 * len(pairs)


def test_the_result_is_the_best_held_out_score_of_what_is_left(trained, toy):
    translator, result, reports = trained
    scores = dict(result.history)
    assert list(scores) == [60, 120, 180, 240, 300]
    assert result.best_score == max(scores.values()) == scores[result.best_step]
    assert greedy_chrf(translator, toy[1]) == result.best_score
    assert not translator.model.training
    assert translator.model.generation_config.num_beams == 2, "selection leaves the search as it was"
    assert [(step, steps) for step, steps, _ in reports] == [(step, 300) for step in range(1, 301)]
    assert reports[-1][2]["loss"] < 0.6 * reports[0][2]["loss"]


def greedy_chrf(translator, held_out):
    greedy = copy.deepcopy(translator)
    greedy.model.generation_config.num_beams = 1
    texts = {code: [pair.text for pair in pairs] for code, pairs in held_out.by_language().items()}
    translations = [one for code, own in texts.items() for one in greedy.translate(own, code)]
    return chrf(translations, [pair.english for pairs in held_out.by_language().values() for pair in pairs])


def test_the_weights_of_the_best_step_are_kept_and_not_the_last(toy, small_settings, monkeypatch):
    scores = iter([0.1, 0.5, 0.5, 0.2])  # of equals the later
    monkeypatch.setattr(_Training, "score", lambda *_: next(scores))
    settings = short(small_settings, selections=4, averaging=0.0)
    kept, result = train_translator(*toy, settings)
    assert (result.best_step, result.best_score) == (6, 0.5)
    assert result.history == [(2, 0.1), (4, 0.5), (6, 0.5), (8, 0.2)]
    scores = iter([0.0, 0.0, 0.0, 1.0])
    last, _ = train_translator(*toy, settings)
    assert not torch.equal(weights(kept)[READ], weights(last)[READ])


def test_the_mean_of_the_weights_is_what_is_kept(toy, small_settings):
    kept, _ = train_translator(*toy, short(small_settings, selections=1, averaging=0.9))
    last, _ = train_translator(*toy, short(small_settings, selections=1, averaging=0.0))
    assert not torch.equal(weights(kept)[READ], weights(last)[READ])


def test_the_same_seed_gives_the_same_weights_bit_for_bit(toy, small_settings):
    results = []
    for noise, seed in ((1, 0), (2, 0), (3, 1)):
        torch.manual_seed(noise)  # what happened before must not matter
        results.append(weights(train_translator(*toy, short(small_settings), seed=seed)[0]))
    assert all(torch.equal(results[0][key], results[1][key]) for key in results[0])
    assert any(not torch.equal(results[0][key], results[2][key]) for key in results[0])


def test_training_takes_the_steps_that_the_bitext_needs():
    settings = TranslationSettings(epochs=3, batch_tokens=100, least_steps=5, most_steps=50)
    assert [settings.steps(tokens) for tokens in (10, 1000, 1_000_000)] == [5, 30, 50]


def test_the_loss_is_the_librarys_own(toy, small_settings):
    tokenizer = marian_tokenizer(toy[0], small_settings)
    model = marian_model(tokenizer, ("sw", "so"), small_settings, seed=0).eval()
    batch = to_batch(number_pairs(toy[0].pairs[:6], tokenizer, True, 48), range(6))
    with torch.no_grad():
        own = model(input_ids=batch.source, attention_mask=batch.attended, labels=batch.wanted).loss
        assert float(_cross_entropy(model, batch)) == pytest.approx(float(own), rel=1e-5)
    assert (batch.wanted == NO_LABEL).any(), "this test needs padding"


@pytest.mark.parametrize("side", [0, 1])
def test_no_pairs_are_refused(toy, side):
    given = [toy[0], toy[1]]
    given[side] = Bitext(())
    with pytest.raises(DataError, match=["no pairs to train", "no pairs held out"][side]):
        train_translator(*given)


def test_held_out_pairs_of_a_strange_language_are_refused(toy):
    with pytest.raises(DataError, match="held-out pairs in mr, but none to train"):
        train_translator(toy[0], Bitext((Pair("mr", "मांजर", "cat", "toy"),)))


def test_a_run_that_diverges_says_so(toy, small_settings):
    with pytest.raises(UsageError, match=r"diverged.*Lower learning_rate"):
        train_translator(*toy, short(small_settings, learning_rate=1e30, averaging=0.0))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"dropout": 1.0}, "dropout = 1.0"), ({"label_smoothing": -0.1}, "label_smoothing = -0.1"),
        ({"beams": 0}, "beams = 0"), ({"width": 50, "heads": 4}, "width = 50: not divisible by heads = 4"),
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused(wrong, message):
    with pytest.raises(UsageError, match=message):
        TranslationSettings(**wrong)


def test_a_single_pair_is_enough(small_settings):
    one = Bitext((Pair("sw", "paka", "cat", "toy"),))
    translator, _ = train_translator(one, one, short(small_settings))
    assert len(translator.translate(["paka"], "sw")) == 1


@pytest.mark.parametrize("tagged", [True, False])
def test_the_language_tag_can_be_left_out(toy, small_settings, tmp_path, tagged):
    translator, _ = train_translator(*toy, short(small_settings, language_tag=tagged))
    assert (">>sw<<" in translator.tokenizer.get_vocab()) == tagged
    translator.save(tmp_path / "model")
    loaded = load_translator(tmp_path / "model")
    assert loaded.translate(["paka nyeusi"], "sw") == translator.translate(["paka nyeusi"], "sw")
    with pytest.raises(ModelError, match="trained on sw, so, not de"):
        loaded.translate(["Katze"], "de")


@pytest.fixture(scope="module")
def numbered():
    lengths = [(1 + i % 7, 1 + i % 4) for i in range(40)]
    return Numbered([[5] * n for n, _ in lengths], [[6] * m for _, m in lengths], pad=0, unknown=1, tagged=True)


def flow(numbered, tokens, seed, steps=200):
    return [rows for _, rows in batches(numbered, tokens, steps, seed)]


@pytest.mark.parametrize("tokens", [1, 30, 10_000])
def test_each_pair_comes_once_an_epoch_and_no_batch_is_too_large(numbered, tokens):
    results = flow(numbered, tokens, seed=3)
    assert len(results) == 200
    for rows in results:
        source, target = max(len(numbered.source[r]) for r in rows), max(len(numbered.target[r]) for r in rows)
        assert len(rows) == 1 or len(rows) * (source + target) <= tokens
    rows = [row for batch in results for row in batch]
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
