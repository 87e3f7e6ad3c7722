"""Static students whose unknown words a multilingual encoder reads: how they are named, chosen, made and described."""

from __future__ import annotations

import pytest
from english_teacher import COLORS, NOUNS, bitext, save_teacher

import kivuko
from kivuko.encoders.word_reader import WORD_READER_FILE
from kivuko.errors import KivukoError, UsageError
from kivuko.training import student_training
from kivuko.training.recipe import load_recipe, parse_recipe
from kivuko.training.recipes import recipe_text
from kivuko.training.student_training import automatic_student, split_student

UNSEEN = {"punda": "zebra", "jogoo": "bird"}
OPTIONS = {"steps": 5, "vocabulary_size": 100, "validation_share": 0.3, "image_tower": "none"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    teacher = save_teacher(tmp_path_factory.mktemp("english"))
    return teacher, save_teacher(tmp_path_factory.mktemp("multilingual"), {**COLORS, **NOUNS, **UNSEEN})


@pytest.fixture
def scores(monkeypatch):
    """Let word vectors and the encoder count as better: a dozen pairs tell nothing of either."""

    def score(validation, student):
        return student.tokenizer.get_vocab_size() / 1e6 + (getattr(student, "reader", None) is not None) / 10

    monkeypatch.setattr(student_training.Validation, "score", score)


def test_it_is_made_saved_searched_and_described(folders, tmp_path, scores):
    teacher, encoder = folders
    model = kivuko.distill({"sw": bitext()}, tmp_path / "model", teacher=teacher, student=f"static+{encoder}",
                           progress=False, **OPTIONS)  # fmt: skip
    assert model.about.student == "static+teacher"
    assert (tmp_path / "model" / WORD_READER_FILE).is_file()
    assert "static+teacher" in (tmp_path / "model" / "README.md").read_text()
    zebra, black = model.encode_text(["punda", "mweusi"]) @ model.encode_text(["zebra"]).T
    assert zebra > 0.9 > black
    again = kivuko.load_model(tmp_path / "model", device="cpu")
    assert (again.encode_text(["punda"]) == model.encode_text(["punda"])).all()


def test_the_same_call_makes_nothing_again_and_another_student_does(folders, tmp_path, scores, capsys):
    teacher, encoder = folders
    for student, expected in ((f"static+{encoder}", False), (f"static+{encoder}", True), ("static", False)):
        kivuko.distill({"sw": bitext()}, tmp_path / "model", teacher=teacher, student=student, **OPTIONS)
        assert ("nothing to do" in capsys.readouterr().err) == expected
    assert not (tmp_path / "model" / WORD_READER_FILE).exists()


def test_an_encoder_that_does_not_help_is_left_out_and_said_so(folders, tmp_path, monkeypatch, capsys):
    teacher, encoder = folders
    monkeypatch.setattr(student_training.Validation, "score", lambda self, one: one.tokenizer.get_vocab_size() / 1e6)
    kivuko.distill({"sw": bitext()}, tmp_path / "model", teacher=teacher, student=f"static+{encoder}", **OPTIONS)
    assert "teacher: not kept" in capsys.readouterr().err
    assert kivuko.load_model(tmp_path / "model").about.student == "static"


@pytest.mark.parametrize("recipe", ["optical", "mse", "optical-robust"])
def test_a_recipe_without_word_vectors_takes_no_encoder(folders, tmp_path, recipe):
    with pytest.raises(UsageError, match=rf"student static\+.*{recipe} is another"):
        kivuko.distill({"sw": bitext()}, tmp_path / "model", teacher=folders[0], student=f"static+{folders[1]}",
                       recipe=recipe)  # fmt: skip
    assert not (tmp_path / "model").exists()


def test_words_are_read_by_neighbors_or_by_an_encoder_not_by_both():
    content, name, where = recipe_text("optical-words")
    both = parse_recipe(content.replace("\nwords = true", "\nwords = true\nneighbors = true"), name, where)
    with pytest.raises(UsageError, match="no neighbors"):
        split_student("static+encoder", both)


@pytest.mark.parametrize("name", ["", "no-such-folder/at-all/here"])
def test_an_encoder_that_is_not_there_is_one_line(folders, tmp_path, name):
    with pytest.raises(KivukoError) as caught:
        kivuko.distill({"sw": bitext()}, tmp_path / "model", teacher=folders[0], student=f"static+{name}", **OPTIONS)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "model").exists()


def test_the_automatic_student_is_what_is_installed_and_the_recipe_can_use(monkeypatch):
    words, plain = load_recipe("optical-words"), load_recipe("optical")
    monkeypatch.setenv("KIVUKO_STUDENT", "small")
    assert automatic_student(words) == "small"
    monkeypatch.delenv("KIVUKO_STUDENT")
    for here, expected in ((True, "static+multilingual-e5-small"), (False, "static")):
        monkeypatch.setattr(student_training, "e5_is_here", lambda here=here: here)
        assert automatic_student(words) == expected
        assert automatic_student(plain) == "static"
