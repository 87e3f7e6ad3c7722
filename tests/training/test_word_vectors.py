"""Whole words in the vocabulary of a trained static student."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch
from english_teacher import COLORS, NOUNS, bitext, save_teacher
from torch.nn import functional as F

from kivuko.bitext.pairs import NO_PAIRS, Bitext, Pair
from kivuko.encoders.student import StaticStudent
from kivuko.encoders.teacher import load_teacher
from kivuko.encoders.vocabulary import train_vocabulary
from kivuko.training import word_vectors
from kivuko.training.initialization import teacher_words, unit_vectors
from kivuko.training.recipe import Start, load_recipe
from kivuko.training.word_vectors import add_word_vectors

DICTIONARY = Bitext(
    (
        Pair("sw", "punda", "zebra", "dict"),
        Pair("sw", "jogoo", "bird", "dict"),
        Pair("sw", "paka", "cat", "dict"),
        Pair("sw", "mji mkuu", "kenya", "dict"),  # two words
    )
)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return load_teacher(save_teacher(tmp_path_factory.mktemp("teacher")))


@pytest.fixture
def student(teacher):
    torch.manual_seed(0)
    texts = [pair.text for pair in bitext().pairs]
    return StaticStudent(train_vocabulary(texts, 40), teacher.dim).eval()


def vocabulary_size(student):
    return student.tokenizer.get_vocab_size()


def with_words(student, teacher, dictionary=DICTIONARY, score=vocabulary_size, **start):
    return add_word_vectors(student, bitext(), dictionary, teacher, Start(**start), score)


@torch.no_grad()
def vector(student, text):
    return F.normalize(student.encode_tokens([text]).pooled, dim=-1)[0]


@torch.no_grad()
def size(student, text):
    return float(student.encode_tokens([text]).pooled.norm())


def nearest(student, teacher, text):
    words = [*COLORS.values(), *NOUNS.values(), "zebra", "kenya"]
    vectors = F.normalize(unit_vectors(teacher, words) - teacher_words(teacher).mean, dim=-1)
    return words[int((vectors @ vector(student, text)).argmax())]


def test_words_of_the_bitext_and_of_dictionaries_are_one_token_each(student, teacher):
    better, _, _ = with_words(student, teacher)
    for word in (*COLORS, *NOUNS, "punda", "jogoo"):
        assert better.tokenize(word) == [f"▁{word}"]
    pieces = better.tokenize("Paka MWEUSI, punda")
    assert [piece for piece in pieces if piece.strip("▁,")] == ["▁paka", "▁mweusi", "▁punda"]
    assert len(student.tokenize("punda")) > 1, "the student itself is left as it was"


def test_vectors_are_near_those_of_the_english_words(student, teacher):
    better, _, _ = with_words(student, teacher)
    found = {word: nearest(better, teacher, word) for word in (*COLORS, *NOUNS, "punda", "jogoo")}
    assert found == {**COLORS, **NOUNS, "punda": "zebra", "jogoo": "bird"}


def test_a_dictionary_is_what_tells_an_unseen_word(student, teacher):
    better, _, _ = with_words(student, teacher, NO_PAIRS)
    assert len(better.tokenize("punda")) > 1


def test_the_table_is_of_the_alignment_and_the_dictionary(student, teacher):
    _, table, _ = with_words(student, teacher)
    assert {word: next(iter(table.english("sw", word))) for word in (*COLORS, *NOUNS)} == {**COLORS, **NOUNS}
    assert table.english("sw", "punda") == {"zebra": 1.0}
    for word in table.entries["sw"]:
        assert 0 < sum(table.english("sw", word).values()) <= 1 + 1e-6


def test_the_score_decides_whether_and_how(student, teacher):
    same, _, reached = with_words(student, teacher, score=lambda one: 1.0)
    assert same is student
    assert reached == 1.0
    scores = iter([0.1, 0.2, 0.5, 0.3, 0.4])
    tried = []
    best, _, reached = with_words(student, teacher, score=lambda one: tried.append(one) or next(scores))
    assert len(tried) == 5
    assert best is tried[2]
    assert reached == 0.5
    without, tried[:] = 0, []
    with_words(student, teacher, NO_PAIRS, score=lambda one: tried.append(one) or float(without))
    assert len(tried) == 3, "the share of dictionaries is not tried where there are none"


def test_frequent_words_weigh_less(student, teacher):
    more = Bitext((*bitext().pairs, *(Pair("sw", "na na na na", "and", "more") for _ in range(20))))
    better, _, _ = add_word_vectors(
        student, more, NO_PAIRS, teacher, Start(), lambda one: len(one.tokenizer.get_vocab())
    )
    length = {word: size(better, word) for word in ("na", "paka", "mbwa")}
    counts = Counter(word for pair in more.pairs for word in pair.text.split())
    total = math.log(counts.total() + 2)
    for word in length:
        assert length[word] == pytest.approx((1 - math.log(counts[word] + 1) / total) ** 0.5, abs=1e-5)
    assert length["na"] < length["mbwa"] < length["paka"], "the cat is missing from one pair"


def test_unknown_words_weigh_about_as_much_as_known_ones(student, teacher):
    better, _, _ = with_words(student, teacher)
    whole, parts = (
        np.mean([len(better.tokenize(word)) * size(better, word) for word in words])
        for words in (("punda", "jogoo"), ("pakambwa", "ndegesamaki", "mwekunduweupe"))
    )
    assert 0.3 < parts / whole < 3


def test_a_vocabulary_at_most_doubles(student, teacher):
    letters = "abcdefghijklmnopqrstuvwxyz"
    many = Bitext(tuple(Pair("sw", f"x{a}{b}", "zebra", "dict") for a in letters for b in letters))
    better, table, _ = with_words(student, teacher, many)
    pieces = student.tokenizer.get_vocab_size()
    assert pieces < better.tokenizer.get_vocab_size() <= 2 * pieces
    kept = [word for word in table.entries["sw"] if word.startswith("x")]
    assert kept
    assert all(len(better.tokenize(word)) == 1 for word in kept)


def test_common_meanings_come_first(teacher, student):
    cut = word_vectors.word_cutter(student.tokenizer)
    pairs = [Pair("sw", "punda", "abcd efgh", "d"), Pair("sw", "paka", "zebra", "d"), Pair("sw", "mbwa", "black", "d")]
    listed = word_vectors._listed(student.tokenizer, Bitext(tuple(pairs)), cut, teacher)
    assert list(listed["sw"])[-1] == "punda"


def test_the_recipe_differs_from_optical_in_its_words_alone():
    words, plain = load_recipe("optical-words"), load_recipe("optical")
    assert words.start.words
    assert not plain.start.words
    assert [one.described() for one in words.terms] == [one.described() for one in plain.terms]
    assert words.schedule == plain.schedule
    assert vars(words.start) == {**vars(plain.start), "words": True}


def test_every_word_weighs_something_and_no_words_at_all_are_no_fault(student, teacher):
    more = Bitext((*bitext().pairs, Pair("so", "paka", "cat", "one word is all there is of this language")))
    better, _, _ = add_word_vectors(student, more, NO_PAIRS, teacher, Start(), vocabulary_size)
    assert size(better, "paka") > 0.3
    marks = Bitext((Pair("sw", "!!!?", "cat", "d"),))
    same, table, _ = add_word_vectors(student, marks, NO_PAIRS, teacher, Start(), vocabulary_size)
    assert same is student
    assert table.entries == {}


def test_rare_english_is_not_shown(student, teacher):
    _, table, _ = with_words(student, teacher)
    assert min(share for own in table.entries["sw"].values() for share in own.values()) >= 0.005
