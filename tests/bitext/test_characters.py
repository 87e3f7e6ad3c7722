"""Classes of characters, script shares and lengths against Unicode's own data, read one character at a time."""

from __future__ import annotations

import numpy as np
import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from kivuko.bitext.characters import (
    CLASSES,
    LATIN,
    RUN,
    character_table,
    has_run,
    is_script,
    length_ratios,
    letter_counts,
    own_kinds,
    read_characters,
    script_shares,
    weighted_lengths,
)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.text(max_size=30), max_size=10))
def test_shares_agree_with_a_count_by_hand(texts: list[str]) -> None:
    counts = read_characters(texts, character_table(("Deva",))).classes
    assert counts.shape == (len(texts), CLASSES)
    assert counts.sum(axis=1).tolist() == [len(text) for text in texts]
    shares = script_shares(counts, own_kinds(("Deva",)))
    latin = script_shares(counts, (LATIN,))
    for row, text in enumerate(texts):
        letters = [one for one in text if regex.match(r"(?V1)[\p{L}\p{M}--\p{Script=Zyyy}--\p{Script=Zinh}]", one)]
        assert letter_counts(counts)[row] == len(letters)
        for share, script in ((shares[row], "Deva"), (latin[row], "Latn")):
            own = sum(bool(regex.match(rf"\p{{Script={script}}}", one)) for one in letters)
            assert share == pytest.approx(own / len(letters) if letters else 1)


def test_a_run_of_one_character_is_seen_within_a_sentence_only() -> None:
    table = character_table(("Latn",))
    texts = ["a" * (RUN - 1), "a" * RUN, "x" + "." * RUN + "y", "-" * 5, "-" * 5, " " * 20, "ab" * 20, *[""] * 12]
    assert has_run(read_characters(texts, table)).tolist() == [False, True, True] + [False] * 16


def test_lengths_are_alike_across_scripts() -> None:
    english = "The black cat is sleeping on the table"
    sentences = {
        "sw": ("Latn", "Paka mweusi amelala juu ya meza"), "zh": ("Hans", "黑猫睡在桌子上"),
        "ja": ("Jpan", "黒い猫がテーブルの上で寝ている"), "ko": ("Kore", "검은 고양이가 탁자 위에서 자고 있다"),
        "am": ("Ethi", "ጥቁሩ ድመት ጠረጴዛው ላይ ተኝቷል"), "mr": ("Deva", "काळी मांजर टेबलावर झोपली आहे"),
    }  # fmt: skip
    for script, text in sentences.values():
        counts = read_characters([text, english], character_table((script,))).classes
        lengths = weighted_lengths(counts)
        ratio = float(length_ratios(lengths[:1], lengths[1:])[0])
        assert 0.5 < ratio < 1.5, script


def test_ratios_are_never_nan() -> None:
    zero = np.zeros(1)
    assert np.isfinite(length_ratios(zero, zero)).all()


def test_scripts_are_named_from_other_words() -> None:
    assert is_script("Latn")
    assert is_script("Jpan")
    assert not any(is_script(word) for word in ("Xxxx", "", "L}", "Latn Deva"))
