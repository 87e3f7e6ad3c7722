"""The words of a text as units to be matched with one another."""

from __future__ import annotations

import regex

# Letters with their marks (Marathi's vowel signs are marks) and numbers; apostrophes, dots and hyphens within a word.
_WORD = regex.compile(r"[\p{L}\p{N}][\p{L}\p{M}\p{N}]*(?:[’'.-][\p{L}\p{N}][\p{L}\p{M}\p{N}]*)*")


def word_list(text: str) -> list[str]:
    """Return the words of a text, case folded, in order, punctuation left out.

    >>> word_list("Flag: Guinea-Bissau, paka mweusi")
    ['flag', 'guinea-bissau', 'paka', 'mweusi']
    """
    found: list[str] = _WORD.findall(text.casefold())
    return found


def word_spans(text: str) -> list[tuple[str, int, int]]:
    """Return the words of a text with their places: (word, case folded; first character; the one after the last).

    >>> word_spans("Paka, MBWA")
    [('paka', 0, 4), ('mbwa', 6, 10)]
    """
    return [(found.group().casefold(), *found.span()) for found in _WORD.finditer(text)]


def spelling_likeness(first: str, second: str) -> float:
    """Return how alike two words are spelt: Dice's coefficient over their letter trigrams, edges included; 0 to 1.

    >>> spelling_likeness("kompyuta", "computer") < spelling_likeness("kamera", "camera")
    True
    """
    ours, theirs = trigrams(first), trigrams(second)
    return 2 * len(ours & theirs) / (len(ours) + len(theirs))


def trigrams(word: str) -> frozenset[str]:
    """Return the letter trigrams of a word with its edges marked."""
    marked = f"<{word}>"
    return frozenset(marked[place : place + 3] for place in range(max(1, len(marked) - 2)))
