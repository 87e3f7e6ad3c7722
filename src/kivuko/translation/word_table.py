"""The lexical baseline: word-by-word translation with a table from transport plans over the bitext.

Words that the table lacks are copied: many are names, or spelled as in English.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kivuko.bitext import Bitext, word_list, word_table
from kivuko.errors import DataError, ModelError
from kivuko.languages import language as describe


@dataclass(frozen=True)
class LexicalTranslator:
    """A word-by-word translator. ``tables``: language code -> word -> English word, all case folded."""

    tables: Mapping[str, Mapping[str, str]]
    name: str = "lexical"

    def translate(self, texts: list[str], language: str) -> list[str]:
        """Translate word by word; the order of words is kept."""
        table = self.tables.get(describe(language).code)
        if table is None:
            raise ModelError(
                f"the word table has no language {language!r} (it has {', '.join(self.tables)}): give bitext for it."
            )
        return [" ".join(table.get(word, word) for word in word_list(text)) for text in texts]


def train_lexical(bitext: Bitext, *, regularization: float = 0.5, rounds: int = 4) -> LexicalTranslator:
    """Build a word table per language from a bitext: for each word its most associated English word."""
    if not len(bitext):
        raise DataError("no pairs to build a word table from: the bitext is empty.")
    return LexicalTranslator(
        {code: word_table(bitext, code, regularization=regularization, rounds=rounds) for code in bitext.by_language()}
    )
