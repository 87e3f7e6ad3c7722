"""The multi-vector encoder: the student's and the teacher's own tokens, in a folder that loads without Kivuko."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from encoded_tokens import encoded_tokens
from torch.nn import functional as F

from kivuko.encoders.model import About, load_encoder, save_model
from kivuko.encoders.multi_vector import assemble_multi_vector, maxsim, save_multi_vector, token_lists
from kivuko.encoders.student import StaticStudent, load_transformer_student, small_transformer
from kivuko.encoders.teacher import load_teacher
from kivuko.encoders.vocabulary import train_vocabulary
from kivuko.errors import ModelError

TEXTS = ["paka anakula samaki mtoni", "the cat eats", "मांजर मासा खातो", "", "paka xyz ☃", "mtoni " * 9]
ENGLISH = ["a ferry crosses the river", "", "cats eats a zebra.", "the fish " * 20]
ABOUT = About("tiny-teacher", "somewhere", "static", "optical", 3, {"sw": 5, "mr": 2})


@pytest.fixture(scope="module")
def teacher(tiny_sentence_transformer):
    return load_teacher(tiny_sentence_transformer)


@pytest.fixture(scope="module")
def mean():
    return torch.randn(32, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module", params=["static", "same width", "projected", "small"])
def student(request, tiny_bert, tiny_xlm_roberta):
    torch.manual_seed(0)
    match request.param:
        case "static":
            return StaticStudent(train_vocabulary(TEXTS * 3, size=80), 32).eval()
        case "same width":
            return load_transformer_student(tiny_bert, 32).eval()
        case "projected":
            return load_transformer_student(tiny_xlm_roberta, 32).eval()
        case _:
            return small_transformer(train_vocabulary(TEXTS * 3, size=80), 32, layers=1, width=16).eval()


def load(folder):
    from sentence_transformers import MultiVectorEncoder

    return MultiVectorEncoder(str(folder), device="cpu")


def own_tokens(encoder, texts, mean=None):
    """The content tokens of each text, one text at a time, centered and of unit length."""
    result = []
    for text in texts:
        with torch.no_grad():
            tokens = encoder.encode_tokens([text]).content()
        result.append(F.normalize(tokens if mean is None else tokens - mean, dim=-1))
    return result


def same(result, expected):
    assert [len(one) for one in result] == [len(one) for one in expected]
    for one, other in zip(result, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


@pytest.mark.parametrize("centered", [(), ("queries", "documents"), ("queries",), ("documents",)])
def test_it_gives_the_tokens_of_student_and_teacher(student, teacher, mean, centered, tmp_path):
    first, second = mean if "queries" in centered else None, 2 * mean if "documents" in centered else None
    save_multi_vector(tmp_path / "encoder", student, teacher, query_mean=first, document_mean=second)
    encoder = load(tmp_path / "encoder")
    queries, documents = encoder.encode_query(TEXTS), encoder.encode_document(ENGLISH)
    same(queries, own_tokens(student, TEXTS, first))
    same(documents, own_tokens(teacher, ENGLISH, second))
    same(encoder.encode_query([""]), own_tokens(student, [""]))
    same(encoder.encode(ENGLISH), documents)
    assert encoder.get_embedding_dimension() == 32
    result = encoder.similarity(queries, documents)
    filled = [row for row, one in enumerate(documents) if len(one)]
    expected = maxsim(encoded_tokens(student, TEXTS, first), encoded_tokens(teacher, ENGLISH, second))
    torch.testing.assert_close(result[:, filled], expected[:, filled], atol=1e-4, rtol=0)
    assert result[3, filled].tolist() == [0, 0, 0], "a text without a token tells nothing apart"
    torch.testing.assert_close(maxsim(token_lists(queries), token_lists(documents)), expected, atol=1e-4, rtol=0)


def test_a_finished_model_gives_the_same_as_its_student(student, teacher, mean, tmp_path):
    save_model(tmp_path / "model", student, None, ABOUT, "card")
    save_multi_vector(tmp_path / "encoder", load_encoder(tmp_path / "model"), teacher, query_mean=mean, about=ABOUT)
    same(load(tmp_path / "encoder").encode_query(TEXTS), own_tokens(student, TEXTS, mean))


def test_a_model_with_images_has_its_text_side_taken(teacher, tiny_image_tower, tmp_path):
    student = StaticStudent(train_vocabulary(TEXTS * 3, size=80), 12).eval()
    save_model(tmp_path / "model", student, tiny_image_tower.to_sentence_transformer(), ABOUT, "card")
    with pytest.raises(ModelError, match="the model's tokens 12, those of tiny-teacher 32"):
        save_multi_vector(tmp_path / "encoder", load_encoder(tmp_path / "model"), teacher)
    assert not (tmp_path / "encoder").exists()


def test_it_loads_without_kivuko_and_as_the_card_says(teacher, mean, tmp_path):
    student = StaticStudent(train_vocabulary(TEXTS * 3, size=80), 32).eval()
    folder = tmp_path / "encoder"
    save_multi_vector(folder, student, teacher, query_mean=mean, document_mean=mean, about=ABOUT)
    card = (folder / "README.md").read_text("utf-8")
    assert card.startswith("---\nlanguage:\n- sw\n- mr\nlibrary_name: sentence-transformers\n")
    assert "recipe `optical`, student static, seed 3" in card
    snippet = card.split("```python\n")[1].split("```")[0].replace("path/to/this/folder", str(folder))
    assert len(snippet.splitlines()) == 5
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.modules['kivuko'] = None\n{snippet}"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("tensor([[")
    content = json.loads((folder / "kivuko-multi-vector.json").read_text("utf-8"))
    assert (content["teacher"], content["centered"]) == ("tiny-teacher", ["queries", "documents"])
    assert "taken from those of queries and documents first" in card


def test_model_and_teacher_stay_as_they_are(teacher, tmp_path, tiny_xlm_roberta):
    student = load_transformer_student(tiny_xlm_roberta, 32).eval()
    save_model(tmp_path / "model", student, None, ABOUT, "card")
    model = load_encoder(tmp_path / "model")
    before = model.encode(TEXTS), teacher.model.encode(ENGLISH)
    assemble_multi_vector(model, teacher)
    assert (model.encode(TEXTS) == before[0]).all()
    assert (teacher.model.encode(ENGLISH) == before[1]).all()


def test_long_queries_are_cut_for_the_static_student_and_no_shorter(teacher, tmp_path):
    student = StaticStudent(train_vocabulary(TEXTS * 3, size=80), 32).eval()
    encoder = assemble_multi_vector(student, teacher)
    (result,) = encoder.encode_query(["paka " * 1500])
    (whole,) = own_tokens(student, ["paka " * 1500])
    assert len(result) == 1024 < len(whole)
    torch.testing.assert_close(result, whole[:1024], atol=1e-5, rtol=0)


def test_what_is_not_ours_is_not_replaced(teacher, tmp_path):
    student = StaticStudent(train_vocabulary(TEXTS * 3, size=80), 32).eval()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("years")
    (tmp_path / "file").write_text("years")
    save_model(tmp_path / "model", student, None, ABOUT, "card")
    for name in ("full", "file", "model"):
        with pytest.raises(ModelError, match="not a multi-vector encoder of Kivuko's; nothing was replaced") as caught:
            save_multi_vector(tmp_path / name, student, teacher)
        assert "\n" not in str(caught.value)
    assert (tmp_path / "full" / "thesis.tex").read_text() == "years"
    for _ in range(2):
        save_multi_vector(tmp_path / "encoder", student, teacher)
    assert not list(tmp_path.glob(".*")), "nothing temporary is left"


def test_a_failure_leaves_what_stood_there(teacher, tmp_path, monkeypatch):
    student = StaticStudent(train_vocabulary(TEXTS * 3, size=80), 32).eval()
    save_multi_vector(tmp_path / "encoder", student, teacher)
    monkeypatch.setattr("kivuko.encoders.multi_vector._card", lambda *_: 1 / 0)
    with torch.no_grad():
        student.embedding.weight.mul_(-1)
    with pytest.raises(ZeroDivisionError):
        save_multi_vector(tmp_path / "encoder", student, teacher)
    same(load(tmp_path / "encoder").encode_query(TEXTS[:1]), [-one for one in own_tokens(student, TEXTS[:1])])
    assert [file.name for file in tmp_path.iterdir()] == ["encoder"]


def test_a_mean_of_another_width_and_models_without_tokens_are_refused(teacher, image_tower_folder):
    student = StaticStudent(train_vocabulary(TEXTS * 3, size=80), 32).eval()
    with pytest.raises(ModelError, match="those of tiny-teacher 32, the document mean 5"):
        assemble_multi_vector(student, teacher, document_mean=torch.zeros(5))
    with pytest.raises(ModelError, match="gives no token vectors"):
        assemble_multi_vector(load_encoder(image_tower_folder), teacher)
