"""Words said in English, by a table read off a bitext."""

from __future__ import annotations

import numpy as np
import pytest

from kivuko.bitext.pairs import Bitext, Pair
from kivuko.bitext.sampling import word_table
from kivuko.errors import DataError, UsageError
from kivuko.perturbations.edits import apply_edit, code_switch, perturb

_TABLES = {"sw": {"paka": "cat", "mweusi": "black", "redio": "redio", "na": " "}, "mr": {"मांजर": "cat"}}


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("paka mweusi", "sw", ["cat mweusi", "paka black"]),
        ("«Paka», MWEUSI!", "sw", ["«cat», MWEUSI!", "«Paka», black!"]),
        ("काळी मांजर.", "mr", ["काळी cat."]),
        ("paka", "fi", []),
        ("redio na Redio", "sw", []),  # the same word, and no word at all
        ("", "sw", []),
        ("👩‍🚒 … ", "sw", []),
    ],
)
def test_words_of_the_table_are_replaced(text, language, expected):
    assert [apply_edit(text, edit) for edit in code_switch(_TABLES).all(text, language)] == expected


def test_code_switching_is_a_kind_like_others():
    rng = np.random.default_rng(0)
    found = perturb("paka mweusi", "sw", [code_switch(_TABLES)], 3, rng)
    assert found.text == "cat black"
    assert [edit.kind for edit in found.edits] == ["code-switch"] * 2


def test_a_table_read_off_a_bitext():
    lines = [("paka mweusi", "black cat"), ("paka mkubwa", "big cat"), ("mbwa mweusi", "black dog"), ("Mbwa!", "dog")]
    bitext = Bitext(tuple(Pair("sw", text, english, "test") for text, english in lines))
    table = {"paka": "cat", "mweusi": "black", "mkubwa": "big", "mbwa": "dog"}
    assert word_table(bitext, "sw") == table
    assert word_table(bitext, "swa") == table
    with pytest.raises(DataError, match="no pair in 'fi'"):
        word_table(bitext, "fi")
    with pytest.raises(UsageError, match="unknown language"):
        word_table(bitext, "qqqq")


@pytest.mark.parametrize("mark", ["'", "\u2019", "\u02bc", "\u2018"])
@pytest.mark.parametrize("written", ["'", "\u2019", "\u02bc"])
def test_apostrophes_that_look_alike_are_one(mark, written):
    kind = code_switch({"fr": {f"d{written}eau": "of water"}})
    (edit,) = kind.all(f"verre d{mark}eau", "fr")
    assert apply_edit(f"verre d{mark}eau", edit) == "verre of water"
