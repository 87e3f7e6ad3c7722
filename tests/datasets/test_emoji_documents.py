"""The English documents of the emoji world: one per image."""

from __future__ import annotations

from kivuko.datasets.emoji.world import english_documents


def test_a_document_holds_names_then_keywords_each_once(tiny_world):
    documents = english_documents(tiny_world)
    assert len(documents) == len(tiny_world.images)
    told = dict(zip(tiny_world.image_sequences, documents, strict=True))
    assert told["🐈"] == "cat, pet", "the keyword that is the name does not come again"
    assert told["🐟"] == "fish, Pisces"
    assert told["🍎"] == "red apple, apple, fruit, red"


def test_emoji_that_are_drawn_alike_share_a_document(tiny_world):
    told = dict(zip(tiny_world.image_sequences, english_documents(tiny_world), strict=True))
    assert told["🇳🇴"] == "flag: Norway, flag: Bouvet Island, flag"
    assert told["🇰🇪"] == "flag: Kenya, flag"
    assert "🇧🇻" not in told


def test_every_image_of_the_real_world_has_words(real_world):
    documents = english_documents(real_world)
    assert len(documents) == len(real_world.images)
    assert all(document.strip() for document in documents)
    names, rows = real_world.english_names()
    assert all(name.casefold() in documents[row].casefold() for name, row in zip(names, rows, strict=True))
