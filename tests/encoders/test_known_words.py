"""The words of a bitext tell the language of a query; every distilled model has them."""

from __future__ import annotations

import numpy as np
import pytest

from kivuko.bitext.pairs import Bitext, Pair
from kivuko.encoders.known_words import WORDS_FILE, WordCounts
from kivuko.errors import CorruptFileError

PAIRS = (
    Pair("sw", "Paka mweusi", "black cat", "1"),
    Pair("sw", "paka", "cat", "2"),
    Pair("mr", "काळी मांजर", "black cat", "3"),
)


@pytest.fixture
def counted():
    return WordCounts.from_bitext(Bitext(PAIRS))


def of(counts, language, word):
    return counts.counts[counts.languages.index(language), counts.words.index(word)]


def test_words_are_counted_in_their_languages_and_in_english(counted):
    assert counted.languages == ("sw", "mr", "en")
    assert of(counted, "sw", "paka") == 2
    assert of(counted, "mr", "paka") == 0
    assert of(counted, "en", "cat") == 2  # of two sentences, one of which two pairs share
    assert of(counted, "mr", "मांजर") == 1
    assert WordCounts.from_bitext(Bitext(PAIRS), english=False).languages == ("sw", "mr")


def test_the_rarest_are_left_out():
    result = WordCounts.from_bitext(Bitext(PAIRS), most=2)
    assert sorted(result.words) == ["cat", "paka"]
    assert result.counts.shape == (3, 2)


def test_they_survive_a_round_trip(counted, tmp_path):
    counted.save(tmp_path / WORDS_FILE)
    result = WordCounts.load(tmp_path / WORDS_FILE)
    order = [result.words.index(word) for word in counted.words]
    assert result.languages == counted.languages
    np.testing.assert_array_equal(result.counts[:, order], counted.counts)
    assert WordCounts.load(tmp_path / "none.json") is None


def test_damage_is_named(tmp_path):
    (tmp_path / WORDS_FILE).write_text('{"counts": {"sw": 3}}')
    with pytest.raises(CorruptFileError, match=WORDS_FILE):
        WordCounts.load(tmp_path / WORDS_FILE)
