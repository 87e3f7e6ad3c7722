"""The language of a query: told by words, else by script, else not at all."""

from __future__ import annotations

import numpy as np
import pytest

from kivuko.bitext.language_id import UNKNOWN, LanguageGuesser
from kivuko.bitext.pairs import Bitext, Pair
from kivuko.encoders.known_words import WORDS_FILE, WordCounts
from kivuko.serve.queries import language_guesser

WORDS = ("paka", "mweusi", "der", "schwarz", "radio")
COUNTS = np.array([[5, 3, 0, 0, 4], [0, 0, 9, 3, 4]], dtype=np.float32)


@pytest.fixture
def guesser():
    return LanguageGuesser(("sw", "de"), WORDS, COUNTS)


def test_words_tell(guesser):
    assert guesser.guess("Paka MWEUSI", {}).code == "sw"
    guess = guesser.guess("der schwarz paka", {})
    assert (guess.code, guess.name, guess.basis) == ("de", "German", "words")
    assert 0.6 <= guess.share <= 1


def test_misspelled_words_tell_by_what_they_may_be(guesser):
    assert guesser.guess("pkaa", {"pkaa": {"paka": 0.9, "pkaa": 0.1}}).code == "sw"


def test_it_says_unknown_where_it_does_not_know(guesser):
    assert guesser.guess("radio", {}) == UNKNOWN  # as likely in both
    assert guesser.guess("qwerty", {}) == UNKNOWN
    assert guesser.guess("", {}) == UNKNOWN
    assert (UNKNOWN.code, UNKNOWN.name) == ("und", "unknown")


def test_the_script_tells_where_one_language_alone_is_written_in_it():
    assert LanguageGuesser(("sw", "mr")).guess("मांजर", {}).code == "mr"
    assert LanguageGuesser(("sw", "mr", "hi")).guess("मांजर", {}) == UNKNOWN
    assert LanguageGuesser(("sw",)).guess("paka", {}) == UNKNOWN  # Latin letters tell nothing
    assert LanguageGuesser(()).guess("मांजर", {}) == UNKNOWN


class _Model(list):
    """Stand in for a loaded model whose text side reads nothing misspelled."""


def test_a_models_own_words_tell_english_too_and_damage_is_named(tmp_path, capsys):
    WordCounts.from_bitext(Bitext((Pair("sw", "paka mweusi", "black cat", "1"),))).save(tmp_path / WORDS_FILE)
    guess = language_guesser(_Model([object()]), tmp_path)
    assert [guess.guess(text, {}).code for text in ("paka", "a black cat", "qwerty")] == ["sw", "en", "und"]
    assert guess.codes == ("sw",)
    (tmp_path / WORDS_FILE).write_text("{")
    assert language_guesser(_Model([object()]), tmp_path).guess("paka", {}) == UNKNOWN
    assert f"{tmp_path / WORDS_FILE}: corrupted" in capsys.readouterr().err.replace("\n", "")
