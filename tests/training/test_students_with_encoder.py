"""Static students whose unknown words a multilingual encoder reads: how they are named, chosen, made and described."""

from __future__ import annotations

import numpy as np
import pytest
from english_teacher import COLORS, NOUNS, bitext, save_teacher

import kivuko
from kivuko.encoders.teacher import load_teacher
from kivuko.encoders.word_reader import WORD_READER_FILE
from kivuko.errors import CorruptFileError, KivukoError, UsageError
from kivuko.studies import low_resource
from kivuko.studies.demo import run_demo
from kivuko.studies.engine import run_study
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
    np.testing.assert_allclose(again.encode_text(["punda"]), model.encode_text(["punda"]), atol=1e-6)


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
    with pytest.raises(UsageError, match=rf"student static\+.*recipe {recipe} cannot use an encoder"):
        kivuko.distill({"sw": bitext()}, tmp_path / "model", teacher=folders[0], student=f"static+{folders[1]}",
                       recipe=recipe)  # fmt: skip
    assert not (tmp_path / "model").exists()


def test_words_are_read_by_neighbors_or_by_an_encoder_not_by_both():
    content, name, where = recipe_text("optical-words")
    both = parse_recipe(content.replace("\nwords = true", "\nwords = true\nneighbors = true"), name, where)
    with pytest.raises(UsageError, match="neighbors = false"):
        split_student("static+encoder", both)


@pytest.mark.parametrize("name", ["", "no-such-folder/at-all/here"])
def test_an_encoder_that_is_not_there_is_one_line(folders, tmp_path, name):
    with pytest.raises(KivukoError) as caught:
        kivuko.distill({"sw": bitext()}, tmp_path / "model", teacher=folders[0], student=f"static+{name}", **OPTIONS)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "model").exists()


def test_a_study_and_the_demo_say_what_they_take(tmp_path):
    for student in ("auto", "static+multilingual-e5-small"):
        with pytest.raises(UsageError, match="a study takes static"):
            run_study(low_resource.LOW_RESOURCE, records=tmp_path / "records.jsonl", student=student)
    for student, message in (("small", "the demo takes static"), ("static+", "name an encoder after the plus")):
        with pytest.raises(UsageError, match=message):
            run_demo(tmp_path / "demo", student=student)
    assert list(tmp_path.iterdir()) == []


def test_english_text_is_for_a_pretrained_student_whichever_way_it_is_chosen(folders, tmp_path, monkeypatch):
    english = ["a black cat", "a red bird"]
    for named in ("static", "static+anything"):
        monkeypatch.setenv("KIVUKO_STUDENT", named)
        with pytest.raises(UsageError, match="a static student has no projection"):
            kivuko.distill({"sw": bitext()}, tmp_path / "model", teacher=folders[0], english=english)


def test_another_encoder_in_the_same_folder_makes_another_model(folders, monkeypatch):
    teacher, encoder = load_teacher(folders[0]), f"static+{folders[1]}"
    job = student_training.Job(bitext(), bitext(), load_recipe("optical-words"), encoder)
    key = student_training.job_key(job, teacher)
    assert student_training.job_key(job, teacher) == key
    monkeypatch.setattr(student_training.word_encoder(str(folders[1])), "fingerprint", "another")
    assert student_training.job_key(job, teacher) != key


def test_a_resumed_training_fits_the_same_map(folders, tmp_path, scores):
    teacher = load_teacher(folders[0])
    recipe = load_recipe("optical-words").with_schedule(steps=3)
    job = student_training.Job(bitext(), bitext(), recipe, f"static+{folders[1]}", 100)
    first, resumed = (student_training.train_student(job, teacher, tmp_path / "steps") for _ in range(2))
    assert (first.student.reader.weight == resumed.student.reader.weight).all()


def test_the_automatic_student_is_what_is_installed_and_the_recipe_can_use(monkeypatch):
    words, plain = load_recipe("optical-words"), load_recipe("optical")
    monkeypatch.setenv("KIVUKO_STUDENT", "small")
    assert automatic_student(words) == "small"
    monkeypatch.delenv("KIVUKO_STUDENT")
    for here, expected in ((True, "static+multilingual-e5-small"), (False, "static")):
        monkeypatch.setattr(student_training, "e5_is_here", lambda here=here: here)
        monkeypatch.setattr(student_training, "word_encoder", lambda name: None)
        assert automatic_student(words) == expected
        assert automatic_student(plain) == "static"


def test_an_encoder_that_does_not_load_is_said_and_not_chosen(monkeypatch, capsys):
    def breaks(name):
        raise CorruptFileError(f"{name}: damaged.")

    monkeypatch.delenv("KIVUKO_STUDENT")
    monkeypatch.setattr(student_training, "e5_is_here", lambda: True)
    monkeypatch.setattr(student_training, "word_encoder", breaks)
    assert automatic_student(load_recipe("optical-words")) == "static"
    assert "multilingual-e5-small: damaged" in capsys.readouterr().err
