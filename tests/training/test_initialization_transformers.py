"""Vocabulary transplant for transformers: new words join, and start where their English is."""

from __future__ import annotations

import pytest
import torch
from english_teacher import COLORS, NOUNS, bitext, save_teacher
from torch.nn import functional as F

from kivuko.encoders.model import assemble, encode_texts
from kivuko.encoders.student import load_transformer_student, small_transformer
from kivuko.encoders.teacher import load_teacher
from kivuko.encoders.vocabulary import add_words, train_vocabulary
from kivuko.errors import ModelError
from kivuko.training.initialization import (
    _own,
    _own_vectors,
    map_english,
    map_pairs,
    refuse_unread_script,
    ridge,
    start_transformer,
    teacher_words,
    unit_vectors,
    with_new_words,
)
from kivuko.training.recipe import Start

WORDS = {**COLORS, **NOUNS}
PLANS = Start(vectors="transplant", regularization=0.3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_teacher(tmp_path_factory.mktemp("teacher"))


def student(folder):
    torch.manual_seed(0)
    return load_transformer_student(folder / ".." / "bert", 32)


def test_new_words_start_at_the_vectors_of_their_english(folder):
    resized = with_new_words(student(folder), bitext(), PLANS)
    table = resized.model.get_input_embeddings().weight.detach()
    number = resized.tokenizer.convert_tokens_to_ids
    for word, english in WORDS.items():
        assert resized.tokenize(word) == [word]
        assert F.cosine_similarity(table[number(word)], table[number(english)], dim=0) > 0.9
    counted = with_new_words(student(folder), bitext(), Start(vectors="transplant", aligner="counts"))
    other = counted.model.get_input_embeddings().weight.detach()
    assert F.cosine_similarity(other[number("paka")], other[number("cat")], dim=0) < 0.9


def test_what_the_student_knew_stays(folder):
    before, after = student(folder), with_new_words(student(folder), bitext(), PLANS)
    known = len(before.tokenizer)
    torch.testing.assert_close(
        after.model.get_input_embeddings().weight[:known], before.model.get_input_embeddings().weight
    )
    assert before.tokenizer("black cats")["input_ids"] == after.tokenizer("black cats")["input_ids"]


def test_a_resized_student_makes_a_model_that_encodesalike(folder):
    resized = with_new_words(student(folder), bitext(), PLANS).eval()
    texts = ["paka mwekundu", "samaki"]
    with torch.no_grad():
        own = F.normalize(resized.encode_tokens(texts).pooled, dim=-1)
    torch.testing.assert_close(torch.from_numpy(encode_texts(assemble(resized, None), texts)), own, atol=1e-5, rtol=0)


def test_nothing_new_leaves_the_student_as_it_is(folder):
    from kivuko.bitext.pairs import Bitext, Pair

    kept = with_new_words(student(folder), Bitext((Pair("sw", "cat", "cat", "test"),)), PLANS)
    assert len(kept.tokenizer) == len(student(folder).tokenizer)


def test_a_script_that_the_vocabulary_never_saw_is_read_and_so_are_new_words_of_it(folder):
    from kivuko.bitext.pairs import Bitext, Pair

    words = {"მწვანე": "green", "წითელი": "red", "კატა": "cat", "თევზი": "fish"}
    pairs = tuple(Pair("ka", word, english, "test") for word, english in words.items()) * 5
    before = student(folder)
    unknown = before.tokenizer.unk_token_id
    assert unknown in before.tokenizer("კატა")["input_ids"]
    after = with_new_words(student(folder), Bitext(pairs), PLANS)
    for text in (*words, "წიკატი"):  # the last is none of them, but of their letters
        assert unknown not in after.tokenizer(text)["input_ids"]
    assert after.tokenizer("black cats")["input_ids"] == before.tokenizer("black cats")["input_ids"]
    found = [after.encode_tokens([text]).pooled for text in ("კატა", "თევზი")]
    assert (found[0] - found[1]).norm() > 1e-3


def test_a_slow_tokenizer_is_refused(folder):
    class Slow:
        is_fast = False

    slow = student(folder)
    slow.tokenizer = Slow()
    with pytest.raises(ModelError, match="takes no new words"):
        with_new_words(slow, bitext(), PLANS)


def test_a_small_transformer_starts_among_the_teachers_words(folder):
    teacher = load_teacher(folder)
    vocabulary = add_words(train_vocabulary([pair.text for pair in bitext()], 60), WORDS)
    torch.manual_seed(0)
    small = small_transformer(vocabulary, 32, layers=1, width=16)
    table = small.model.get_input_embeddings().weight.detach()
    size = table.norm(dim=1).mean()
    start_transformer(small, vocabulary, bitext(), teacher, PLANS)
    ours = table[[vocabulary.token_to_id(f"▁{word}") for word in WORDS]]
    theirs = unit_vectors(teacher, list(WORDS.values())) - teacher_words(teacher).mean
    # Principal components keep the geometry: who is near whom is as among the English words.
    torch.testing.assert_close(
        F.normalize(ours, dim=1) @ F.normalize(ours, dim=1).T,
        F.normalize(theirs, dim=1) @ F.normalize(theirs, dim=1).T, atol=0.15, rtol=0,
    )  # fmt: skip
    assert ours.norm(dim=1).mean() == pytest.approx(float(size), rel=0.3)


def test_a_vocabulary_without_the_script_is_refused_in_one_line(folder):
    from kivuko.bitext.pairs import Bitext, Pair

    georgian = Bitext(tuple(Pair("ka", word, "cat", "test") for word in ("მწვანე", "წითელი", "კატა")))
    with pytest.raises(
        ModelError, match=r"lacks the Georgian script of Georgian \(ka\): 100% of its words .*--student static\)\.$"
    ):
        refuse_unread_script(student(folder), georgian)
    refuse_unread_script(with_new_words(student(folder), georgian, PLANS), georgian)
    refuse_unread_script(student(folder), bitext())


def test_ridge_finds_a_linear_map_and_its_offset():
    torch.manual_seed(0)
    inputs = torch.randn(60, 5)
    weight, bias = torch.randn(3, 5), torch.randn(3)
    found = ridge(inputs, inputs @ weight.T + bias)
    torch.testing.assert_close(found[0], weight, atol=1e-3, rtol=0)
    torch.testing.assert_close(found[1], bias, atol=1e-3, rtol=0)


def test_ridge_shrinks_what_would_not_hold_for_a_sentence_left_out():
    torch.manual_seed(0)
    inputs, targets = torch.randn(20, 15), torch.randn(20, 4)  # nothing to be learned
    weight, _ = ridge(inputs, targets)
    plain = torch.linalg.lstsq(inputs - inputs.mean(0), targets - targets.mean(0)).solution.T
    assert weight.norm() < 0.5 * plain.norm()


def test_a_map_from_english_text_brings_the_student_to_the_teacher(folder):
    teacher = load_teacher(folder)
    own = student(folder)
    with torch.no_grad():
        own.model.get_input_embeddings().weight.add_(0.01)
    english = [f"{color} {noun}" for color in COLORS.values() for noun in NOUNS.values()]
    before = {name: one.clone() for name, one in own.model.state_dict().items()}
    map_english(own, english, teacher)
    assert all(torch.equal(before[name], one) for name, one in own.model.state_dict().items())
    with torch.no_grad():
        ours = own.encode_tokens(english).pooled
    theirs = torch.from_numpy(teacher.model.encode(english))
    assert F.cosine_similarity(ours, theirs).min() > 0.95
    model = assemble(own.eval(), None)  # the map is saved with it
    torch.testing.assert_close(
        torch.from_numpy(encode_texts(model, english)), F.normalize(ours, dim=-1), atol=1e-4, rtol=0
    )


def test_a_projection_fitted_to_pairs_finds_more_translations_and_leaves_the_encoder(folder):
    teacher, pairs = load_teacher(folder), bitext()
    english = sorted({pair.english for pair in pairs.pairs})
    theirs = torch.from_numpy(teacher.model.encode(english))

    def share_first(own):
        with torch.no_grad():
            found = (own.encode_tokens([pair.text for pair in pairs.pairs]).pooled @ theirs.T).argmax(1)
        return sum(english[place] == pair.english for place, pair in zip(found, pairs.pairs, strict=True)) / len(pairs)

    own, only_english, again = (with_new_words(student(folder), pairs, PLANS) for _ in range(3))
    before = {name: one.clone() for name, one in own.model.state_dict().items()}
    map_english(only_english, [pair.english for pair in pairs.pairs], teacher)
    map_pairs(own, pairs, teacher)
    map_pairs(again, pairs, teacher)
    assert all(torch.equal(before[name], one) for name, one in own.model.state_dict().items())
    assert share_first(own) > share_first(only_english) + 0.1
    assert all(one.requires_grad and one.grad is None for one in own.projection.parameters())
    assert torch.equal(own.projection.weight, again.projection.weight), "one seed, one projection"
    _own.clear()
    known = with_new_words(student(folder), pairs, PLANS)
    _own_vectors(known, [pair.text for pair in pairs.pairs])  # before there is a projection to go through
    map_pairs(known, pairs, teacher)
    torch.testing.assert_close(known.projection.weight, own.projection.weight)


def test_english_text_beside_the_bitext_makes_the_map_better(folder, monkeypatch):
    teacher = load_teacher(folder)
    english = [f"{color} {noun}" for color in COLORS.values() for noun in NOUNS.values()]
    few, more = english[:3], english[3:]

    def fitted(*texts):
        own = student(folder)
        map_english(own, *texts)
        with torch.no_grad():
            vectors = own.encode_tokens(english).pooled
        return F.cosine_similarity(vectors, torch.from_numpy(teacher.model.encode(english))).mean()

    assert fitted(few, teacher) + 0.02 < fitted(few, teacher, None, more)
    torch.testing.assert_close(fitted(few, teacher, None, more), fitted(english, teacher))

    def unexpected(*_):
        raise AssertionError("texts that were encoded before are encoded again")

    own = student(folder)
    monkeypatch.setattr(own, "encode_tokens", unexpected)
    map_english(own, english, teacher, None, few)
    own.model.get_input_embeddings().weight.data.add_(0.01)
    with pytest.raises(AssertionError):  # other weights, other vectors
        map_english(own, english, teacher, None, few)
