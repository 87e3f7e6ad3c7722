"""Saved translators, and how they translate."""

from __future__ import annotations

import pytest

from kivuko.errors import ModelError, UsageError
from kivuko.translation.pretrained import load_translator


@pytest.fixture(scope="module")
def folder(trained, tmp_path_factory):
    place = tmp_path_factory.mktemp("saved") / "translator"
    trained[0].save(place)
    return place


def test_a_saved_translator_translates_the_same(trained, folder, toy):
    texts = [pair.text for pair in toy[1].by_language()["sw"]]
    assert load_translator(folder).translate(texts, "sw") == trained[0].translate(texts, "sw")


def test_the_folder_has_hugging_faces_own_layout(trained, folder):
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"} <= {
        file.name for file in folder.iterdir()
    }
    model, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    written = model.generate(**tokenizer([">>sw<< paka nyeusi"], return_tensors="pt", return_token_type_ids=False))
    assert tokenizer.batch_decode(written, skip_special_tokens=True) == trained[0].translate(["paka nyeusi"], "sw")


def test_order_and_empty_texts_are_kept(trained):
    translator, _, _ = trained
    texts = ["simba ndogo", "", "paka nyeusi kubwa", "  ", "mbwa"]
    found = translator.translate(texts, "sw")
    assert [bool(text) for text in found] == [True, False, True, False, True]
    for text, translation in zip(texts, found, strict=True):
        assert translator.translate([text], "sw") == [translation], "a text's company must not matter"
    assert translator.translate([], "sw") == []


def test_batches_do_not_matter(trained, toy):
    translator, _, _ = trained
    texts = [pair.text for pair in toy[1].by_language()["so"]]
    before = translator.translate(texts, "so")
    try:
        translator.batch_size = 2
        assert translator.translate(texts, "so") == before
    finally:
        translator.batch_size = 64


def test_other_codes_of_the_language_are_taken_and_other_languages_refused(trained):
    translator, _, _ = trained
    assert translator.translate(["paka nyeusi"], "swh") == translator.translate(["paka nyeusi"], "sw")
    with pytest.raises(ModelError, match=r"trained on sw, so, not mr"):
        translator.translate(["मांजर"], "mr")
    with pytest.raises(UsageError, match="unknown language code"):
        translator.translate(["paka"], "xx-nonsense")


def test_a_saved_translator_refuses_other_languages_too(folder):
    with pytest.raises(ModelError, match="not mr"):
        load_translator(folder).translate(["मांजर"], "mr")


def test_letters_never_seen_and_very_long_texts_are_no_error(trained):
    found = trained[0].translate(["ჯჯ", "paka " * 500], "sw")
    assert len(found) == 2


def test_something_else_is_never_replaced(trained, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("meow")
    with pytest.raises(ModelError, match="not a model folder; nothing was replaced"):
        trained[0].save(tmp_path / "photos")
    assert (tmp_path / "photos" / "cat.jpg").read_text() == "meow"
    (tmp_path / "file").write_text("text")
    with pytest.raises(ModelError, match="nothing was replaced"):
        trained[0].save(tmp_path / "file")


def test_an_older_translator_is_replaced_and_nothing_else_is_left(trained, folder, tmp_path):
    place = tmp_path / "translator"
    trained[0].save(place)
    trained[0].save(place)
    assert [file.name for file in tmp_path.iterdir()] == ["translator"]
    assert (place / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
