"""Cleaning changes nothing that a reader sees."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kivuko.bitext import clean_text


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("cafe\u0301", "café"),
        ("  a \t b\u00a0\u3000c  ", "a b c"),
        ("a\u2028b\u0085c\x0bd\x0ce\x1cf\u2029g", "a b c d e f g"),
        ("a\x00b\x07c\x7fd\x9fe", "abcde"),
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
