"""The vocabulary that is learned from the bitext."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from kivuko.encoders.vocabulary import PAD, UNKNOWN, train_vocabulary
from kivuko.errors import DataError, UsageError

TEXTS = [
    "paka anakula samaki", "mbwa anakula mkate", "mtoto anasoma kitabu", "मांजर मासा खाते", "कुत्रा पाव खातो",
    "kissa syö kalaa", "Кошка ест рыбу", "قطة تأكل السمك", "猫が魚を食べる", "a cat eats fish", "a dog eats bread",
]  # fmt: skip

_PRINT = (
    "import json, sys; from kivuko.encoders.vocabulary import train_vocabulary\n"
    "print(train_vocabulary(json.loads(sys.argv[1]), 150).to_str())"
)


@pytest.fixture(scope="module")
def vocabulary():
    return train_vocabulary(TEXTS * 3, size=250)


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_that_was_learned_comes_back(vocabulary, text):
    encoding = vocabulary.encode(text, add_special_tokens=False)
    assert vocabulary.token_to_id(UNKNOWN) not in encoding.ids
    assert vocabulary.decode(encoding.ids) == text.lower()


def test_common_words_are_cut_into_fewer_pieces_than_letters(vocabulary):
    assert len(vocabulary.encode("anakula", add_special_tokens=False).ids) <= 4


def test_texts_are_normalized(vocabulary):
    plain = vocabulary.encode("paka mkate", add_special_tokens=False).ids
    for variant in ("PAKA Mkate", "  paka \n\t mkate ", "ｐａｋａ mkate"):
        assert vocabulary.encode(variant, add_special_tokens=False).ids == plain


def test_punctuation_is_apart_from_words(vocabulary):
    learned = train_vocabulary(["paka, mbwa; samaki."] * 5, size=60)
    assert not any("," in token and len(token.strip("▁")) > 1 for token in learned.get_vocab())


def test_unknown_letters_are_unknown_and_nothing_is_nothing(vocabulary):
    assert vocabulary.encode("ჯ", add_special_tokens=False).ids[-1] == vocabulary.token_to_id(UNKNOWN) == 1
    assert vocabulary.encode(" ", add_special_tokens=False).ids == []
    assert vocabulary.token_to_id(PAD) == 0


def test_size_is_an_upper_bound():
    assert train_vocabulary(TEXTS * 3, size=120).get_vocab_size() <= 120
    assert train_vocabulary(["a"], size=1000).get_vocab_size() < 10


def test_the_same_texts_give_the_same_vocabulary_in_any_process(vocabulary):
    assert train_vocabulary(TEXTS * 3, size=250).to_str() == vocabulary.to_str()
    environment = os.environ | {"RAYON_NUM_THREADS": "4", "PYTHONHASHSEED": "5"}
    command = [sys.executable, "-c", _PRINT, json.dumps(TEXTS)]
    elsewhere = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60).stdout
    assert elsewhere.strip() == train_vocabulary(TEXTS, 150).to_str()


@pytest.mark.parametrize("before", [None, "true"])
def test_the_users_thread_setting_is_put_back(monkeypatch, before):
    monkeypatch.delenv("TOKENIZERS_PARALLELISM", raising=False)
    if before:
        monkeypatch.setenv("TOKENIZERS_PARALLELISM", before)
    train_vocabulary(["paka"])
    assert os.environ.get("TOKENIZERS_PARALLELISM") == before


@pytest.mark.parametrize("texts", [[], [""], [" ", "\n"]])
def test_nothing_to_learn_from_is_refused(texts):
    with pytest.raises(DataError, match="no text to learn a vocabulary from"):
        train_vocabulary(texts)


def test_fewer_subwords_than_letters_are_refused():
    texts = ["".join(chr(0x4E00 + number) for number in range(200))]
    with pytest.raises(UsageError, match=r"100 subwords is too small for the 200 different characters"):
        train_vocabulary(texts, 100)
