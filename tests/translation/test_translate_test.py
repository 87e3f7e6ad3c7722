"""Translate-test, word-by-word translation, and chrF."""

from __future__ import annotations

import numpy as np
import pytest

from kivuko.bitext.pairs import Bitext, Pair
from kivuko.errors import DataError, ModelError
from kivuko.translation.marian import chrf
from kivuko.translation.translate_test import LexicalTranslator, train_lexical, translate_test

WORDS = {"paka": "cat", "mbwa": "dog", "samaki": "fish"}
VECTORS = {"cat": [0.6, 0.8], "dog": [0.0, 1.0], "fish": [-1.0, 0.0], "": [0.0, 0.0]}


class WordList:
    """A translator that looks words up."""

    name = "word-list"

    def __init__(self):
        self.requests = []

    def translate(self, texts, language):
        self.requests.append((list(texts), language))
        return [WORDS.get(text, "") for text in texts]


def encode_english(texts):
    return np.array([VECTORS[text] for text in texts], dtype=np.float32).reshape(-1, 2)


def test_the_vectors_are_those_of_the_translations():
    translator = WordList()
    results = translate_test(translator, encode_english, "sw")(["samaki", "paka", "mbwa"])
    assert results.dtype == np.float32
    np.testing.assert_allclose(results, [[-1, 0], [0.6, 0.8], [0, 1]], rtol=1e-6)
    assert translator.requests == [(["samaki", "paka", "mbwa"], "sw")]


def test_an_empty_translation_stays_zero():
    np.testing.assert_array_equal(translate_test(WordList(), encode_english, "sw")(["nini"]), [[0, 0]])


def test_each_distinct_text_is_translated_once():
    translator = WordList()
    encode = translate_test(translator, encode_english, "sw")
    assert encode(["paka", "mbwa", "paka"]).shape == (3, 2)
    assert encode(["paka", "samaki"]).shape == (2, 2)
    assert [texts for texts, _ in translator.requests] == [["paka", "mbwa"], ["samaki"]]


def test_english_is_not_translated():
    translator = WordList()
    np.testing.assert_allclose(translate_test(translator, encode_english, "en")(["cat"]), [[0.6, 0.8]], rtol=1e-6)
    assert translator.requests == []


def test_a_trained_translator_finds_the_english_word(trained):
    def letters(texts):
        return np.array([[text.count("cat"), text.count("dog")] for text in texts], dtype=np.float32)

    encode = translate_test(trained[0], letters, "sw")
    np.testing.assert_allclose(encode(["paka nyeusi", "mbwa ndogo"]), np.eye(2), atol=1e-6)


def test_equal_texts_score_one_and_strangers_zero():
    assert chrf(["black cat", "dog"], ["Black  cat", "dog"]) == 1.0
    assert chrf(["xyz"], ["abc"]) == 0.0
    assert chrf([""], ["abc"]) == 0.0
    assert chrf([], []) == 0.0


def test_recall_counts_twice():
    # Of "abc" against "ab": unigrams P 2/3, R 1; bigrams P 1/2, R 1; F2 = 5PR / (4P + R).
    assert chrf(["abc"], ["ab"]) == pytest.approx((5 * 2 / 3 / (8 / 3 + 1) + 2.5 / 3) / 2)
    assert chrf(["abc"], ["ab"]) > chrf(["ab"], ["abc"]), "too much costs less than too little"


def test_counts_are_of_the_collection_and_clipped():
    assert chrf(["aa", "b"], ["a", "b"]) == pytest.approx(5 * 2 / 3 / (4 * 2 / 3 + 1))


NOUNS = {"paka": "cat", "mbwa": "dog", "ndege": "bird", "samaki": "fish"}
COLORS = {"mweusi": "black", "mwekundu": "red", "mweupe": "white"}


@pytest.fixture(scope="module")
def table():
    pairs = [
        Pair("sw", f"{noun} {color}", f"{english} {animal}", "test")
        for noun, animal in NOUNS.items()
        for color, english in COLORS.items()
        if (noun, color) != ("paka", "mwekundu")
    ]
    return train_lexical(Bitext((*pairs, Pair("fi", "kissa", "cat", "test"))))


def test_unseen_combinations_are_translated_in_the_order_they_stand(table):
    assert table.translate(["Paka mwekundu", "mweupe, samaki!"], "sw") == ["cat red", "white fish"]


def test_unknown_words_and_empty_texts_stay_as_they_are(table):
    assert table.translate(["paka Kenya", "", "?"], "sw") == ["cat kenya", "", ""]


def test_languages_have_tables_of_their_own(table):
    assert table.translate(["kissa paka"], "fi") == ["cat paka"]
    assert table.translate(["kissa"], "swh") == ["kissa"]  # another code of Swahili
    with pytest.raises(ModelError, match="no language 'mr'"):
        table.translate(["x"], "mr")


def test_an_empty_bitext_is_refused():
    with pytest.raises(DataError, match="empty"):
        train_lexical(Bitext(()))


@pytest.mark.parametrize("mark", ["'", "\u2019", "\u02bc", "\u2032", "`"])
def test_words_with_an_apostrophe_are_looked_up_whichever_is_written(mark):
    translator = LexicalTranslator({"fr": {"l'eau": "water", "verre": "glass"}})
    assert translator.translate([f"L{mark}eau verre inconnu"], "fr") == ["water glass inconnu"]
