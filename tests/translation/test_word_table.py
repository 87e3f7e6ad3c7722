"""Word-by-word translation."""

from __future__ import annotations

import pytest

from kivuko.bitext import Bitext, Pair
from kivuko.errors import DataError, ModelError
from kivuko.translation.word_table import train_lexical

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
