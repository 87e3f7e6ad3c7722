"""Cleaning of text, and its words."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kivuko.text import _INVISIBLE, _PARTING, clean_text, spelling_likeness, word_list


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("cafe\u0301", "café"),
        ("  a \t b\u00a0\u3000c  ", "a b c"),
        ("a\u2028b\u0085c\x0bd\x0ce\x1cf\u2029g", "a b c d e f g"),
        ("a\x00b\x07c\x7fd\x9fe", "a b c d e"),  # in the place of a space
        ("\ufeffso\u00adft\u200e\u202aly\u202c\u2060", "softly"),
        ("e\u200e\u0301", "é"),  # what was parted by something invisible still composes
        ("ភាសា\u200bខ្មែរ", "ភាសា ខ្មែរ"),
        ("", ""),
        ("\u200b \x01", ""),
    ],
)
def test_cleaning(raw: str, clean: str) -> None:
    assert clean_text(raw) == clean


@pytest.mark.parametrize(
    "text",
    [
        "र्\u200dय", "می\u200cخواهم", "👩\u200d🚀", "❤\ufe0f",
        "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f", '"“quoted”',
    ],
)  # fmt: skip
def test_joiners_selectors_and_emoji_tags_stay(text: str) -> None:
    assert clean_text(text) == text


@given(st.text())
def test_clean_text_is_canonical(text: str) -> None:
    clean = clean_text(text)
    assert clean_text(clean) == clean
    assert unicodedata.is_normalized("NFC", clean)
    assert not any(unicodedata.category(c) == "Cc" for c in clean)
    assert clean == " ".join(clean.split())


@given(st.text(st.characters(categories=["L", "N", "P", "S"])))
def test_letters_numbers_and_signs_are_only_composed(text: str) -> None:
    assert clean_text(text) == unicodedata.normalize("NFC", text)


def long_way(text: str) -> str:
    return unicodedata.normalize("NFC", " ".join(_INVISIBLE.sub("", _PARTING.sub(" ", text)).split()))


@given(st.text())
def test_any_text(text: str) -> None:
    assert clean_text(text) == long_way(text)


@given(st.text(alphabet="ab é\u0301\u00a0\u200b\u00ad\t\n\u2028\u3000\u200d\u0009\ud800"))
def test_text_of_what_is_cleaned_away(text: str) -> None:
    assert clean_text(text) == long_way(text)


@pytest.mark.parametrize("text", ["", " ", "paka  mweusi", " paka", "paka ", "काळी मांजर", "e\u0301", "a\u200db"])
def test_chosen_texts(text: str) -> None:
    assert clean_text(text) == long_way(text)


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
