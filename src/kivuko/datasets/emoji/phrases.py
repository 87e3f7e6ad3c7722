"""Everyday phrases with every emoji that is right for each: queries as people type them, in thirteen languages.

A test set: nothing is trained on it and nothing is chosen by it. The phrases, in ``phrases.json``, were written for
Kivuko: each meaning once in every language, so that languages can be compared. None is a name of its emoji in CLDR.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import resources
from typing import TYPE_CHECKING, ClassVar

from kivuko.errors import DataError, UsageError

if TYPE_CHECKING:
    from kivuko.datasets.emoji.world import EmojiWorld

PHRASES, SPLIT = "emoji:phrases", "test"
ENGLISH = "en"


@dataclass(frozen=True, slots=True)
class Phrase:
    """One meaning in one language; ``emoji``: all that are right, without U+FE0F."""

    id: str
    text: str
    english: str
    emoji: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class PhraseSet:
    """Phrases by language, the same meanings in the same order in each.

    >>> phrases = read_phrases()
    >>> phrase = next(one for one in phrases.of("sw") if one.english == "it is raining")
    >>> phrase.text, phrase.emoji
    ('mvua inanyesha', ('🌧', '☔', '🌦', '⛈'))
    >>> len(phrases.of("sw")) == len(phrases.of("mr")) == len(phrases.of("en"))
    True
    """

    name: ClassVar[str] = "emoji-phrases"  # in records

    phrases: Mapping[str, tuple[Phrase, ...]]  # English, which the ceiling is measured on, among them
    left_out: int = 0  # meanings of which an emoji world has no emoji

    @cached_property
    def languages(self) -> tuple[str, ...]:
        """Return the codes of all languages but English."""
        return tuple(code for code in self.phrases if code != ENGLISH)

    def of(self, language: str) -> tuple[Phrase, ...]:
        """Return the phrases of a language; UsageError, which names the languages that have some, if it has none."""
        self.check([language])
        return self.phrases[language]

    def check(self, languages: Iterable[str]) -> None:
        """Raise UsageError if one of the languages has no phrases."""
        if absent := [code for code in languages if code not in self.phrases]:
            there = ", ".join(sorted(self.phrases))
            raise UsageError(f"{PHRASES} has no phrases in {', '.join(absent)}; it has some in {there}.")

    def drawn(self, world: EmojiWorld) -> PhraseSet:
        """Return the phrases with the emoji that a world has, without those of which it has none; DataError if none."""
        there = {emoji.sequence for emoji in world.emoji}
        kept = {code: tuple(_only(own, there)) for code, own in self.phrases.items()}
        if not kept[ENGLISH]:
            raise DataError(f"{PHRASES}: this CLDR and font have none of the emoji; name complete ones.")
        return PhraseSet(kept, len(self.phrases[ENGLISH]) - len(kept[ENGLISH]))


def _only(phrases: Iterable[Phrase], there: Collection[str]) -> list[Phrase]:
    drawn = [replace(one, emoji=tuple(sequence for sequence in one.emoji if sequence in there)) for one in phrases]
    return [one for one in drawn if one.emoji]


def read_phrases(split: str = SPLIT) -> PhraseSet:
    """Read the phrases that come with Kivuko; UsageError for a split other than "test"."""
    if split != SPLIT:
        raise UsageError(f"{PHRASES} has no split {split!r}; it has {SPLIT}.")
    entries = json.loads((resources.files("kivuko.datasets.emoji") / "phrases.json").read_text(encoding="utf-8"))
    phrases: dict[str, list[Phrase]] = {}
    for entry in entries:
        emoji = tuple(entry.pop("emoji").split())
        for code, text in entry.items():
            phrases.setdefault(code, []).append(Phrase(f"{code}:{entry[ENGLISH]}", text, entry[ENGLISH], emoji))
    return PhraseSet({code: tuple(own) for code, own in phrases.items()})
