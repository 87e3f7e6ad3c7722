"""From a job to a trained student: what the recipe's tables make of it."""

from __future__ import annotations

import pytest
from tiny_run import RECIPE, TinyRun, WordTeacher

from kivuko.encoders.model import load_encoder, save_model
from kivuko.training import student_training as running
from kivuko.training.recipe import parse_recipe
from kivuko.training.student_training import Job, train_student


class Teacher(WordTeacher):
    prompt = None
    source = "words"


@pytest.fixture
def train(tmp_path, monkeypatch):
    """Train on the tiny bitext with a recipe's further tables; also says how many queries selected the step."""
    monkeypatch.setenv("KIVUKO_CACHE", str(tmp_path / "cache"))
    tiny, asked = TinyRun(tmp_path / "teacher"), []
    original = running.Validation.from_bitext

    def counting(held_out, *rest):
        asked.append([pair.text for pair in held_out.pairs])
        return original(held_out, *rest)

    monkeypatch.setattr(running.Validation, "from_bitext", counting)

    def run(tables: str = ""):
        recipe = parse_recipe(RECIPE + tables, "tiny", "tiny.toml")
        return train_student(Job(tiny.bitext, tiny.held_out, recipe, vocabulary_size=120), Teacher()), asked[-1]

    return run


def test_neighbors_come_from_the_training_sentences_alone(train, tmp_path):
    trained, _ = train("[student]\nneighbors = true\n")
    spelling = trained.student.reader
    assert spelling is not None
    assert {"paka", "anakula", "kissa"} <= set(spelling.words)
    assert spelling.languages == ("sw", "fi")
    save_model(tmp_path / "model", trained.student, None, trained.about, "card")
    assert load_encoder(tmp_path / "model")[0].sub_modules["text"][0].reader.words


def test_without_the_entry_nothing_reads_misspelled_words(train, tmp_path):
    trained, asked = train()
    assert trained.student.reader is None
    assert len(asked) == 8
    save_model(tmp_path / "model", trained.student, None, trained.about, "card")
    assert not (tmp_path / "model" / "spelling.json").exists()


def test_a_student_that_learns_misspelled_is_selected_on_misspelled_too(train):
    _, asked = train('[augmentation]\nkinds = ["typo"]\ncopies = 2\n')
    clean, misspelled = asked[:8], asked[8:]
    assert len(misspelled) == 16
    assert set(misspelled) - set(clean)
