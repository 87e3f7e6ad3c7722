"""Words as units: scripts, marks, punctuation; likeness in spelling."""

from __future__ import annotations

import pytest

from kivuko.bitext import spelling_likeness, word_list


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Paka mweusi", ["paka", "mweusi"]),
        ("flag: Guinea-Bissau", ["flag", "guinea-bissau"]),
        ("लाल हृदय, मांजर", ["लाल", "हृदय", "मांजर"]),  # vowel signs are marks and stay with their letters
        ("l’eau d'été (No. 1)", ["l’eau", "d'été", "no", "1"]),
        ("  …  ", []),
        ("STRASSE Straße", ["strasse", "strasse"]),
    ],
)
def test_word_list(text, words):
    assert word_list(text) == words


def test_spelling_likeness_is_one_for_the_same_and_none_for_strangers():
    assert spelling_likeness("kamera", "kamera") == 1.0
    assert spelling_likeness("paka", "dog") == 0.0
    assert 0.3 < spelling_likeness("kompyuta", "kompyutar") < 1.0
    assert spelling_likeness("ab", "ab") == spelling_likeness("", "") == 1.0
