"""Splits by concept, and the kinds of query."""

from __future__ import annotations

import doctest
from collections import Counter, defaultdict

from kivuko.datasets.emoji import world as splits
from kivuko.datasets.emoji.world import concept_of, content_words, is_compositional, is_copied, split_concepts


def test_the_split_of_known_concepts_never_changes(monkeypatch):
    monkeypatch.setattr(splits, "TEST_CONCEPTS", 2)
    monkeypatch.setattr(splits, "VALIDATION_CONCEPTS", 2)
    # The order of SHA-256 of "kivuko:" + concept, worked out apart from the code: published splits must not move.
    assert split_concepts(["🐈", "🐕", "🐟", "🐦", "🍎", "🍌", "🔥"]) == {
        "🍎": "test",
        "🐦": "test",
        "🐟": "validation",
        "🍌": "validation",
        "🐈": "train",
        "🔥": "train",
        "🐕": "train",
    }


def test_the_order_in_which_concepts_come_does_not_matter(few_test_concepts):
    some = [chr(0x1F400 + i) for i in range(40)]
    assert split_concepts(some) == split_concepts(reversed(some)) == split_concepts(some * 2)


def test_a_new_concept_moves_one_at_each_border_at_most(few_test_concepts):
    some = [chr(0x1F400 + i) for i in range(60)]
    before, after = split_concepts(some), split_concepts([*some, "🫎"])
    assert sum(before[concept] != after[concept] for concept in some) <= 2


def test_sizes(few_test_concepts):
    counts = Counter(split_concepts(chr(0x1F400 + i) for i in range(60)).values())
    assert counts["test"] == splits.TEST_CONCEPTS < 60
    assert counts["validation"] == splits.VALIDATION_CONCEPTS < 60
    assert counts["train"] == 60 - splits.TEST_CONCEPTS - splits.VALIDATION_CONCEPTS


def test_the_real_world_has_300_test_concepts_and_none_on_two_sides(real_world):
    sides, images = defaultdict(set), defaultdict(set)
    for emoji in real_world.emoji:
        sides[concept_of(emoji.sequence)].add(emoji.split)
        images[emoji.image].add(emoji.split)
    assert {concept for concept, found in sides.items() if len(found) > 1} == set()
    assert {row for row, found in images.items() if len(found) > 1} == set(), "emoji that are drawn alike"
    counts = Counter(next(iter(found)) for found in sides.values())
    assert counts["test"] >= 300
    assert counts["validation"] >= 100
    assert counts["train"] >= 1000


def test_content_words():
    assert doctest.testmod(splits).failed == 0
    assert content_words("Face with Tears of Joy") == {"face", "tears", "joy"}
    assert content_words("man’s shoe, T-shirt") == {"man’s", "shoe", "t-shirt"}
    assert content_words("keycap: 10") == {"keycap", "10"}
    assert content_words("Côte d’Ivoire") == {"côte", "d’ivoire"}
    assert content_words("up & down") == frozenset()


def test_a_copy_is_the_english_name_again_but_for_case_and_spaces():
    assert is_copied("Soccer  Ball", "soccer ball")
    assert is_copied("STRASSE", "straße")
    assert not is_copied("soka", "soccer")
    assert not is_copied("soccer", "soccer ball")


def test_a_name_is_compositional_if_all_its_content_words_are_known():
    known = frozenset({"red", "apple", "heart"})
    assert is_compositional("Red heart", known)
    assert is_compositional("the apple of the heart", known), "stop words need not be known"
    assert not is_compositional("red car", known)
