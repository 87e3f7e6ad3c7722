"""The emoji world as data: pairs, queries, names, images and English documents."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from kivuko.bitext.pairs import Pair
from kivuko.datasets.emoji.world import english_documents
from kivuko.errors import UsageError


def sequences(world, split):
    return [emoji.sequence for emoji in world.emoji if emoji.split == split]


def all_queries(world, language):
    return {query.id: query for split in ("train", "validation", "test") for query in world.queries(language, split)}


def test_every_split_has_emoji_and_each_emoji_a_image(tiny_world):
    for split in ("train", "validation", "test"):
        assert sequences(tiny_world, split)
    assert {emoji.image for emoji in tiny_world.emoji} == set(range(len(tiny_world.images)))
    assert tiny_world.images.shape[1:] == (128, 136, 4)


def test_what_has_no_image_is_counted_by_reason(tiny_world):
    assert tiny_world.left_out == Counter(
        {"skin-tone variant": 2, "plain text character": 1, "not drawn as one glyph by the font": 2}
    )
    assert len(tiny_world.emoji) + tiny_world.left_out.total() == len(tiny_world.annotations["en"])


def test_emoji_that_are_drawn_alike_share_image_and_concept(tiny_world):
    norway, bouvet, kenya = (next(e for e in tiny_world.emoji if e.sequence == flag) for flag in ("🇳🇴", "🇧🇻", "🇰🇪"))
    assert norway.image == bouvet.image != kenya.image
    assert norway.concept == bouvet.concept != kenya.concept
    assert norway.split == bouvet.split


def test_bitext_holds_names_and_keywords_with_their_origin(tiny_world):
    result = {
        pair.origin: pair for split in ("train", "validation", "test") for pair in tiny_world.bitext(["sw"], split)
    }
    assert result["emoji:🐈:name"] == Pair("sw", "paka", "cat", "emoji:🐈:name")
    assert result["emoji:🐈:keywords"] == Pair("sw", "neno, jingine", "cat, pet", "emoji:🐈:keywords")
    assert not any("🔔" in origin or "🎁" in origin for origin in result), "no Swahili name, no pair"


def test_keywords_need_both_sides_and_can_be_left_out(tiny_world):
    assert all(pair.origin.endswith(":name") for pair in tiny_world.bitext(["mr"], "train")), "mr has no keywords"
    names = tiny_world.bitext(["sw"], "train", keywords=False)
    assert names.pairs == tuple(p for p in tiny_world.bitext(["sw"], "train") if p.origin.endswith(":name"))


def test_bitext_of_several_languages_is_that_of_each(tiny_world):
    both = tiny_world.bitext(["mr", "sw"], "train")
    assert both.pairs == tiny_world.bitext(["mr"], "train").pairs + tiny_world.bitext(["sw"], "train").pairs
    assert both.languages() == ("mr", "sw")


@pytest.mark.parametrize("world", ["tiny_world", "real_world"])
def test_no_test_concept_is_in_the_training_bitext(request, world):
    world = request.getfixturevalue(world)
    concept = {emoji.sequence: emoji.concept for emoji in world.emoji}
    held_out = {emoji.concept for emoji in world.emoji if emoji.split != "train"}
    trained = {concept[pair.origin.split(":")[1]] for pair in world.bitext(world.languages, "train")}
    assert trained
    assert held_out
    assert not trained & held_out


def test_a_query_says_what_it_is(tiny_world):
    queries = all_queries(tiny_world, "sw")
    cat = queries["sw:🐈"]
    assert (cat.language, cat.text, cat.english, cat.copied) == ("sw", "paka", "cat", False)
    assert cat.image == next(emoji.image for emoji in tiny_world.emoji if emoji.sequence == "🐈")
    assert queries["sw:⚽"].copied, "'Soccer  Ball' is the English name again"
    assert not any(query.copied for query in all_queries(tiny_world, "en").values()), "English is no copy of itself"
    assert "sw:🔔" not in queries


def test_a_query_is_compositional_if_training_knows_all_its_words(tiny_world):
    words = tiny_world.training_words
    assert words
    for query in all_queries(tiny_world, "mr").values():
        content = {
            word
            for word in query.english.lower().replace(":", " ").replace(",", " ").split()
            if word not in ("of", "with")
        }
        assert query.compositional == (content <= words)
    trained = {
        word for emoji in sequences(tiny_world, "train") for word in tiny_world.annotations["en"][emoji].keywords
    }
    assert any(" " not in word and word.lower() in words for word in trained), "keywords count as seen"
    held_out = tiny_world.queries("mr", "test") + tiny_world.queries("mr", "validation")
    assert {query.compositional for query in held_out} == {True, False}


def test_emoji_that_share_image_and_name_make_one_query(tiny_world):
    assert {"sw:🇳🇴", "sw:🇧🇻"} & all_queries(tiny_world, "sw").keys() == {"sw:🇳🇴"}, "one name for both in Swahili"
    assert {"mr:🇳🇴", "mr:🇧🇻"} <= all_queries(tiny_world, "mr").keys(), "two names in Marathi"


def test_english_names_and_ids_follow_the_images(tiny_world):
    names, rows = tiny_world.english_names()
    assert len(names) == len(rows) == len(tiny_world.emoji)
    ids = tiny_world.image_sequences
    assert len(ids) == len(set(ids)) == len(tiny_world.images)
    assert ids[rows[names.index("cat")]] == "🐈"
    assert ids[rows[names.index("flag: Bouvet Island")]] == "🇳🇴", "the first that is drawn so"


def test_a_image_is_square_on_its_background(tiny_world):
    row = tiny_world.image_sequences.index("🍎")
    white, blue = (np.asarray(tiny_world.image(row, color)) for color in ("white", "blue"))
    assert white.shape == blue.shape == (136, 136, 3)
    assert tuple(white[0, 0]) == (255, 255, 255)
    assert tuple(blue[0, 0]) == (0, 0, 255)
    opaque = np.pad(tiny_world.images[row][..., 3], ((4, 4), (0, 0))) == 255
    assert np.array_equal(white[opaque], blue[opaque])
    assert white[opaque].shape[0] > 1000


def test_languages_leave_english_out(tiny_world):
    assert tiny_world.languages == ("sw", "mr")


def test_an_unknown_split_or_language_is_refused(tiny_world):
    with pytest.raises(UsageError, match=r"unknown split 'dev': choose one of train, validation, test"):
        tiny_world.bitext(["sw"], "dev")
    with pytest.raises(UsageError, match="language 'fi' is not in this emoji world"):
        tiny_world.bitext(["sw", "fi"], "train")
    with pytest.raises(UsageError, match="unknown split"):
        tiny_world.queries("sw", "all")
    with pytest.raises(UsageError, match="language 'fi'"):
        tiny_world.queries("fi", "test")


def test_the_real_world_is_what_the_documentation_says(real_world):
    assert len(real_world.emoji) > 1800
    assert len(real_world.images) > 1700
    test = real_world.queries("sw", "test")
    assert len(test) >= 300
    assert len({query.id for query in test}) == len(test)
    compositional = sum(query.compositional for query in test) / len(test)
    assert 0.2 < compositional < 0.9, "both kinds of query are there"


def test_filipino_has_many_copies_and_marathi_hardly_any(real_world):
    copies = {code: sum(query.copied for query in all_queries(real_world, code).values()) for code in ("fil", "mr")}
    assert copies["fil"] > 300
    assert copies["mr"] < 10


def test_a_document_holds_names_then_keywords_each_once(tiny_world):
    documents = english_documents(tiny_world)
    assert len(documents) == len(tiny_world.images)
    message = dict(zip(tiny_world.image_sequences, documents, strict=True))
    assert message["🐈"] == "cat, pet", "the keyword that is the name does not come again"
    assert message["🐟"] == "fish, Pisces"
    assert message["🍎"] == "red apple, apple, fruit, red"


def test_emoji_that_are_drawn_alike_share_a_document(tiny_world):
    message = dict(zip(tiny_world.image_sequences, english_documents(tiny_world), strict=True))
    assert message["🇳🇴"] == "flag: Norway, flag: Bouvet Island, flag"
    assert message["🇰🇪"] == "flag: Kenya, flag"
    assert "🇧🇻" not in message


def test_every_image_of_the_real_world_has_words(real_world):
    documents = english_documents(real_world)
    assert len(documents) == len(real_world.images)
    assert all(document.strip() for document in documents)
    names, rows = real_world.english_names()
    assert all(name.casefold() in documents[row].casefold() for name, row in zip(names, rows, strict=True))
