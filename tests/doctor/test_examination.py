"""The whole examination: a healthy model has nothing against it, and each sickness is named."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
import torch
from patients import SENTENCES, grow_tokenizer, levels, make_model, shuffle_tokenizer, text_folder
from safetensors.torch import load_file, save_file

from kivuko.doctor.examination import examine
from kivuko.doctor.finding import Finding, worst_level
from kivuko.errors import ImageIndexError, ModelError
from tiny_clip import save_clip


@pytest.fixture
def sick(healthy_folder, tmp_path):
    """A copy of the healthy model, to be made sick."""
    return shutil.copytree(healthy_folder, tmp_path / "sick")


def of(findings, check):
    return [one for one in findings if one.check == check]


def examined(folder, **options):
    return examine(folder, languages=["sw"], bitext={"sw": SENTENCES}, **options)


def test_a_healthy_model_and_its_index(healthy_folder, healthy_index):
    result = examined(healthy_folder, index=healthy_index)
    # The tower's weights are random, so captions are far from their images; all else is well.
    assert [one.check for one in result if one.level in ("warning", "fault")] == ["captions"]
    assert {"loading", "training", "weights", "vocabulary", "widths", "tokens", "vectors", "casing", "agreement",
            "index"} <= {one.check for one in result if one.level == "ok"}  # fmt: skip
    (agreement,) = of(result, "agreement")
    assert agreement.figures["R@1"] == 1.0
    assert agreement.figures["own"] == pytest.approx(1.0, abs=1e-5)
    assert agreement.language == "sw"
    assert all("\n" not in one.what + one.do for one in result)
    assert all(one.do for one in result if one.level in ("warning", "fault"))


def test_a_wrong_tokenizer_of_the_right_size(sick):
    """It gives vectors, no error, and chance."""
    shuffle_tokenizer(sick)
    (result,) = of(examined(sick), "agreement")
    assert result.level == "fault"
    assert "no better than chance" in result.what
    assert "tokenizer" in result.do
    assert result.figures["R@1"] < 0.06


def test_a_wrong_tokenizer_of_another_size(sick):
    grow_tokenizer(sick, 5)
    (result,) = of(examined(sick), "vocabulary")
    assert result.level == "fault"
    assert result.figures == {"entries": 87, "rows": 82}
    assert "wrong tokenizer" in result.what


def test_fewer_entries_than_weights(sick):
    grow_tokenizer(sick, -3)
    assert levels(examined(sick), "vocabulary") == ["warning"]


def test_weights_that_are_no_numbers(sick):
    file = text_folder(sick) / "model.safetensors"
    weights = load_file(file)
    weights["embedding.weight"][10, 3] = float("nan")
    save_file(weights, file)
    result = examined(sick)
    (weight,) = of(result, "weights")
    assert weight.level == "fault"
    assert "embedding.weight" in weight.what
    assert of(result, "vectors")[0].level == "fault"


def test_weights_of_zeros(sick):
    file = text_folder(sick) / "model.safetensors"
    save_file({"embedding.weight": torch.zeros_like(load_file(file)["embedding.weight"])}, file)
    result = examined(sick)
    assert levels(result, "weights") == ["warning"]
    assert of(result, "vectors")[0].level == "fault"
    assert levels(result, "agreement") == ["fault"]


def test_a_collapsed_model(sick):
    file = text_folder(sick) / "model.safetensors"
    weights = load_file(file)["embedding.weight"]
    save_file({"embedding.weight": 50 + weights}, file)
    assert "collapsed" in of(examined(sick), "vectors")[0].what
    assert worst_level(examined(sick)) == "fault"


def test_a_model_that_does_not_load_is_a_fault(sick):
    (text_folder(sick) / "model.safetensors").write_bytes(b"no weights")
    result = examined(sick)
    assert [(one.level, one.check) for one in result] == [("fault", "files"), ("fault", "loading")]
    assert str(sick) in result[0].what


@pytest.mark.parametrize(
    "name",
    ["words.json", "spelling.json", "kivuko.json", "token_mean.safetensors", "tokenizer.json", "router_config.json",
     "model.safetensors", "word_table.json", "word_reader.safetensors"],
)  # fmt: skip
def test_each_damaged_file_is_named_once(sick, name):
    for file in [*sick.rglob(name)] or [sick / name]:
        file.write_bytes(b'{"counts": 3')
    (sick / "README.md").write_bytes(b"\xff")  # not read
    result = examined(sick)
    assert any(name in one.what for one in of(result, "files"))
    for one in of(result, "files"):
        assert one.level == "fault"
        assert one.do
        assert sum(one.what in other.what for other in result) == 1


def test_several_damaged_files_are_all_named(sick):
    for name in ("words.json", "spelling.json"):
        (sick / name).write_text("{")
    assert [one.what.split("/")[-1].split(":")[0] for one in of(examined(sick), "files")] == [
        "spelling.json",
        "words.json",
    ]


def test_damaged_words_about_the_model_are_a_fault(sick):
    (sick / "kivuko.json").write_text("{")
    result = examined(sick)
    assert [one.check for one in result if one.level == "fault"] == ["files", "loading"]
    assert "kivuko.json" in result[0].what


def test_a_check_that_breaks_is_a_fault_and_the_others_go_on(sick, monkeypatch):
    from kivuko.doctor import examination

    def breaks(*_):
        raise IndexError("index out of range\nin self")

    checks = [replace(one, run=breaks) if one.name == "tokens" else one for one in examination.CHECKS]
    monkeypatch.setattr(examination, "CHECKS", checks)
    result = examined(sick)
    (broken,) = of(result, "tokens")
    assert (broken.level, "index out of range" in broken.what, "\n" in broken.what) == ("fault", True, False)
    assert levels(result, "agreement") == ["ok"]


@pytest.mark.parametrize("content", [None, "empty"])
def test_what_is_no_model_is_refused(tmp_path, content):
    if content:
        (tmp_path / "none").mkdir()
    with pytest.raises(ModelError, match=r"none: (no such model|not a model) folder"):
        examined(tmp_path / "none")


def test_a_clip_in_the_layout_of_transformers(tmp_path):
    folder = save_clip(tmp_path / "clip")
    result = examined(folder, teacher=str(folder))
    assert levels(result, "loading") == levels(result, "weights") == levels(result, "vocabulary") == ["ok"]
    (widths,) = of(result, "widths")
    assert set(widths.figures.values()) == {24}
    assert {"text", "images"} < set(widths.figures)


def test_a_late_interaction_model_is_refused(healthy_folder, tmp_path):
    folder = shutil.copytree(healthy_folder, tmp_path / "many")
    (folder / "config_sentence_transformers.json").write_text('{"model_type": "MultiVectorEncoder"}')
    with pytest.raises(ModelError, match="late-interaction"):
        examined(folder)


def test_a_index_that_is_not_there_is_refused(healthy_folder, tmp_path):
    with pytest.raises(ImageIndexError, match="no such index"):
        examined(healthy_folder, index=tmp_path / "none.index")


def test_a_teacher_that_is_gone(healthy_folder, teacher_folder, tmp_path):
    teacher = shutil.copytree(teacher_folder, tmp_path / "teacher")
    folder = make_model(tmp_path / "model", teacher)
    shutil.rmtree(teacher)
    result = of(examined(folder), "agreement")
    assert [one.level for one in result] == ["warning"]
    assert "--teacher" in result[0].do
    assert levels(examined(folder, teacher=str(teacher_folder)), "agreement") == ["ok"]
    with pytest.raises(ModelError, match="no such model folder"):
        examined(folder, teacher=str(teacher))


def test_the_worst_level():
    result = [Finding(level, "x", "y") for level in ("note", "fault", "ok", "warning")]
    assert worst_level(result) == "fault"
    assert worst_level([]) == "ok"
