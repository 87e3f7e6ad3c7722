"""The lexical baseline: word by word through a table read off the bitext; what the table lacks stays as it is.

The table comes from transport plans over the bitext, one per language (``kivuko.transport.associate``). Words that it
does not hold are handed on unchanged: many are names, or spelt as in English.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kivuko.bitext import Bitext, Pair, word_list
from kivuko.errors import DataError, ModelError
from kivuko.languages import language as describe
from kivuko.transport import associate


@dataclass(frozen=True)
class LexicalTranslator:
    """Translates word by word. ``tables``: language code -> word -> English word, all case folded."""

    tables: Mapping[str, Mapping[str, str]]
    name: str = "lexical"

    def translate(self, texts: list[str], language: str) -> list[str]:
        """See ``Translator``. The order of words stays; a word that the table lacks stays as it is.

        Raises:
            ModelError: the bitext held no such language.
        """
        table = self.tables.get(describe(language).code)
        if table is None:
            raise ModelError(
                f"the word table has no language {language!r} (it has {', '.join(self.tables)}): give bitext for it."
            )
        return [" ".join(table.get(word, word) for word in word_list(text)) for text in texts]


def train_lexical(bitext: Bitext, *, regularization: float = 0.5, rounds: int = 4) -> LexicalTranslator:
    """Read a word table per language off a bitext: for each word the English word that it has most in common with.

    Args:
        regularization, rounds: of the plans, see ``kivuko.transport.associate``.

    Raises:
        DataError: the bitext is empty.
    """
    if not len(bitext):
        raise DataError("no pairs to read a word table off: the bitext is empty.")
    return LexicalTranslator(
        {code: _table(pairs, regularization, rounds) for code, pairs in bitext.by_language().items()}
    )


def _table(pairs: tuple[Pair, ...], regularization: float, rounds: int) -> dict[str, str]:
    sides = [[word_list(text) for text in side] for side in zip(*((p.text, p.english) for p in pairs), strict=True)]
    words = [sorted({word for sentence in side for word in sentence}) for side in sides]
    numbers = [{word: number for number, word in enumerate(side)} for side in words]
    units = [
        [[known[word] for word in sentence] for sentence in side] for side, known in zip(sides, numbers, strict=True)
    ]
    found = associate(
        units[0], units[1], (len(words[0]), len(words[1])), regularization=regularization, rounds=rounds
    ).best()
    return {words[0][ours]: words[1][theirs] for ours, theirs in found.items()}
