"""The validation score against values worked out by hand."""

from __future__ import annotations

import pytest
import torch
from tiny_run import WordTeacher

from kivuko.bitext.pairs import Bitext, Pair
from kivuko.encoders.token_batch import TokenBatch
from kivuko.training.student_training import Validation
from kivuko.training.teacher_vectors import teacher_vectors

GALLERY = torch.eye(4)


class Told:
    """A student that gives each text the vector it was told."""

    def __init__(self, **vectors):
        self.vectors = {text: torch.tensor(vector) for text, vector in vectors.items()}
        self.asked = []

    def encode_tokens(self, texts):
        self.asked.append(len(texts))
        vectors = torch.stack([self.vectors[text] for text in texts])
        return TokenBatch(vectors[:, None], torch.ones(len(texts), 1, dtype=torch.bool), vectors)


def validation(**languages):
    return Validation(
        {language: list(targets) for language, targets in languages.items()},
        {language: torch.tensor(list(targets.values())) for language, targets in languages.items()},
        GALLERY,
    )


def test_mean_reciprocal_rank_by_hand():
    student = Told(first=[9.0, 0.0, 0.0, 0.0], second=[0.5, 0.9, 0.1, 0.0], fourth=[0.4, 0.3, 0.2, 0.1])
    assert validation(sw={"first": 0}).score(student) == 1
    assert validation(sw={"second": 0}).score(student) == 1 / 2
    assert validation(sw={"fourth": 3}).score(student) == 1 / 4
    assert validation(sw={"first": 0, "second": 0, "fourth": 3}).score(student) == pytest.approx(
        (1 + 1 / 2 + 1 / 4) / 3
    )


def test_languages_count_alike_however_many_queries_they_have():
    student = Told(good=[1.0, 0.0, 0.0, 0.0], good2=[1.0, 0.0, 0.0, 0.0], bad=[0.4, 0.3, 0.2, 0.1])
    score = validation(sw={"good": 0, "good2": 0}, mr={"bad": 3}).score(student)
    assert score == pytest.approx((1 + 1 / 4) / 2)


def test_ties_count_against_the_student():
    student = Told(two=[1.0, 1.0, 0.0, 0.0], all=[1.0, 1.0, 1.0, 1.0], zero=[0.0, 0.0, 0.0, 0.0])
    assert validation(sw={"two": 0}).score(student) == 1 / 2
    assert validation(sw={"all": 0}).score(student) == 1 / 4
    assert validation(sw={"zero": 2}).score(student) == 1 / 4


def test_vectors_that_are_no_numbers_score_worst():
    assert validation(sw={"nan": 0}).score(Told(nan=[float("nan")] * 4)) == 1 / 4


def test_the_length_of_a_vector_does_not_matter():
    long, short = Told(text=[300.0, 400.0, 0.0, 0.0]), Told(text=[0.003, 0.004, 0.0, 0.0])
    assert validation(sw={"text": 0}).score(long) == validation(sw={"text": 0}).score(short) == 1 / 2


def test_many_queries_go_in_parts_and_all_count():
    texts = {f"t{i}": i % 4 for i in range(1100)}
    student = Told(**{text: GALLERY[row].tolist() for text, row in texts.items()})
    assert validation(sw=texts).score(student) == 1
    assert sum(student.asked) == 1100
    assert max(student.asked) <= 512


def test_no_queries_score_nothing():
    assert validation().score(Told()) == 0


def test_it_is_made_of_held_out_pairs_and_distractors(tmp_path):
    held_out = Bitext((Pair("sw", "paka", "cat", "1"), Pair("fi", "kissa", "cat", "2"), Pair("sw", "mbwa", "dog", "3")))
    teacher = WordTeacher()
    vectors = teacher_vectors(teacher, ["bird", "cat", "dog", "fish"], tmp_path)
    made = Validation.from_bitext(held_out, ["bird", "dog", "bird"], vectors)
    assert made.texts == {"sw": ["paka", "mbwa"], "fi": ["kissa"]}
    english = ["cat", "dog", "bird"]  # each once
    expected = torch.nn.functional.normalize(torch.stack([teacher.vector(word) for word in english]), dim=-1)
    torch.testing.assert_close(made.english, expected)
    assert {language: rows.tolist() for language, rows in made.targets.items()} == {"sw": [0, 1], "fi": [0]}


def test_a_perfect_translator_scores_one(tiny_run):
    teacher, english = WordTeacher(), {pair.text: pair.english for pair in tiny_run.held_out}

    class Translator:
        def encode_tokens(self, texts):
            return teacher.encode_tokens([english[text] for text in texts])

    assert tiny_run.validation.score(Translator()) == 1
