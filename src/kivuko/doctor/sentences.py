"""The sentences that a model is tried on: emoji names by default, or a bitext."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from kivuko.bitext import Pair, clean_text, open_source
from kivuko.datasets.emoji.cldr import find_cldr, read_annotations
from kivuko.datasets.emoji.concepts import has_skin_tone
from kivuko.errors import DataError

MOST = 2_000  # pairs read of a bitext: enough to judge, and the file may hold millions


@dataclass(frozen=True)
class Sentences:
    """Sentences of one language with their English translations, those left out that are equal to it.

    ``origin``: what they are, for messages.
    """

    language: str
    pairs: tuple[Pair, ...]
    origin: str

    def texts(self) -> list[str]:
        """Return the sentences that are not English, each once, in order."""
        return list(dict.fromkeys(pair.text for pair in self.pairs))

    def some(self, most: int) -> tuple[Pair, ...]:
        """Return at most ``most`` pairs of different English sentences, evenly spread over all."""
        distinct = tuple({pair.english.casefold(): pair for pair in reversed(self.pairs)}.values())[::-1]
        if len(distinct) <= most:
            return distinct
        return tuple(distinct[place * len(distinct) // most] for place in range(most))


def emoji_sentences(language: str, cldr: Path | None = None) -> Sentences:
    """Return what people call emoji in a language and in English (Unicode CLDR).

    Raises:
        DataError: no CLDR, or the language has no names in it.
    """
    folder = find_cldr(cldr)
    own, english = read_annotations(folder, language), read_annotations(folder, "en")
    pairs = [
        Pair(language, own[sequence].name, english[sequence].name, f"emoji:{sequence}")
        for sequence in own
        if sequence in english and not has_skin_tone(sequence)  # whose names say the same, and a tone
    ]
    return _kept(language, pairs, "emoji names")


def bitext_sentences(language: str, spec: str) -> Sentences:
    """Return the first usable pairs of a bitext, at most ``MOST``.

    Raises:
        DataError: it cannot be read, or holds no usable pair.
        UsageError: unknown language.
    """
    source = open_source(spec, language)
    usable = (
        Pair(source.language, text, english, source.place(one.number))
        for one in source
        if one.reason is None and (text := clean_text(one.text or "")) and (english := clean_text(one.english or ""))
    )
    found = _kept(source.language, list(islice(usable, MOST)), str(spec))
    if not found.pairs:
        raise DataError(f"{spec}: no sentence that differs from its English one among the first. Check the columns.")
    return found


def _kept(language: str, pairs: Sequence[Pair], origin: str) -> Sentences:
    return Sentences(language, tuple(one for one in pairs if one.text.casefold() != one.english.casefold()), origin)
