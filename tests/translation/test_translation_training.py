"""Training a translation model from scratch."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from kivuko.bitext import Bitext, Pair
from kivuko.errors import DataError, ModelError, UsageError
from kivuko.translation.marian import NO_LABEL, marian_model, marian_tokenizer, number_pairs, to_batch
from kivuko.translation.pretrained import load_translator
from kivuko.translation.settings import TranslationSettings
from kivuko.translation.training import _cross_entropy, _Scorer, train_translator

READ = "model.encoder.embed_tokens.weight"


def weights(translator):
    return {key: value.detach().clone() for key, value in translator.model.state_dict().items()}


def short(settings, **changes):
    return dataclasses.replace(settings, **({"least_steps": 8, "most_steps": 8, "selections": 2} | changes))


def test_unseen_combinations_of_seen_words_are_translated(trained, toy):
    translator, _, _ = trained
    for language, pairs in toy[1].by_language().items():
        found = translator.translate([pair.text for pair in pairs], language)
        right = sum(one == pair.english for one, pair in zip(found, pairs, strict=True))
        assert right >= 0.8 * len(pairs), list(zip(found, (pair.english for pair in pairs), strict=True))


def test_what_was_trained_on_is_translated(trained, toy):
    translator, _, _ = trained
    pairs = toy[0].by_language()["so"]
    found = translator.translate([pair.text for pair in pairs], "so")
    assert sum(one == pair.english for one, pair in zip(found, pairs, strict=True)) >= 0.9 * len(pairs)


def test_the_outcome_is_the_best_held_out_score_of_what_is_left(trained, toy):
    translator, outcome, told = trained
    scores = dict(outcome.history)
    assert list(scores) == [60, 120, 180, 240, 300]
    assert outcome.best_score == max(scores.values()) == scores[outcome.best_step]
    assert judge(translator, toy[1]) == outcome.best_score
    assert not translator.model.training
    assert translator.model.generation_config.num_beams == 2, "selection leaves the search as it was"
    assert [(step, steps) for step, steps, _ in told] == [(step, 300) for step in range(1, 301)]
    assert told[-1][2]["loss"] < 0.6 * told[0][2]["loss"]


def judge(translator, held_out):
    return _Scorer(translator, held_out, 1000).score(dict(translator.model.named_parameters()))


def test_the_weights_of_the_best_step_are_kept_and_not_the_last(toy, small_settings, monkeypatch):
    scores = iter([0.1, 0.5, 0.5, 0.2])  # of equals the later
    monkeypatch.setattr(_Scorer, "score", lambda *_: next(scores))
    settings = short(small_settings, selections=4, averaging=0.0)
    kept, outcome = train_translator(*toy, settings)
    assert (outcome.best_step, outcome.best_score) == (6, 0.5)
    assert outcome.history == [(2, 0.1), (4, 0.5), (6, 0.5), (8, 0.2)]
    scores = iter([0.0, 0.0, 0.0, 1.0])
    last, _ = train_translator(*toy, settings)
    assert not torch.equal(weights(kept)[READ], weights(last)[READ])


def test_the_mean_of_the_weights_is_what_is_kept(toy, small_settings):
    kept, _ = train_translator(*toy, short(small_settings, selections=1, averaging=0.9))
    last, _ = train_translator(*toy, short(small_settings, selections=1, averaging=0.0))
    assert not torch.equal(weights(kept)[READ], weights(last)[READ])


def test_the_same_seed_gives_the_same_weights_bit_for_bit(toy, small_settings):
    found = []
    for noise, seed in ((1, 0), (2, 0), (3, 1)):
        torch.manual_seed(noise)  # what happened before must not matter
        found.append(weights(train_translator(*toy, short(small_settings), seed=seed)[0]))
    assert all(torch.equal(found[0][key], found[1][key]) for key in found[0])
    assert any(not torch.equal(found[0][key], found[2][key]) for key in found[0])


def test_training_takes_the_steps_that_the_bitext_asks_for():
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
