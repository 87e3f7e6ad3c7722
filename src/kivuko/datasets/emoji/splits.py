"""Which concepts are trained on, selected on and tested on, and what kind of query each name is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import regex

TEST_CONCEPTS = 320
VALIDATION_CONCEPTS = 160
SPLITS = ("train", "validation", "test")

# English words that carry no meaning of their own in an emoji's name.
STOP_WORDS = frozenset(
    ("a", "an", "and", "as", "at", "by", "for", "from", "in", "into", "is", "it", "its", "no", "not", "of", "off", "on",
     "or", "out", "over", "the", "to", "under", "up", "down", "with", "without")
)  # fmt: skip


def split_concepts(concepts: Iterable[str]) -> dict[str, str]:
    """Assign each concept to "train", "validation" or "test".

    The order is that of a hash of the concept itself, so it depends neither on the machine nor on the language,
    and an emoji added by a later Unicode version moves few of the others.
    """
    order = sorted(set(concepts), key=lambda concept: hashlib.sha256(b"kivuko:" + concept.encode()).digest())
    bounds = (TEST_CONCEPTS, TEST_CONCEPTS + VALIDATION_CONCEPTS)
    return {
        concept: "test" if rank < bounds[0] else "validation" if rank < bounds[1] else "train"
        for rank, concept in enumerate(order)
    }


def content_words(text: str) -> frozenset[str]:
    """Return the lower-cased words of an English text less its stop words.

    >>> sorted(content_words("flag: Bosnia & Herzegovina"))
    ['bosnia', 'flag', 'herzegovina']
    """
    words = regex.findall(r"[\p{L}\p{N}]+(?:[’'.-][\p{L}\p{N}]+)*", text.casefold())
    return frozenset(word for word in words if word not in STOP_WORDS)


def is_copied(name: str, english: str) -> bool:
    """Tell whether a translation is the English name again (case and spaces aside): such a query proves nothing."""
    return " ".join(name.casefold().split()) == " ".join(english.casefold().split())


def is_compositional(english: str, known_words: frozenset[str]) -> bool:
    """Tell whether every content word of an English name occurs among the words seen in training.

    A name without content words (none exists today) counts as compositional.
    """
    return content_words(english) <= known_words
