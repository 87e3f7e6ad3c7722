"""Which English word goes with each word of a language, read off a bitext by transport plans."""

from __future__ import annotations

from kivuko.bitext.bitext import Bitext
from kivuko.bitext.words import word_list
from kivuko.errors import DataError
from kivuko.languages import language as describe


def word_table(bitext: Bitext, language: str, *, regularization: float = 0.5, rounds: int = 4) -> dict[str, str]:
    """Return for each word of a language the English word that it has most in common with.

    Args:
        regularization, rounds: of the plans, see ``kivuko.transport.associate``.

    Returns:
        Word -> English word, both case folded, for every word of the language's side.

    Raises:
        UsageError: ``language`` is no language's code.
        DataError: the bitext holds no pair in that language.
    """
    from kivuko.transport import associate  # with torch, which reading a bitext does not need

    pairs = bitext.by_language().get(describe(language).code)
    if not pairs:
        raise DataError(f"the bitext holds no pair in '{language}', so there are no words to go with English ones.")
    sides = [[word_list(text) for text in side] for side in zip(*((p.text, p.english) for p in pairs), strict=True)]
    words = [sorted({word for sentence in side for word in sentence}) for side in sides]
    numbers = [{word: number for number, word in enumerate(side)} for side in words]
    units = [
        [[known[word] for word in sentence] for sentence in side] for side, known in zip(sides, numbers, strict=True)
    ]
    found = associate(
        units[0], units[1], (len(words[0]), len(words[1])), regularization=regularization, rounds=rounds
    ).best()
    return {words[0][own]: words[1][english] for own, english in found.items()}
