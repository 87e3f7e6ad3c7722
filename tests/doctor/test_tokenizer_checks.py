"""How the tokenizer fits a language."""

from __future__ import annotations

from dataclasses import replace

import pytest
from patients import PAIRS, SENTENCES, SWAHILI, opened

from kivuko.bitext.pairs import Pair
from kivuko.doctor.finding import Examined, Sentences
from kivuko.doctor.tokenizer_checks import check_tokens, count_cuts
from kivuko.encoders.student import StaticStudent
from kivuko.encoders.vocabulary import train_vocabulary


def model_of(student):
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(modules=student.to_modules(), device="cpu")


def sentences(language, *texts):
    return Sentences(language, tuple(Pair(language, text, "x", "here") for text in texts), "sentences")


def test_whole_words_are_one_subword_each(healthy):
    cuts = count_cuts(healthy.encoder, [f"{SWAHILI[0]} {SWAHILI[1]}", SWAHILI[2]], "Latn")
    assert (cuts.fertility, cuts.words, cuts.unknown, cuts.merged, cuts.per_letter) == (1.0, 3, 0.0, 0.0, False)


def test_unknown_words_are_counted_each_once(healthy):
    cuts = count_cuts(healthy.encoder, [f"{SWAHILI[0]} zebra zebra", "Zebra"], "Latn")
    assert (cuts.words, cuts.unknown) == (2, 0.5)


def test_words_cut_to_letters():
    student = StaticStudent(train_vocabulary(["paka mbwa samaki"] * 3, size=30), 8)
    cuts = count_cuts(model_of(student), ["wkp kbs"], "Latn")  # no two letters that stand so in training
    assert cuts.fertility > 3
    assert cuts.in_letters == 1.0


def test_scripts_without_spaces_count_letters():
    student = StaticStudent(train_vocabulary(["แมวกินปลา"] * 3, size=40), 8)
    cuts = count_cuts(model_of(student), ["แมวกินปลา"], "Thai")
    assert cuts.per_letter
    assert 0 < cuts.fertility <= 1.5
    assert cuts.words == len({letter for letter in "แมวกินปลา" if letter.isalpha()})


def test_another_script_is_a_fault_where_the_model_claims_the_language(healthy):
    result = list(check_tokens(healthy, sentences("sw", "काळी मांजर", "मासा खातो")))
    assert [one.level for one in result] == ["fault"], "and what it says is not said again"
    assert result[0].figures["unknown"] == 1.0
    assert "100% of 4 words" in result[0].what
    (unknown,) = check_tokens(healthy, sentences("mr", "काळी मांजर", "मासा खातो"))
    assert unknown.level == "warning", "the model does not claim to know it"


def test_dropped_vowel_signs(tiny_bert, tmp_path):
    """A tokenizer that strips accents takes Devanagari's vowel signs for some."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    from transformers import AutoModel, BertTokenizer

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "कल", "मत"]
    AutoModel.from_pretrained(tiny_bert).save_pretrained(tmp_path / "bert")
    BertTokenizer(vocab={word: i for i, word in enumerate(words)}, strip_accents=True).save_pretrained(
        tmp_path / "bert"
    )
    model = SentenceTransformer(modules=[Transformer(str(tmp_path / "bert")), Pooling(32)], device="cpu")
    result = list(check_tokens(Examined(tmp_path, model, None), sentences("mr", "केल मत", "कल मेत", "कुल मुत")))
    assert "read as another word" in result[0].what
    assert result[0].level == "warning"
    assert result[0].figures["merged"] == pytest.approx(4 / 6)  # six words, of which two are left


def test_long_sentences_are_counted(tiny_bert, tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    model = SentenceTransformer(modules=[Transformer(str(tiny_bert), max_seq_length=6), Pooling(32)], device="cpu")
    assert count_cuts(model, ["paka " * 4, "paka " * 5], "Latn").too_long == 0.5  # two special tokens are counted
    model.encode(["paka " * 9])  # which switches cutting on in the tokenizer that is looked at
    result = list(check_tokens(Examined(tmp_path, model, None), sentences("sw", "paka " * 4, "paka " * 5)))
    assert any("longer than the model reads" in one.what and one.level == "warning" for one in result)


def test_a_tokenizer_that_cuts_otherwise_than_in_training(healthy):
    changed = replace(healthy, about=replace(healthy.about, fertility={"sw": 2.5}))
    result = list(check_tokens(changed, SENTENCES))
    assert [one.level for one in result] == ["warning"]
    assert "2.50 in training" in result[0].what
    assert [one.level for one in check_tokens(healthy, SENTENCES)] == ["ok"]


def test_sentences_are_spread_and_of_different_english():
    doubled = Sentences("sw", (*PAIRS, *PAIRS), "x")
    assert len(doubled.some(1000)) == len(PAIRS)
    assert doubled.some(4) == tuple(PAIRS[place] for place in (0, 20, 40, 60))
    assert doubled.texts() == list(dict.fromkeys(SWAHILI))


def test_a_hidden_tokenizer_is_noted(healthy_folder):
    subject = opened(healthy_folder)
    subject.encoder[0].sub_modules["text"][0].tokenizer = object()
    assert [one.level for one in check_tokens(subject, SENTENCES)] == ["note"]
