"""What a static student starts with: the teacher's words, and subwords among the words that they translate."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from english_teacher import COLORS, NOUNS, bitext, save_teacher
from torch.nn import functional as F

from kivuko.bitext.pairs import Bitext, Pair
from kivuko.encoders.model import assemble, encode_texts
from kivuko.encoders.teacher import load_teacher
from kivuko.encoders.vocabulary import add_words, train_vocabulary
from kivuko.errors import ModelError
from kivuko.training.initialization import sentence_groups, started_student, teacher_words, unit_vectors, whole_words
from kivuko.training.recipe import Start, load_recipe

WORDS = {**COLORS, **NOUNS}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return load_teacher(save_teacher(tmp_path_factory.mktemp("teacher")))


@pytest.fixture(scope="module")
def vocabulary():
    # Every word whole: the words are said to the trainer often enough.
    return add_words(train_vocabulary([pair.text for pair in bitext()], 60), WORDS)


def started(vocabulary, teacher, bitext_=None, **start):
    torch.manual_seed(0)
    recipe = replace(load_recipe("mse"), start=Start(**start))
    return started_student(vocabulary, bitext_ or bitext(), teacher, recipe).eval()


def centered(teacher, words):
    return unit_vectors(teacher, words) - teacher_words(teacher).mean


@torch.no_grad()
def cosine(student, text, vector):
    return float(F.cosine_similarity(student.encode_tokens([text]).pooled[0], vector, dim=0))


def test_whole_words_are_lower_case_latin_and_one_token_each(teacher):
    assert whole_words(teacher.model.tokenizer) == sorted([*WORDS.values(), "kenya", "zebra"])


def test_teacher_words_are_centered_on_their_mean_and_read_again_from_the_cache(teacher):
    known = teacher_words(teacher)
    assert known.vectors.mean(0).abs().max() < 1e-6
    torch.testing.assert_close(known.vectors + known.mean, unit_vectors(teacher, known.words))
    assert teacher_words(teacher) is known


def test_a_transplanted_word_starts_at_the_word_it_translates(teacher, vocabulary):
    student = started(vocabulary, teacher, vectors="transplant", regularization=0.3)
    for word, english in WORDS.items():
        nearest = max(WORDS.values(), key=lambda other: cosine(student, word, centered(teacher, [other])[0]))
        assert nearest == english
        assert cosine(student, word, centered(teacher, [english])[0]) > 0.95


def test_a_word_starts_at_the_word_that_ibm_model_1_aligns_it_with(teacher, vocabulary):
    student = started(vocabulary, teacher, vectors="transplant", aligner="ibm1")
    for word, english in WORDS.items():
        assert cosine(student, word, centered(teacher, [english])[0]) > 0.9


def test_only_sentences_have_an_order_that_says_something():
    long, short = "the virus spread quickly among people in every city after march", "grinning face"
    texts = [("sw", long), ("mr", short), ("so", long), ("sw", short)]
    bitext = Bitext(tuple(Pair(code, f"neno {n}", english, "test") for n, (code, english) in enumerate(texts)))
    assert sentence_groups(bitext) == [-1, -1, 0, -1]  # Swahili: 6.5 words on the average


def test_without_positions_ibm_model_2_is_model_1(teacher, vocabulary):
    blind = started(vocabulary, teacher, vectors="transplant", aligner="ibm2", positions=False)
    plain = started(vocabulary, teacher, vectors="transplant", aligner="ibm1")
    assert torch.equal(blind.embedding.weight, plain.embedding.weight)


def test_counting_alone_starts_further_off(teacher, vocabulary):
    planned = started(vocabulary, teacher, vectors="transplant", regularization=0.3)
    counted = started(vocabulary, teacher, vectors="transplant", aligner="counts")

    def mean(student):
        return sum(cosine(student, w, centered(teacher, [e])[0]) for w, e in WORDS.items()) / len(WORDS)

    assert mean(planned) > mean(counted) + 0.1


def test_the_teachers_words_keep_its_vectors_in_the_model_too(teacher, vocabulary):
    student = started(vocabulary, teacher, teacher_words=True)
    model = assemble(student, None)
    for word in ("kenya", "zebra", "cat"):  # in no text of the bitext
        assert student.tokenize(word) == [f"▁{word}"]
        assert cosine(student, word, centered(teacher, [word])[0]) > 1 - 1e-5
        torch.testing.assert_close(
            torch.from_numpy(encode_texts(model, [word])[0]), F.normalize(centered(teacher, [word])[0], dim=0)
        )


def test_only_words_that_the_texts_use_learn(teacher, vocabulary):
    texts = Bitext((*bitext().pairs, Pair("sw", "paka kenya", "kenya cat", "test")))
    student = started(vocabulary, teacher, texts, teacher_words=True)
    learns = student.embedding.num_embeddings
    tokens = [student.tokenizer.id_to_token(number) for number in range(student.tokenizer.get_vocab_size())]
    assert "▁kenya" in tokens[:learns]
    assert "▁zebra" in tokens[learns:]
    student.train()
    before = student.fixed.clone()
    loss = student.encode_tokens(["paka kenya zebra"]).pooled.sum()
    loss.backward()
    moved = student.embedding.weight.grad.norm(dim=1) > 0
    assert [tokens[number] for number in moved.nonzero()[:, 0]] == ["▁paka", "▁kenya"]
    torch.testing.assert_close(student.fixed, before)


def test_the_plain_start_is_the_plain_student(teacher, vocabulary):
    plain, scaled = started(vocabulary, teacher), started(vocabulary, teacher, scale=0.25)
    assert len(plain.fixed) == 0
    assert float(plain.embedding.weight.detach().norm(dim=1).mean()) == pytest.approx(1.0, abs=0.1)
    torch.testing.assert_close(scaled.embedding.weight, 0.25 * plain.embedding.weight)


def test_spelling_settles_what_counts_leave_open(teacher):
    lone = Bitext((Pair("sw", "kenyaa zebraa", "zebra kenya", "test"),))
    vocabulary = add_words(train_vocabulary([pair.text for pair in lone] * 3, 30), ["kenyaa", "zebraa"])
    open_, settled = (
        started(vocabulary, teacher, lone, vectors="transplant", spelling=weight) for weight in (0.0, 5.0)
    )
    kenya, zebra = centered(teacher, ["kenya", "zebra"])
    assert cosine(open_, "kenyaa", kenya) == pytest.approx(cosine(open_, "kenyaa", zebra), abs=0.2)
    assert cosine(settled, "kenyaa", kenya) > 0.95 > 0.5 > cosine(settled, "kenyaa", zebra)


def test_a_teacher_without_whole_words_is_refused(teacher, monkeypatch):
    monkeypatch.setattr("kivuko.training.initialization._known", {})
    monkeypatch.setattr("kivuko.training.initialization.whole_words", lambda tokenizer: [])
    with pytest.raises(ModelError, match="set teacher_words = false"):
        teacher_words(teacher)
