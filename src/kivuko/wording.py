"""Numbers with their nouns, as messages and tables tell them."""

from __future__ import annotations


def counted(number: int, noun: str, nouns: str = "") -> str:
    """Return a number and its noun; ``nouns`` is the plural where it is not the noun with an s.

    >>> counted(1, "query", "queries"), counted(2000, "pair")
    ('1 query', '2,000 pairs')
    """
    return f"{number:,} {noun if number == 1 else nouns or f'{noun}s'}"
