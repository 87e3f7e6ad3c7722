"""Everyday phrases and the emoji that are right for each: the data, and how they are opened."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from itertools import combinations

import pytest
import regex

from kivuko.datasets.emoji.phrases import PHRASES, read_phrases
from kivuko.datasets.emoji.world import emoji_world
from kivuko.datasets.spec import check_spec, evaluation_captions, is_spec, open_dataset
from kivuko.errors import DataError, UsageError

SCRIPTS = dict.fromkeys(("en", "sw", "so", "fil", "fi", "de", "fr", "es", "pt", "id", "tr"), "Latin") | {
    "ru": "Cyrillic", "mr": "Devanagari", "hi": "Devanagari",
}  # fmt: skip
LANGUAGES = sorted(SCRIPTS)


@pytest.fixture(scope="module")
def phrases():
    return read_phrases()


@pytest.fixture(scope="module")
def world():
    """The emoji world as it ships, with every language that has phrases."""
    return emoji_world([code for code in LANGUAGES if code != "en"])


def test_thirteen_languages_and_english_hold_the_same_meanings(phrases):
    assert sorted(phrases.phrases) == LANGUAGES
    assert sorted(phrases.languages) == [code for code in LANGUAGES if code != "en"]
    english = phrases.of("en")
    assert len(english) >= 40
    for code in LANGUAGES:
        own = phrases.of(code)
        assert [(one.english, one.emoji) for one in own] == [(one.english, one.emoji) for one in english]
        assert [one.id for one in own] == [f"{code}:{one.text}" for one in english]


@pytest.mark.parametrize("code", LANGUAGES)
def test_phrases_are_two_to_five_words_in_the_script_of_the_language(phrases, code):
    for one in phrases.of(code):
        assert 2 <= len(one.text.split()) <= 5, one.text
        assert one.text == " ".join(unicodedata.normalize("NFC", one.text).split())
        letters = regex.findall(r"\p{L}", one.text)
        assert letters, one.text
        assert all(regex.match(rf"\p{{Script={SCRIPTS[code]}}}", letter) for letter in letters), one.text
        assert not regex.search(r"[^\p{L}\p{M}' -]", one.text), one.text


@pytest.mark.parametrize("code", LANGUAGES)
def test_no_phrase_stands_for_two_meanings(phrases, code):
    texts = [one.text.casefold() for one in phrases.of(code)]
    assert len(set(texts)) == len(texts)


def test_languages_are_not_each_other(phrases):
    """Languages may share a phrase or two, as Marathi and Hindi do; more would be a column in the wrong place."""
    for one, other in combinations(LANGUAGES, 2):
        shared = {each.text for each in phrases.of(one)} & {each.text for each in phrases.of(other)}
        assert len(shared) <= 2, (one, other, shared)


def test_every_emoji_is_in_the_emoji_world_and_once_in_its_set(phrases, world):
    there = {emoji.sequence for emoji in world.emoji}
    for one in phrases.of("en"):
        assert one.emoji, one
        assert len(set(one.emoji)) == len(one.emoji), one
        assert set(one.emoji) <= there, one
    drawn = phrases.drawn(world)
    assert (drawn.left_out, drawn.phrases) == (0, phrases.phrases)


@pytest.mark.parametrize("code", LANGUAGES)
def test_no_phrase_is_a_name_or_a_list_of_keywords(phrases, world, code):
    """Names and keyword lists are what is trained on and, of other emoji, another test."""
    own = world.annotations[code]
    assert len(own) > 1000
    texts = {text.casefold() for one in own.values() for text in (one.name, ", ".join(one.keywords))}
    assert not [one.text for one in phrases.of(code) if one.text.casefold() in texts]


def test_some_entries_as_they_should_be(phrases):
    by_english = {one.english: one for one in phrases.of("sw")}
    assert set(by_english["it is raining"].emoji) == set("🌧☔🌦⛈")
    assert (by_english["a red car"].text, by_english["a red car"].emoji[0]) == ("gari jekundu", "🚗")
    assert {one.english: one.text for one in phrases.of("mr")}["it is raining"] == "पाऊस पडत आहे"


def test_what_a_world_lacks_is_left_out_and_counted(phrases, tiny_world):
    drawn = phrases.drawn(tiny_world)
    kept = {one.english: one.emoji for one in drawn.of("sw")}
    assert kept["a dog is running"] == ("🐕",)
    assert kept["the house is on fire"] == ("🔥", "🚒", "🧑‍🚒", "👨‍🚒", "👩‍🚒")
    assert "it is raining" not in kept
    assert drawn.left_out == len(phrases.of("sw")) - len(kept) > 0
    assert [one.english for one in drawn.of("en")] == list(kept)
    with pytest.raises(DataError, match="none of the emoji"):
        phrases.drawn(replace(tiny_world, emoji=()))


def test_phrases_are_opened_by_name():
    assert is_spec(PHRASES)
    check_spec(PHRASES)
    opened = open_dataset(PHRASES)
    assert open_dataset(opened) is opened
    assert opened.name == "emoji-phrases"
    with pytest.raises(UsageError, match=r"emoji:phrases has no split 'validation'; it has test\."):
        open_dataset(PHRASES, split="validation")
    with pytest.raises(UsageError, match=r"emoji:phrase: no module 'emoji'.*emoji:phrases"):
        check_spec("emoji:phrase")


def test_a_language_without_phrases_is_refused_by_name(phrases):
    there = "de, en, es, fi, fil, fr, hi, id, mr, pt, ru, so, sw, tr"
    with pytest.raises(UsageError, match=rf"^emoji:phrases has no phrases in yo; it has some in {there}\.$"):
        phrases.of("yo")
    with pytest.raises(UsageError, match="no phrases in yo, ha;"):
        phrases.check(["sw", "yo", "ha"])


def test_bitext_can_be_searched_for_them(phrases):
    own = list(evaluation_captions([PHRASES], "sw"))
    assert set(own) == {one.text for code in ("sw", "en") for one in phrases.of(code)}
    assert set(evaluation_captions([PHRASES], "yo")) == {one.text for one in phrases.of("en")}
