"""The quick way through ``clean_text`` gives what the long one gives."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kivuko.bitext import clean_text
from kivuko.text import _INVISIBLE


def long_way(text: str) -> str:
    return unicodedata.normalize("NFC", " ".join(_INVISIBLE.sub("", text.replace("\u200b", " ")).split()))


@given(st.text())
def test_any_text(text: str) -> None:
    assert clean_text(text) == long_way(text)


@given(st.text(alphabet="ab é\u0301\u00a0\u200b\u00ad\t\n\u2028\u3000\u200d\u0009\ud800"))
def test_text_of_what_is_cleaned_away(text: str) -> None:
    assert clean_text(text) == long_way(text)


@pytest.mark.parametrize("text", ["", " ", "paka  mweusi", " paka", "paka ", "काळी मांजर", "e\u0301", "a\u200db"])
def test_chosen_texts(text: str) -> None:
    assert clean_text(text) == long_way(text)
